// SPDX-License-Identifier: GPL-2.0-only
//! Pending bits read the same by 4 and 8 bytes, and cannot be written.

use crate::mmio;
use crate::{Device, Message, Msix, apic, check};

const FIRST: u8 = 0x40;
/// Sources that take part.
const MOST: u32 = 4;

pub fn run(device: &dyn Device) {
    let msix = Msix::of(device.function());
    let sources = device.sources().min(MOST);
    let all = (1u64 << sources) - 1;
    msix.enable(true);
    for n in 0..sources {
        msix.program(n, Message::fixed(apic::id(), FIRST + n as u8));
        msix.mask(n, true);
    }
    written(msix, 0);
    check::silent("masked", || (0..sources).for_each(|n| device.raise(n)));
    written(msix, all);
    check::lets_all_through(
        "unmasked",
        device,
        sources,
        || (0..sources).for_each(|n| msix.mask(n, false)),
        FIRST,
    );
    written(msix, 0);
    msix.enable(false);
}

/// The bits of the first 64 entries are `bits`, whatever is written there.
fn written(msix: Msix, bits: u64) {
    for pattern in [0, !0, 0x5555_5555_5555_5555u64] {
        mmio::write(msix.pba(), pattern);
        mmio::write(msix.pba(), pattern as u32);
        mmio::write(msix.pba() + 4, pattern as u32);
        check::equal(
            format_args!("8 bytes after writing {pattern:#x}"),
            bits,
            mmio::read::<u64>(msix.pba()),
        );
        check::equal(
            format_args!("4 bytes after writing {pattern:#x}"),
            bits as u32,
            mmio::read::<u32>(msix.pba()),
        );
    }
}
