// SPDX-License-Identifier: GPL-2.0-only
//! The result of the test, in the words and the final line of XTF.

use core::fmt;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::{hypervisor, say, tests, time};

/// Lines of one kind that are printed; the rest are only counted.
const SHOWN: u32 = 20;

// Worst first wins: a later, better result never hides an earlier one.
const SUCCESS: u8 = 0;
const SKIP: u8 = 1;
const ERROR: u8 = 2;
const FAILURE: u8 = 3;

/// The worst of the tests that ended.
static OVERALL: AtomicU8 = AtomicU8::new(SUCCESS);
/// Of the test that runs.
static RESULT: AtomicU8 = AtomicU8::new(SUCCESS);
static LINES: AtomicU32 = AtomicU32::new(0);
/// The test that runs, as its place in `tests::ALL`, or `NONE`.
static RUNNING: AtomicUsize = AtomicUsize::new(NONE);
const NONE: usize = usize::MAX;
/// When it began, by the TSC.
static BEGAN: AtomicU64 = AtomicU64::new(0);

fn note(result: u8, word: &str, text: fmt::Arguments) {
    RESULT.fetch_max(result, Relaxed);
    if LINES.fetch_add(1, Relaxed) < SHOWN {
        say!("{word}: {text}");
    }
}

/// The tested matter is wrong: says what was expected and what was seen.
pub fn failure(text: fmt::Arguments) {
    note(FAILURE, "Failure", text);
}

/// The test itself cannot go on as meant.
pub fn error(text: fmt::Arguments) {
    note(ERROR, "Error", text);
}

/// Something the test needs is not there.
pub fn skip(text: fmt::Arguments) {
    note(SKIP, "Skip", text);
}

/// Whether the test that runs has failed, or gone wrong, by now.
pub fn failed() -> bool {
    RESULT.load(Relaxed) > SKIP
}

/// Announces a test by its place in `tests::ALL`; what is reported from now on is its own.
pub fn begin(test: usize) {
    RESULT.store(SUCCESS, Relaxed);
    LINES.store(0, Relaxed);
    RUNNING.store(test, Relaxed);
    BEGAN.store(time::ticks(), Relaxed);
    say!("Test: {}", tests::ALL[test].name);
}

/// Prints the result of the test that began last, if it has not ended.
pub fn end() {
    let lines = LINES.load(Relaxed);
    if lines > SHOWN {
        say!("({} more lines like these)", lines - SHOWN);
    }
    let result = RESULT.load(Relaxed);
    if let Some(test) = tests::ALL.get(RUNNING.swap(NONE, Relaxed)) {
        say!("It took {} ms.", time::since(BEGAN.load(Relaxed)));
        say!("Result of {}: {}", test.name, word(result));
    }
    OVERALL.fetch_max(result, Relaxed);
}

fn word(result: u8) -> &'static str {
    match result {
        SUCCESS => "SUCCESS",
        SKIP => "SKIP",
        ERROR => "ERROR",
        _ => "FAILURE",
    }
}

/// Ends the test that runs, prints the final line and stops the machine.
pub fn finish() -> ! {
    x86_64::instructions::interrupts::disable();
    end();
    say!("Test result: {}", word(OVERALL.load(Relaxed)));
    hypervisor::power_off()
}
