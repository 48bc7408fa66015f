// SPDX-License-Identifier: GPL-2.0-only
//! A block of vectors with one that no message may carry is refused whole; the same data with fewer
//! vectors, all of them good, is not.

use crate::{Device, Message, Msi, apic, check};

const TIMES: u32 = 2;
/// Data, and log2 of the vectors with which it is good, if there are any.
const BLOCKS: [(u8, Option<u16>); 3] = [(0xf0, Some(3)), (0xf8, Some(1)), (0x00, None)];

pub fn run(device: &dyn Device) {
    let msi = Msi::of(device.function());
    for (data, good) in BLOCKS {
        msi.program(Message::fixed(apic::id(), data));
        msi.enable_several(msi.capable());
        let last = (1 << msi.capable()) - 1;
        for n in [0, last] {
            check::delivers_nothing("a vector of the block is bad", (device, n));
        }
        if let Some(log2) = good {
            msi.enable_several(log2);
            for n in 0..1 << log2 {
                check::delivers("the block is good now", (device, n), TIMES, (0, data + n as u8));
            }
        }
        msi.enable(false);
    }
}
