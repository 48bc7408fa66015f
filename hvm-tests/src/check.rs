// SPDX-License-Identifier: GPL-2.0-only
//! Expectations: each that is not met is one line of the report.

use core::fmt;

use crate::devices::Device;
use crate::interrupts::{self, INTX};
use crate::msi::{Message, Msi};
use crate::{report, time};

/// Long enough for an interrupt under emulation in emulation; waits end as soon as it is there.
const ARRIVAL_MS: u64 = 3000;
/// How long to look for interrupts that must not come.
const SILENCE_MS: u64 = 150;

/// Everything that arrived since the counters were cleared.
struct Seen;

impl fmt::Display for Seen {
    fn fmt(&self, output: &mut fmt::Formatter) -> fmt::Result {
        let mut arrivals = interrupts::seen();
        let Some((vcpu, vector, times)) = arrivals.next() else {
            return write!(output, "nothing");
        };
        write!(output, "{times} of {} on vCPU {vcpu}", Vector(vector))?;
        // Bounded: a line has room for a few.
        for (vcpu, vector, times) in arrivals.take(3) {
            write!(output, ", {times} of {} on vCPU {vcpu}", Vector(vector))?;
        }
        Ok(())
    }
}

/// A vector as a person reads it.
struct Vector(u8);

impl fmt::Display for Vector {
    fn fmt(&self, output: &mut fmt::Formatter) -> fmt::Result {
        match self.0 {
            INTX => write!(output, "INTx"),
            2 => write!(output, "NMI"),
            vector => write!(output, "vector {vector:#04x}"),
        }
    }
}

/// A register or state has exactly this value.
pub fn equal(what: fmt::Arguments, expected: impl Into<u64>, seen: impl Into<u64>) {
    let (expected, seen) = (expected.into(), seen.into());
    if expected != seen {
        report::failure(format_args!("{what}: expected {expected:#x}, saw {seen:#x}"));
    }
}

/// A condition holds.
pub fn that(what: fmt::Arguments, holds: bool) {
    if !holds {
        report::failure(format_args!("{what}"));
    }
}

/// The capability reads back as the message that was written.
pub fn reads_back(what: &str, msi: Msi, written: Message) {
    let seen = msi.message();
    if seen != written {
        report::failure(format_args!(
            "{what}: expected to read back {written:x?}, saw {seen:x?}"
        ));
    }
}

/// The device raises `times` times, and as many interrupts arrive as `vector` on `vcpu`, none elsewhere.
pub fn delivers(what: &str, device: &impl Device, times: u32, (vcpu, vector): (usize, u8)) {
    interrupts::forget();
    for n in 1..=times {
        device.raise(0);
        let arrived = time::until(ARRIVAL_MS, || interrupts::count(vcpu, vector) >= n);
        device.acknowledge(0);
        if !arrived {
            break;
        }
    }
    settle();
    if interrupts::count(vcpu, vector) != times || interrupts::total() != times {
        let wanted = Vector(vector);
        report::failure(format_args!(
            "{what}: expected {times} of {wanted} on vCPU {vcpu}, saw {Seen}"
        ));
    }
}

/// The device raises once, and nothing arrives anywhere.
pub fn delivers_nothing(what: &str, device: &impl Device) {
    interrupts::forget();
    device.raise(0);
    time::wait(SILENCE_MS);
    device.acknowledge(0);
    settle();
    if interrupts::total() != 0 {
        report::failure(format_args!("{what}: expected no interrupt, saw {Seen}"));
    }
}

/// The device raises once, and `expected`, given what arrived, is true.
pub fn delivers_as(what: &str, device: &impl Device, expected: impl Fn() -> bool) {
    interrupts::forget();
    device.raise(0);
    time::until(ARRIVAL_MS, &expected);
    device.acknowledge(0);
    settle();
    if !expected() {
        report::failure(format_args!("{what}: saw {Seen}"));
    }
}

/// Lets a surplus interrupt arrive that would otherwise count for the next check.
fn settle() {
    time::wait(20);
}
