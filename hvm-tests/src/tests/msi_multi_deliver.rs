// SPDX-License-Identifier: GPL-2.0-only
//! With 1, 2, 4 vectors and so on up to what the device has, each arrives on its own.

use crate::{Device, Message, Msi, apic, check};

const FIRST: u8 = 0x40;
const TIMES: u32 = 2;

pub fn run(device: &dyn Device) {
    let msi = Msi::of(device.function());
    msi.program(Message::fixed(apic::id(), FIRST));
    for log2 in 0..=msi.capable() {
        msi.enable_several(log2);
        check::equal(format_args!("log2 of vectors in use"), log2, msi.multiple());
        for n in 0..1 << log2 {
            check::delivers("each vector", (device, n), TIMES, (0, FIRST + n as u8));
        }
        msi.enable(false);
    }
}
