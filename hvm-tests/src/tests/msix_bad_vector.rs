// SPDX-License-Identifier: GPL-2.0-only
//! Vectors that an entry must not carry.

use crate::{Device, Message, apic, invalid};

pub fn run(device: &dyn Device) {
    for vector in invalid::VECTORS {
        invalid::check_entry(device, Message::fixed(apic::id(), vector));
    }
}
