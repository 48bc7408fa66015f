// SPDX-License-Identifier: GPL-2.0-only
//! An address above 4 GiB is no interrupt's, whatever its low half says.

use crate::{Device, Message, Msi, invalid, report};

pub fn run(device: &dyn Device) {
    if !Msi::of(device.function()).is_wide() {
        return report::skip(format_args!("the device's message address has 32 bits"));
    }
    let valid = invalid::valid();
    for upper in invalid::UPPER {
        invalid::check(device, Message { upper, ..valid });
    }
}
