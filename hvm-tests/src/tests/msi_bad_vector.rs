// SPDX-License-Identifier: GPL-2.0-only
//! Vectors that a message must not carry.

use crate::{Device, Message, apic, invalid};

const VECTORS: [u8; 6] = [0x00, 0x01, 0x02, 0x08, 0x0f, 0xff];

pub fn run(device: &dyn Device) {
    for vector in VECTORS {
        invalid::check(device, Message::fixed(apic::id(), vector));
    }
}
