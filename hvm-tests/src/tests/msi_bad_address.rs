// SPDX-License-Identifier: GPL-2.0-only
//! Every way in which an address alone can be no interrupt's.

use crate::{Device, Message, apic, hypervisor, invalid};

/// Not in the range of interrupts: for hardware a write to memory, and none is there.
const ELSEWHERE: [u32; 4] = [0xfef0_0000, 0xfde0_0000, 0x7ee0_0000, 0x8000_0000];
/// The remappable format, and bits that are reserved until a guest is offered extended destinations.
const RESERVED: core::ops::RangeInclusive<u32> = 4..=11;

pub fn run(device: &dyn Device) {
    let valid = Message::fixed(apic::id(), invalid::VECTOR);
    for address in ELSEWHERE {
        invalid::check(device, Message { address, ..valid });
    }
    if hypervisor::bare() {
        return;
    }
    for bit in RESERVED {
        invalid::check(
            device,
            Message {
                address: valid.address | 1 << bit,
                ..valid
            },
        );
    }
}
