// SPDX-License-Identifier: GPL-2.0-only
//! An entry's address above 4 GiB is no interrupt's; nor may the data have bits above the lowest
//! 16.

use crate::{Device, Message, hypervisor, invalid};

pub fn run(device: &dyn Device) {
    let valid = invalid::valid();
    for upper in invalid::UPPER {
        invalid::check_entry(device, Message { upper, ..valid });
    }
    if hypervisor::bare() {
        return;
    }
    for data in [1 << 16, 0xffff_0000] {
        invalid::check_entry(device, Message { data: valid.data | data, ..valid });
    }
}
