// SPDX-License-Identifier: GPL-2.0-only
//! Only the last entry that the device can raise is used; the table's very last keeps what is
//! written to it.

use crate::{Device, Msix, cases, check};

pub fn run(device: &dyn Device) {
    let msix = Msix::of(device.function());
    let (source, last) = (device.sources() - 1, msix.size() - 1);
    msix.enable(true);
    msix.program(last, cases::message());
    check::entry_reads_back("the table's last", (msix, last), cases::message());
    msix.program(source, cases::message());
    check::delivers("the last source", (device, source), 5, (0, cases::VECTOR));
    check::delivers_nothing("the first, which nobody programmed", device);
    msix.enable(false);
}
