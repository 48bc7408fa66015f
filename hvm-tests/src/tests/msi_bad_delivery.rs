// SPDX-License-Identifier: GPL-2.0-only
//! Delivery modes that would reach past the guest's interrupt handlers: SMI, NMI, INIT, ExtINT, and reserved ones.

use crate::{Device, Message, apic, invalid};

/// All but fixed (0) and lowest priority (1).
const MODES: core::ops::RangeInclusive<u32> = 2..=7;

pub fn run(device: &dyn Device) {
    let valid = Message::fixed(apic::id(), invalid::VECTOR);
    for mode in MODES {
        invalid::check(
            device,
            Message {
                data: valid.data | mode << 8,
                ..valid
            },
        );
    }
}
