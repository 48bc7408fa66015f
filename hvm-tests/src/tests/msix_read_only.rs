// SPDX-License-Identifier: GPL-2.0-only
//! Of the capability, only enable and function mask can be written: size, places, ID and next
//! pointer stay.

use crate::msix::{CONTROL, ENABLE, FUNCTION_MASK, PBA, TABLE};
use crate::{Device, Msix, check};

pub fn run(device: &dyn Device) {
    let msix = Msix::of(device.function());
    let before = [0, TABLE, PBA].map(|register| msix.read::<u32>(register));
    let same = |what: &str| {
        for (register, expected) in [0, TABLE, PBA].into_iter().zip(before) {
            check::equal(
                format_args!("{what}: register +{register:#x}"),
                expected,
                msix.read::<u32>(register),
            );
        }
    };
    for pattern in [0u32, !0, 0x5a5a_5a5a] {
        msix.write(TABLE, pattern);
        msix.write(PBA, pattern);
        same("4 bytes");
        msix.write(TABLE + 2, pattern as u16);
        msix.write(PBA, pattern as u16);
        same("2 bytes");
        msix.write(0u8, pattern as u8);
        msix.write(1u8, pattern as u8);
        msix.write(TABLE + 1, pattern as u8);
        msix.write(PBA + 3, pattern as u8);
        same("1 byte");
        msix.write(0, pattern as u16);
        same("2 bytes at the header");
        msix.write(CONTROL, pattern as u16 & !(ENABLE | FUNCTION_MASK));
        same("control but enable and function mask");
        msix.write(0, pattern & !(u32::from(ENABLE | FUNCTION_MASK) << 16));
        same("4 bytes at the header");
    }
    let others = msix.control();
    for bits in [FUNCTION_MASK, ENABLE | FUNCTION_MASK, ENABLE, 0] {
        msix.set(bits);
        check::equal(format_args!("control after {bits:#x}"), others | bits, msix.control());
    }
    same("afterwards");
}
