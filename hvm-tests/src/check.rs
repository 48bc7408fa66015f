// SPDX-License-Identifier: GPL-2.0-only
//! Expectations: each that is not met is one line of the report.

use core::fmt;
use core::ops::RangeInclusive;

use crate::devices::Device;
use crate::interrupts::{self, INTX};
use crate::message::Message;
use crate::msi::Msi;
use crate::msix::Msix;
use crate::{report, time};

/// Long enough for an interrupt under emulation in emulation, on a host with other work; waits end
/// as soon as it is there.
const ARRIVAL_MS: u64 = 10_000;
/// How long to look for interrupts that must not come.
const SILENCE_MS: u64 = 100;

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

/// Xen answered with an error.
pub fn refused(what: fmt::Arguments, answer: i64) {
    that(format_args!("{what}: expected a refusal, saw {answer}"), answer < 0);
}

/// The capability reads back as the message that was written.
pub fn reads_back(what: &str, msi: Msi, written: Message) {
    let seen = msi.message();
    if seen != written {
        report::failure(format_args!("{what}: expected to read back {written:x?}, saw {seen:x?}"));
    }
}

/// An entry of the table reads back as the message that was written.
pub fn entry_reads_back(what: &str, (msix, entry): (Msix, u32), written: Message) {
    let seen = msix.message(entry);
    if seen != written {
        report::failure(format_args!(
            "{what}: expected entry {entry} to read back {written:x?}, saw {seen:x?}"
        ));
    }
}

/// Lets what was raised in vain, and so may be pending, arrive or not: hardware loses it, Xen does
/// not.
pub fn after_pending() {
    time::wait(SILENCE_MS);
}

/// An interrupt that a device can raise: the first it has, or one by number.
pub struct Source<'a>(&'a dyn Device, u32);

impl<'a> From<&'a dyn Device> for Source<'a> {
    fn from(device: &'a dyn Device) -> Self {
        Self(device, 0)
    }
}

impl<'a> From<(&'a dyn Device, u32)> for Source<'a> {
    fn from((device, n): (&'a dyn Device, u32)) -> Self {
        Self(device, n)
    }
}

impl Source<'_> {
    fn raise(&self) {
        self.0.raise(self.1);
    }

    fn acknowledge(&self) {
        self.0.acknowledge(self.1);
    }
}

/// The source raises `times` times, and as many interrupts arrive as `vector` on `vcpu`, none
/// elsewhere.
pub fn delivers<'a>(
    what: &str,
    source: impl Into<Source<'a>>,
    times: u32,
    (vcpu, vector): (usize, u8),
) {
    let source = source.into();
    interrupts::forget();
    for _ in 0..times {
        let before = interrupts::count(vcpu, vector);
        source.raise();
        let arrived = time::until(ARRIVAL_MS, || interrupts::count(vcpu, vector) > before);
        source.acknowledge();
        if !arrived {
            break;
        }
    }
    settle();
    arrived(what, times..=times * (1 + source.0.surplus()), (vcpu, vector));
}

/// Since the counters were cleared, `vector` arrived this often on `vcpu`, and nothing else.
pub fn arrived(what: &str, times: RangeInclusive<u32>, (vcpu, vector): (usize, u8)) {
    let seen = interrupts::count(vcpu, vector);
    if !times.contains(&seen) || interrupts::total() != seen {
        let (least, wanted) = (times.start(), Vector(vector));
        report::failure(format_args!(
            "{what}: expected {least} of {wanted} on vCPU {vcpu}, saw {Seen}"
        ));
    }
}

/// `action` lets one interrupt of the source through that was pending, and no other.
pub fn lets_through<'a>(
    what: &str,
    source: impl Into<Source<'a>>,
    action: impl FnOnce(),
    at: (usize, u8),
) {
    let source = source.into();
    interrupts::forget();
    action();
    time::until(ARRIVAL_MS, || interrupts::count(at.0, at.1) != 0);
    source.acknowledge();
    settle();
    arrived(what, 1..=1 + source.0.surplus(), at);
}

/// `action` lets one interrupt of each of the first `sources` sources through, each on its own
/// vector from `first` on.
pub fn lets_all_through(
    what: &str,
    device: &dyn Device,
    sources: u32,
    action: impl FnOnce(),
    first: u8,
) {
    interrupts::forget();
    action();
    let vectors = || (0..sources).map(|n| first + n as u8);
    time::until(ARRIVAL_MS, || vectors().all(|vector| interrupts::count(0, vector) != 0));
    (0..sources).for_each(|n| device.acknowledge(n));
    settle();
    let once = 1..=1 + device.surplus();
    let seen: u32 = vectors().map(|vector| interrupts::count(0, vector)).sum();
    if !vectors().all(|vector| once.contains(&interrupts::count(0, vector)))
        || seen != interrupts::total()
    {
        report::failure(format_args!(
            "{what}: expected one of each of {sources} from {first:#x} on, saw {Seen}"
        ));
    }
}

/// Nothing arrives of what `action` does.
pub fn silent(what: &str, action: impl FnOnce()) {
    interrupts::forget();
    action();
    time::wait(SILENCE_MS);
    if interrupts::total() != 0 {
        report::failure(format_args!("{what}: expected no interrupt, saw {Seen}"));
    }
}

/// The source raises once, and nothing arrives anywhere.
pub fn delivers_nothing<'a>(what: &str, source: impl Into<Source<'a>>) {
    let source = source.into();
    silent(what, || source.raise());
    source.acknowledge();
    settle();
}

/// The device raises once, and `expected`, given what arrived, is true.
pub fn delivers_as<'a>(what: &str, source: impl Into<Source<'a>>, expected: impl Fn() -> bool) {
    let source = source.into();
    interrupts::forget();
    source.raise();
    time::until(ARRIVAL_MS, &expected);
    source.acknowledge();
    settle();
    if !expected() {
        report::failure(format_args!("{what}: saw {Seen}"));
    }
}

/// Lets a surplus interrupt arrive that would otherwise count for the next check.
fn settle() {
    time::wait(20);
}
