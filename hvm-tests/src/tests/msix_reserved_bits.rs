// SPDX-License-Identifier: GPL-2.0-only
//! Of vector control only the mask can be written, and of the address all but the two lowest bits.

use crate::msix::VECTOR_CONTROL;
use crate::{Device, Msix, check};

pub fn run(device: &dyn Device) {
    let msix = Msix::of(device.function());
    for entry in [0, 1, msix.size() - 1] {
        for pattern in [!0u32, 0xffff_fffe, 0x8000_0001, 0] {
            msix.set_entry(entry, VECTOR_CONTROL, pattern | 1);
            check::equal(
                format_args!("vector control after {pattern:#x}"),
                1u32,
                msix.entry::<u32>(entry, VECTOR_CONTROL),
            );
            msix.set_entry(entry, VECTOR_CONTROL, pattern & !1);
            check::equal(
                format_args!("vector control, unmasked"),
                0u32,
                msix.entry::<u32>(entry, VECTOR_CONTROL),
            );
            msix.mask(entry, true);
            msix.set_entry(entry, 0, pattern);
            check::equal(
                format_args!("address after {pattern:#x}"),
                pattern & !3,
                msix.entry::<u32>(entry, 0),
            );
        }
    }
}
