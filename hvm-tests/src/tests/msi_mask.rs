// SPDX-License-Identifier: GPL-2.0-only
//! The mask bit holds a message back; the pending bit shows it; unmasked, it arrives once.

use crate::msi::PENDING;
use crate::{Device, Message, Msi, apic, check, report};

const VECTOR: u8 = 0x56;
const TIMES: u32 = 3;
const ROUNDS: u32 = 5;

pub fn run(device: &dyn Device) {
    let msi = Msi::of(device.function());
    let Some(mask) = msi.mask() else {
        return report::skip(format_args!("the device's MSI has no mask bits"));
    };
    msi.program(Message::fixed(apic::id(), VECTOR));
    msi.write(mask, 1u32);
    msi.enable(true);
    for _ in 0..ROUNDS {
        check::equal(format_args!("pending at first"), 0u32, msi.read::<u32>(mask + PENDING));
        check::delivers_nothing("masked", device);
        check::equal(format_args!("pending while masked"), 1u32, msi.read::<u32>(mask + PENDING));
        check::lets_through("unmasked", device, || msi.write(mask, 0u32), (0, VECTOR));
        check::equal(format_args!("pending afterwards"), 0u32, msi.read::<u32>(mask + PENDING));
        check::delivers("stays unmasked", device, TIMES, (0, VECTOR));
        msi.write(mask, 1u32);
    }
    msi.write(mask, 0u32);
    msi.enable(false);
}
