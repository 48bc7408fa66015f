// SPDX-License-Identifier: GPL-2.0-only
//! The BAR with the table moves while MSI-X is on; the entries move along.

use crate::pci::SPARE;
use crate::{Device, cases, check};

pub fn run(device: &dyn Device) {
    cases::move_table(device, SPARE);
    check::delivers("afterwards", device, 2, (0, cases::VECTOR));
}
