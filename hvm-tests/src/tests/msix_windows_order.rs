// SPDX-License-Identifier: GPL-2.0-only
//! As Windows does it: an entry is unmasked twice, with its message written in between or before;
//! and masked twice.

use crate::msix::{DATA, UPPER};
use crate::{Device, Message, Msix, apic, check};

const VECTOR: u8 = 0x58;
const OTHER: u8 = 0x69;
const TIMES: u32 = 3;

pub fn run(device: &dyn Device) {
    let msix = Msix::of(device.function());
    let message = Message::fixed(apic::id(), VECTOR);
    msix.enable(true);
    msix.write_message(0, message);
    msix.mask(0, false);
    msix.mask(0, false);
    check::delivers("unmasked twice", device, TIMES, (0, VECTOR));
    msix.mask(0, true);
    msix.mask(0, true);
    check::delivers_nothing("masked twice", device);
    check::lets_through("unmasked", device, || msix.mask(0, false), (0, VECTOR));
    check::silent("unmasked once more", || msix.mask(0, false));
    msix.mask(0, true);
    msix.set_entry(0, DATA, u32::from(OTHER));
    msix.mask(0, false);
    msix.set_entry(0, 0, message.address);
    msix.set_entry(0, UPPER, message.upper);
    msix.mask(0, false);
    check::delivers("message written around an unmask", device, TIMES, (0, OTHER));
    msix.enable(false);
}
