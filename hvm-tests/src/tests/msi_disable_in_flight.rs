// SPDX-License-Identifier: GPL-2.0-only
//! MSI is switched off the moment after the device raised: that interrupt arrives once or not at all, and the next
//! switch on works again.

use crate::interrupts::{count, forget, total};
use crate::{Device, Message, Msi, apic, check, time};

const VECTOR: u8 = 0x5e;
const ROUNDS: u32 = 50;

pub fn run(device: &dyn Device) {
    let msi = Msi::of(device.function());
    msi.program(Message::fixed(apic::id(), VECTOR));
    for round in 0..ROUNDS {
        msi.enable(true);
        forget();
        device.raise(0);
        msi.enable(false);
        device.acknowledge(0);
        time::wait(2);
        let seen = total();
        check::that(
            format_args!("round {round}: expected at most one interrupt, saw {seen}"),
            seen <= 1 + device.surplus() && seen == count(0, VECTOR),
        );
    }
    device.function().disable_intx(true);
    check::delivers_nothing("switched off for good", device);
    msi.enable(true);
    check::delivers("switched on again", device, 10, (0, VECTOR));
    msi.enable(false);
}
