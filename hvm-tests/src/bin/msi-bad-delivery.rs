// SPDX-License-Identifier: GPL-2.0-only
//! Delivery modes that would reach past the guest's interrupt handlers: SMI, NMI, INIT, ExtINT, and reserved ones.

#![no_std]
#![no_main]

use hvm_tests::{Message, apic, devices, invalid};

/// All but fixed (0) and lowest priority (1).
const MODES: core::ops::RangeInclusive<u16> = 2..=7;

hvm_tests::test!(run);

fn run() {
    let Some(device) = devices::find() else { return };
    let valid = Message::fixed(apic::id(), invalid::VECTOR);
    for mode in MODES {
        invalid::check(
            &device,
            Message {
                data: valid.data | mode << 8,
                ..valid
            },
        );
    }
}
