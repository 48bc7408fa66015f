// SPDX-License-Identifier: GPL-2.0-only
//! There are as many mask bits as vectors, MSI on or off; the pending bits cannot be written.

use crate::msi::PENDING;
use crate::{Device, Msi, cases, check, report};

pub fn run(device: &dyn Device) {
    let msi = Msi::of(device.function());
    let Some(mask) = msi.mask() else {
        return report::skip(format_args!("the device's MSI has no mask bits"));
    };
    let bits = ((1u64 << (1 << msi.capable())) - 1) as u32;
    msi.program(cases::message());
    for on in [false, true] {
        msi.enable(on);
        for pattern in [!0, 0xaaaa_aaaa, 0x5555_5555, 0u32] {
            msi.write(mask, pattern);
            check::equal(
                format_args!("mask after writing {pattern:#x}"),
                pattern & bits,
                msi.read::<u32>(mask),
            );
            msi.write(mask + PENDING, pattern);
            check::equal(
                format_args!("pending after writing {pattern:#x}"),
                0u32,
                msi.read::<u32>(mask + PENDING),
            );
        }
        msi.write(mask, 1u8);
        check::equal(format_args!("mask after writing one byte"), 1u32, msi.read::<u32>(mask));
        msi.write(mask, 0u16);
        check::equal(format_args!("mask after writing two bytes"), 0u32, msi.read::<u32>(mask));
    }
    check::delivers("unmasked", device, 2, (0, cases::VECTOR));
    msi.enable(false);
}
