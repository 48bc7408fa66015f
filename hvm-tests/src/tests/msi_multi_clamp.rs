// SPDX-License-Identifier: GPL-2.0-only
//! More vectors than the device has are never in use: what reads back is what it has, and all of
//! those arrive.

use crate::{Device, Message, Msi, apic, check};

const FIRST: u8 = 0x40;
const TIMES: u32 = 2;

pub fn run(device: &dyn Device) {
    let msi = Msi::of(device.function());
    msi.program(Message::fixed(apic::id(), FIRST));
    for asked in msi.capable() + 1..8 {
        msi.enable_several(asked);
        check::equal(
            format_args!("log2 of vectors in use, {asked} asked for"),
            msi.capable(),
            msi.multiple(),
        );
        let last = (1u32 << msi.capable()) - 1;
        for n in [0, last] {
            check::delivers("first and last", (device, n), TIMES, (0, FIRST + n as u8));
        }
        msi.enable(false);
    }
}
