// SPDX-License-Identifier: GPL-2.0-only
//! The low bits of the data are the device's to fill: whatever stands there reads back, and vector
//! n arrives.

use crate::{Device, Message, Msi, apic, check};

const VECTORS: [u8; 4] = [0x4d, 0x5f, 0x61, 0x76];
const TIMES: u32 = 2;

pub fn run(device: &dyn Device) {
    let msi = Msi::of(device.function());
    for vector in VECTORS {
        let message = Message::fixed(apic::id(), vector);
        for log2 in [1, msi.capable()] {
            let first = vector & !((1 << log2) - 1);
            msi.program(message);
            msi.enable_several(log2);
            check::reads_back("with low bits", msi, message);
            for n in [0, (1 << log2) - 1] {
                check::delivers(
                    "in place of the low bits",
                    (device, n),
                    TIMES,
                    (0, first + n as u8),
                );
            }
            msi.enable(false);
        }
    }
}
