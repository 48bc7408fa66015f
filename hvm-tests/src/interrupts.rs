// SPDX-License-Identifier: GPL-2.0-only
//! What arrived: a counter for each vector on each vCPU.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use x86_64::instructions::port::PortWriteOnly;
use x86_64::registers::control::Cr2;
use x86_64::structures::idt::InterruptStackFrame;

use crate::vcpu::{self, COUNT};
use crate::{apic, ioapic, report};

const NMI: u8 = 2;
const FIRST_INTERRUPT: u8 = 32;
/// The vectors from here on belong to the framework: a test must not use them for messages.
pub const FRAMEWORK: u8 = 0xe0;
/// The tick that wakes a waiting vCPU; not counted.
pub const TICK: u8 = FRAMEWORK;
/// What the local APIC raises when an interrupt vanished; not counted.
pub const SPURIOUS: u8 = FRAMEWORK + 1;
/// INTx of any device, from the I/O APIC.
pub const INTX: u8 = FRAMEWORK + 2;
/// Where interrupts go that a test left pending; not counted.
pub const DRAIN: u8 = FRAMEWORK + 3;

const VECTORS: usize = 256;
static COUNTS: [[AtomicU32; VECTORS]; COUNT] =
    [const { [const { AtomicU32::new(0) }; VECTORS] }; COUNT];

/// How often `vector` arrived on vCPU `index` since `forget`.
pub fn count(index: usize, vector: u8) -> u32 {
    COUNTS[index][usize::from(vector)].load(Relaxed)
}

/// Everything that arrived since `forget`, as (vCPU, vector, times).
pub fn seen() -> impl Iterator<Item = (usize, u8, u32)> {
    (0..COUNT)
        .flat_map(|index| (0..=u8::MAX).map(move |vector| (index, vector, count(index, vector))))
        .filter(|&(_, _, times)| times != 0)
}

/// How many interrupts arrived since `forget`.
pub fn total() -> u32 {
    seen().map(|(_, _, times)| times).sum()
}

/// Sets every counter to zero and lets INTx through again.
pub fn forget() {
    COUNTS.iter().flatten().for_each(|counter| counter.store(0, Relaxed));
    ioapic::unmask();
}

/// Counts an interrupt, or ends the test at an exception.
pub(crate) fn arrived(frame: &InterruptStackFrame, vector: u8, code: Option<u64>) {
    match vector {
        SPURIOUS => return,
        0..FIRST_INTERRUPT if vector != NMI => exception(frame, vector, code),
        TICK | DRAIN => {}
        _ => {
            COUNTS[vcpu::index()][usize::from(vector)].fetch_add(1, Relaxed);
        }
    }
    if vector == INTX {
        // The line stays up until the device is acknowledged: masked, it counts once.
        ioapic::mask();
    }
    if vector != NMI {
        apic::end_of_interrupt();
    }
}

/// Reports an exception and ends the test.
pub(crate) fn exception(frame: &InterruptStackFrame, vector: u8, code: Option<u64>) -> ! {
    report::error(format_args!(
        "exception {vector} (code {:#x}) at {:#x} on vCPU {}, CR2 {:#x}",
        code.unwrap_or(0),
        frame.instruction_pointer,
        vcpu::index(),
        Cr2::read_raw(),
    ));
    report::finish()
}

/// Masks the two 8259 controllers, which no test uses, after giving them vectors that are no
/// exceptions.
pub(crate) fn silence_legacy() {
    for (command, data, first) in [(0x20, 0x21, 0xf0), (0xa0, 0xa1, 0xf8)] {
        let cascade = if command == 0x20 { 4u8 } else { 2 };
        // SAFETY: the initialisation sequence of an 8259, then all lines masked.
        unsafe {
            PortWriteOnly::new(command).write(0x11u8);
            for value in [first, cascade, 1, 0xff] {
                PortWriteOnly::new(data).write(value);
            }
        }
    }
}
