// SPDX-License-Identifier: GPL-2.0-only
//! Vectors that a message must not carry.

#![no_std]
#![no_main]

use hvm_tests::{Message, apic, devices, invalid};

const VECTORS: [u8; 6] = [0x00, 0x01, 0x02, 0x08, 0x0f, 0xff];

hvm_tests::test!(run);

fn run() {
    let Some(device) = devices::find() else { return };
    for vector in VECTORS {
        invalid::check(&device, Message::fixed(apic::id(), vector));
    }
}
