// SPDX-License-Identifier: GPL-2.0-only
//! Somebody outside fires the vectors this asks for: each arrives as its own, or waits while its
//! entry is masked.

use crate::{Device, Message, Msix, apic, check, interrupts, say, time};

const FIRST: u8 = 0x40;
/// In no order that a mistake would produce.
const ASKED_FOR: [u32; 4] = [5, 0, 15, 2];
const HELD_BACK: u32 = 9;
/// Somebody outside needs a while to read what is asked for.
const OUTSIDE_MS: u64 = 30_000;

pub fn run(device: &dyn Device) {
    let msix = Msix::of(device.function());
    for n in 0..device.sources() {
        msix.program(n, Message::fixed(apic::id(), FIRST + n as u8));
    }
    msix.enable(true);
    for (turn, n) in ASKED_FOR.into_iter().enumerate() {
        let vector = FIRST + n as u8;
        interrupts::forget();
        ask_for(turn, n);
        time::until(OUTSIDE_MS, || interrupts::count(0, vector) != 0);
        check::arrived("fired from outside", 1..=1, (0, vector));
    }
    msix.mask(HELD_BACK, true);
    check::silent("masked", || {
        ask_for(ASKED_FOR.len(), HELD_BACK);
        time::until(OUTSIDE_MS, || msix.pending(HELD_BACK));
    });
    let unmask = || msix.mask(HELD_BACK, false);
    check::lets_through("unmasked", (device, HELD_BACK), unmask, (0, FIRST + HELD_BACK as u8));
    msix.enable(false);
}

/// Says what to fire: which of how many, so that whoever does knows what to wait for.
fn ask_for(turn: usize, vector: u32) {
    say!("Fire {} of {}: {vector}", turn + 1, ASKED_FOR.len() + 1);
}
