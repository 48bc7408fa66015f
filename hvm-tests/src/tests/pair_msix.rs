// SPDX-License-Identifier: GPL-2.0-only
//! Two functions with MSI-X at once, all their entries on vectors of their own; what is done to one
//! leaves the other alone.

use crate::{Device, Message, Msix, apic, check, devices};

const FIRST: [u8; 2] = [0x40, 0x50];
/// Sources of each that take part.
const MOST: u32 = 4;

pub fn run(device: &dyn Device) {
    let Some(other) = devices::second() else { return };
    let pair = [device, other];
    let msix = pair.map(|device| Msix::of(device.function()));
    for (msix, first) in msix.into_iter().zip(FIRST) {
        msix.enable(true);
        (0..MOST).for_each(|n| msix.program(n, Message::fixed(apic::id(), first + n as u8)));
    }
    for n in 0..MOST {
        for (device, first) in pair.into_iter().zip(FIRST) {
            check::delivers("both on", (device, n), 2, (0, first + n as u8));
        }
    }
    for n in [0, 1] {
        msix[n].mask(1, true);
        check::delivers_nothing("masked", (pair[n], 1));
        check::delivers("the other's entry", (pair[1 - n], 1), 2, (0, FIRST[1 - n] + 1));
        let unmask = || msix[n].mask(1, false);
        check::lets_through("unmasked", (pair[n], 1), unmask, (0, FIRST[n] + 1));
        msix[n].enable(false);
        check::delivers("the other off", (pair[1 - n], 1), 2, (0, FIRST[1 - n] + 1));
        msix[n].enable(true);
        check::delivers("on again", (pair[n], 1), 2, (0, FIRST[n] + 1));
    }
}
