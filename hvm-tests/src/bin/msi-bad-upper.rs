// SPDX-License-Identifier: GPL-2.0-only
//! An address above 4 GiB is no interrupt's, whatever its low half says.

#![no_std]
#![no_main]

use hvm_tests::{Device, Message, Msi, apic, devices, invalid, report};

const UPPER: [u32; 4] = [1, 0x8000_0000, 0xfee0_0000, !0];

hvm_tests::test!(run);

fn run() {
    let Some(device) = devices::find() else { return };
    if !Msi::of(device.function()).is_wide() {
        return report::skip(format_args!("the device's message address has 32 bits"));
    }
    let valid = Message::fixed(apic::id(), invalid::VECTOR);
    for upper in UPPER {
        invalid::check(&device, Message { upper, ..valid });
    }
}
