// SPDX-License-Identifier: GPL-2.0-only
//! The number of vectors changes while MSI is on.

use crate::{Device, Message, Msi, apic, check};

const FIRST: u8 = 0x40;
const TIMES: u32 = 2;

const STEPS: [u16; 6] = [2, 0, 4, 1, 3, 0];

pub fn run(device: &dyn Device) {
    let msi = Msi::of(device.function());
    msi.program(Message::fixed(apic::id(), FIRST));
    for log2 in STEPS.map(|log2| log2.min(msi.capable())) {
        msi.enable_several(log2);
        check::equal(format_args!("log2 of vectors in use"), log2, msi.multiple());
        for n in 0..1 << log2 {
            check::delivers("after a change", (device, n), TIMES, (0, FIRST + n as u8));
        }
    }
    msi.enable(false);
}
