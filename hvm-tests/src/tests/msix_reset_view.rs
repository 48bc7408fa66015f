// SPDX-License-Identifier: GPL-2.0-only
//! Before anything is written: MSI-X off, every entry masked with no message, nothing pending.

use crate::msix::{ENABLE, FUNCTION_MASK, MASKED, VECTOR_CONTROL};
use crate::{Device, Message, Msix, check};

pub fn run(device: &dyn Device) {
    let msix = Msix::of(device.function());
    check::equal(
        format_args!("enable and function mask"),
        0u16,
        msix.control() & (ENABLE | FUNCTION_MASK),
    );
    for entry in 0..msix.size() {
        check::entry_reads_back("at first", (msix, entry), Message::RESET);
        check::equal(
            format_args!("vector control"),
            MASKED,
            msix.entry::<u32>(entry, VECTOR_CONTROL),
        );
    }
    check::equal(format_args!("pending bits set"), 0u64, msix.all_pending().count() as u64);
}
