// SPDX-License-Identifier: GPL-2.0-only
//! XSA-458, 83: one device takes interrupts until too few are left for another's block of sixteen:
//! the block gets all or none, nothing is lost by the attempt, and what is released can be had.

use crate::cases::FIRST;
use crate::{Device, Message, Msi, Msix, apic, check, devices, time};

const BLOCK: u8 = 0x90;
const LOG2: u16 = 4;
const VECTORS: u32 = 1 << LOG2;
const SETTLE_MS: u64 = 50;
/// Fewer than a block needs, and once as many.
const LEFT: [u32; 6] = [0, 1, 8, 15, 3, VECTORS];

pub fn run(device: &dyn Device) {
    let Some(other) = devices::second() else { return };
    // The order on the bus does not matter.
    let [greedy, block] =
        if Msi::find(device.function()).is_none() { [device, other] } else { [other, device] };
    let (msix, msi) = (Msix::of(greedy.function()), Msi::of(block.function()));
    let all = served(greedy, msix);
    check::that(format_args!("{all} entries are served, more than a block"), all > VECTORS);
    for left in LEFT {
        take(greedy, msix, all - left);
        msi.program(Message::fixed(apic::id(), BLOCK));
        msi.enable_several(LOG2);
        check::equal(format_args!("{left} left: log2 of vectors in use"), LOG2, msi.multiple());
        if left < VECTORS {
            check::delivers_nothing("too few are left", (block, 0));
            check::delivers_nothing("too few are left", (block, VECTORS - 1));
        }
        check::delivers("the other device", (greedy, 0), 2, (0, FIRST));
        msix.enable(false);
        msi.enable(false);
        msi.enable_several(LOG2);
        time::wait(SETTLE_MS);
        for n in [0, VECTORS / 2, VECTORS - 1] {
            check::delivers("enough are left", (block, n), 1, (0, BLOCK + n as u8));
        }
        msi.enable(false);
    }
}

/// Unmasks the first `count` entries and no other.
fn take(device: &dyn Device, msix: Msix, count: u32) {
    msix.enable(true);
    (0..device.sources()).for_each(|n| msix.mask(n, true));
    (0..count).for_each(|n| msix.program(n, Message::fixed(apic::id(), FIRST + n as u8)));
    time::wait(SETTLE_MS);
}

/// How many entries at once deliver.
fn served(device: &dyn Device, msix: Msix) -> u32 {
    take(device, msix, device.sources());
    let arrives = |n: &u32| {
        crate::interrupts::forget();
        device.raise(*n);
        time::until(SETTLE_MS, || crate::interrupts::count(0, FIRST + *n as u8) != 0);
        device.acknowledge(*n);
        crate::interrupts::total() != 0
    };
    let served = (0..device.sources()).take_while(arrives).count() as u32;
    msix.enable(false);
    served
}
