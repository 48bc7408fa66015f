// SPDX-License-Identifier: GPL-2.0-only
//! Vectors that a message must not carry.

use crate::{Device, Message, apic, invalid};

pub fn run(device: &dyn Device) {
    for vector in invalid::VECTORS {
        invalid::check(device, Message::fixed(apic::id(), vector));
    }
}
