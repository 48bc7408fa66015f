// SPDX-License-Identifier: GPL-2.0-only
//! The BAR with the table moves above 4 GiB while MSI-X is on, and back.

use crate::pci::SPARE_HIGH;
use crate::{Device, Msix, cases, check, report};

pub fn run(device: &dyn Device) {
    let function = device.function();
    if !function.is_wide(Msix::of(function).table_bar()) {
        return report::skip(format_args!("the table's BAR has 32 bits"));
    }
    cases::move_table(device, SPARE_HIGH);
    check::delivers("afterwards", device, 2, (0, cases::VECTOR));
}
