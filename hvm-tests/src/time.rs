// SPDX-License-Identifier: GPL-2.0-only
//! Waiting by time: the TSC, measured once against the 8254 timer.

use core::arch::x86_64::_rdtsc;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use x86_64::instructions::interrupts::enable_and_hlt;
use x86_64::instructions::port::{Port, PortWriteOnly};

const PIT_HERTZ: u64 = 1_193_182;
const CALIBRATION_MS: u64 = 20;
const CALIBRATIONS: u32 = 4;
// Port 0x61: the gate of timer channel 2, and its output.
const GATE: u8 = 1 << 0;
const OUTPUT: u8 = 1 << 5;

static TICKS_PER_MS: AtomicU64 = AtomicU64::new(0);

/// The TSC, in ticks.
pub fn ticks() -> u64 {
    // SAFETY: reading the TSC has no effect.
    unsafe { _rdtsc() }
}

/// Milliseconds since the TSC was `begin`.
pub fn since(begin: u64) -> u64 {
    (ticks() - begin) / TICKS_PER_MS.load(Relaxed).max(1)
}

/// Measures the TSC against channel 2 of the 8254.
///
/// The host may run something else at any moment. Each measurement begins before the timer does and
/// ends after it, so that this can only make it too long, and the shortest of several counts: no
/// limit is ever shorter than it says.
pub(crate) fn calibrate() {
    let ticks = (0..CALIBRATIONS).map(|_| measure()).min().unwrap_or(0);
    TICKS_PER_MS.store(ticks / CALIBRATION_MS, Relaxed);
}

/// The TSC's ticks in `CALIBRATION_MS` at least.
fn measure() -> u64 {
    let start = PIT_HERTZ * CALIBRATION_MS / 1000;
    let mut control = Port::<u8>::new(0x61);
    // SAFETY: channel 2 drives only the speaker, which stays off.
    unsafe {
        let rest = control.read() & 0xfc;
        control.write(rest);
        PortWriteOnly::new(0x43).write(0xb0u8); // channel 2, both bytes, mode 0
        let mut count = PortWriteOnly::new(0x42);
        count.write(start as u8);
        count.write((start >> 8) as u8);
        let begin = ticks();
        control.write(rest | GATE);
        while control.read() & OUTPUT == 0 {}
        let passed = ticks() - begin;
        control.write(rest);
        passed
    }
}

/// Waits until `done`, for `ms` milliseconds at most; whether it was done.
///
/// Interrupts are taken meanwhile, and the vCPU halts between them.
pub fn until(ms: u64, mut done: impl FnMut() -> bool) -> bool {
    let begin = ticks();
    let limit = ms * TICKS_PER_MS.load(Relaxed);
    loop {
        if done() {
            return true;
        }
        if ticks() - begin >= limit {
            return false;
        }
        // The tick bounds this, should the interrupt have come just before.
        enable_and_hlt();
    }
}

/// Lets `ms` milliseconds pass.
pub fn wait(ms: u64) {
    until(ms, || false);
}

/// Lets `ms` milliseconds pass without halting, to the point.
pub fn spin(ms: u64) {
    during(ms, core::hint::spin_loop);
}

/// Repeats `step` for `ms` milliseconds, without halting; how often that was.
pub fn during(ms: u64, mut step: impl FnMut()) -> u64 {
    let begin = ticks();
    let limit = ms * TICKS_PER_MS.load(Relaxed);
    (1..)
        .find(|_| {
            step();
            ticks() - begin >= limit
        })
        .unwrap_or(0)
}
