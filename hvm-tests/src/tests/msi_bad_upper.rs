// SPDX-License-Identifier: GPL-2.0-only
//! An address above 4 GiB is no interrupt's, whatever its low half says.

use crate::{Device, Message, Msi, apic, invalid, report};

const UPPER: [u32; 4] = [1, 0x8000_0000, 0xfee0_0000, !0];

pub fn run(device: &dyn Device) {
    if !Msi::of(device.function()).is_wide() {
        return report::skip(format_args!("the device's message address has 32 bits"));
    }
    let valid = Message::fixed(apic::id(), invalid::VECTOR);
    for upper in UPPER {
        invalid::check(device, Message { upper, ..valid });
    }
}
