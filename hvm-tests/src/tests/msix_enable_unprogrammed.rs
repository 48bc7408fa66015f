// SPDX-License-Identifier: GPL-2.0-only
//! MSI-X is switched on with nothing in the table: masked entries stay silent, and so does one that
//! is unmasked with no message.

use crate::msix::ENABLE;
use crate::{Device, Message, Msix, cases, check};

pub fn run(device: &dyn Device) {
    let msix = Msix::of(device.function());
    for _ in 0..2 {
        msix.enable(true);
        check::equal(format_args!("enable reads back"), ENABLE, msix.control() & ENABLE);
        check::delivers_nothing("all masked", (device, 1));
        msix.mask(0, false);
        check::entry_reads_back("unmasked", (msix, 0), Message::RESET);
        check::delivers_nothing("unmasked without a message", device);
        msix.mask(0, true);
        msix.enable(false);
    }
    msix.enable(true);
    msix.program(0, cases::message());
    check::after_pending();
    check::delivers("programmed at last", device, 3, (0, cases::VECTOR));
    msix.enable(false);
}
