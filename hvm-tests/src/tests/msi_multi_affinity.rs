// SPDX-License-Identifier: GPL-2.0-only
//! All vectors of a device move between the vCPUs while MSI is on, as one.

use crate::{Device, Message, Msi, check, vcpu};

const FIRST: u8 = 0x40;
const TIMES: u32 = 2;

const ROUNDS: usize = 4;

pub fn run(device: &dyn Device) {
    let Some(ids) = vcpu::start() else { return };
    let msi = Msi::of(device.function());
    msi.program(Message::fixed(ids[0], FIRST));
    msi.enable_several(msi.capable());
    for round in 0..ROUNDS {
        let target = round % 2;
        let first = FIRST + (round as u8) * 0x10;
        msi.program(Message::fixed(ids[target], first));
        for n in 0..1 << msi.capable() {
            check::delivers("after the move", (device, n), TIMES, (target, first + n as u8));
        }
    }
    msi.enable(false);
}
