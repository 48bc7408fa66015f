// SPDX-License-Identifier: GPL-2.0-only
//! An entry is masked and unmasked in a loop, as under load: none of what is raised meanwhile is
//! lost or doubled.

use crate::{Device, Message, Msix, apic, check};

const VECTOR: u8 = 0x57;
const ROUNDS: u32 = 25;
const TOGGLES: u32 = 20;

pub fn run(device: &dyn Device) {
    let msix = Msix::of(device.function());
    msix.program(0, Message::fixed(apic::id(), VECTOR));
    msix.enable(true);
    for _ in 0..ROUNDS {
        for _ in 0..TOGGLES {
            msix.mask(0, true);
            msix.mask(0, false);
        }
        msix.mask(0, true);
        device.raise(0);
        check::lets_through("raised while masked", device, || msix.mask(0, false), (0, VECTOR));
    }
    check::delivers("afterwards", device, 3, (0, VECTOR));
    msix.enable(false);
}
