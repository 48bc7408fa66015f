// SPDX-License-Identifier: GPL-2.0-only
//! Two functions with MSI at once: each arrives on its own vector, and what is done to one leaves
//! the other alone.

use crate::{Device, Message, Msi, apic, check, devices};

const VECTORS: [u8; 2] = [0x54, 0x65];

pub fn run(device: &dyn Device) {
    let Some(other) = devices::second() else { return };
    let pair = [device, other];
    let msi = pair.map(|device| Msi::of(device.function()));
    for (msi, vector) in msi.into_iter().zip(VECTORS) {
        msi.program(Message::fixed(apic::id(), vector));
        msi.enable(true);
    }
    for _ in 0..3 {
        for (device, vector) in pair.into_iter().zip(VECTORS) {
            check::delivers("both on", device, 3, (0, vector));
        }
    }
    for n in [0, 1] {
        msi[n].enable(false);
        pair[n].function().disable_intx(true);
        check::delivers_nothing("off", pair[n]);
        check::delivers("the other off", pair[1 - n], 3, (0, VECTORS[1 - n]));
        msi[n].enable(true);
        pair[n].function().disable_intx(false);
        check::delivers("on again", pair[n], 3, (0, VECTORS[n]));
    }
}
