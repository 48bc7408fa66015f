// SPDX-License-Identifier: GPL-2.0-only
//! The result of the test, in the words and the final line of XTF.

use core::fmt;
use core::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};

use crate::{hypervisor, say};

/// Lines of one kind that are printed; the rest are only counted.
const SHOWN: u32 = 20;

// Worst first wins: a later, better result never hides an earlier one.
const SUCCESS: u8 = 0;
const SKIP: u8 = 1;
const ERROR: u8 = 2;
const FAILURE: u8 = 3;

static RESULT: AtomicU8 = AtomicU8::new(SUCCESS);
static LINES: AtomicU32 = AtomicU32::new(0);

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

/// Prints the final line and stops the machine.
pub fn finish() -> ! {
    x86_64::instructions::interrupts::disable();
    let lines = LINES.load(Relaxed);
    if lines > SHOWN {
        say!("({} more lines like these)", lines - SHOWN);
    }
    let word = match RESULT.load(Relaxed) {
        SUCCESS => "SUCCESS",
        SKIP => "SKIP",
        ERROR => "ERROR",
        _ => "FAILURE",
    };
    say!("Test result: {word}");
    hypervisor::power_off()
}
