// SPDX-License-Identifier: GPL-2.0-only
//! XSA-461 and more: two devices at one place. Before they were ever placed, which is where a
//! guest's address is learned from; one's registers over the other's table; both tables at one
//! place. Apart again, each has what is its own.

use crate::cases::{FIRST, VECTOR};
use crate::pci::SPARE;
use crate::{Device, Message, Msix, apic, check, devices, mmio, time};

const STAY_MS: u64 = 20;

pub fn run(device: &dyn Device) {
    let Some(other) = devices::second() else { return };
    let pair = [device, other];
    let msix = pair.map(|device| Msix::of(device.function()));
    for (msix, vector) in msix.into_iter().zip([VECTOR, FIRST]) {
        msix.program(0, Message::fixed(apic::id(), vector));
        msix.enable(true);
    }
    works("placed after an overlap", pair, msix);
    let homes = pair.map(|device| (0..6).map(|index| device.function().bar(index)));
    for (mover, still) in [(0, 1), (1, 0)] {
        let function = pair[mover].function();
        for (bar, home) in (0..)
            .zip(homes[mover].clone())
            .filter(|&(bar, home)| function.is_memory(bar) && home != 0)
        {
            function.move_bar(bar, msix[still].table() & !0xfff);
            msix[still].mask(1, true);
            mmio::read::<u32>(msix[still].table());
            time::wait(STAY_MS);
            function.move_bar(bar, home);
            works("a BAR over the other's table", pair, msix);
        }
    }
    both_tables(pair, msix);
    works("both tables at one place", pair, msix);
    msix.into_iter().for_each(|msix| msix.enable(false));
}

fn both_tables(pair: [&dyn Device; 2], msix: [Msix; 2]) {
    let bars = msix.map(|msix| msix.table_bar());
    let homes = [0, 1].map(|n| pair[n].function().bar(bars[n]));
    (0..2).for_each(|n| pair[n].function().move_bar(bars[n], SPARE));
    (0..0x4000).step_by(0x400).for_each(|offset| {
        mmio::read::<u32>(SPARE + offset);
    });
    (0..2).for_each(|n| pair[n].function().move_bar(bars[n], homes[n]));
}

fn works(what: &str, pair: [&dyn Device; 2], msix: [Msix; 2]) {
    for ((device, msix), vector) in pair.into_iter().zip(msix).zip([VECTOR, FIRST]) {
        let message = Message::fixed(apic::id(), vector);
        check::entry_reads_back(what, (msix, 0), message);
        msix.program(0, message);
        check::delivers(what, device, 2, (0, vector));
    }
}
