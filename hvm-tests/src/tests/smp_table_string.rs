// SPDX-License-Identifier: GPL-2.0-only
//! String instructions of every width move table, pending bits and what is beside them while the
//! other vCPU rewrites entries and turns the function mask on and off.

use crate::msix::{ENABLE, ENTRY, FUNCTION_MASK, MASKED, VECTOR_CONTROL};
use crate::storm::{self, PHASE_MS, Storm};
use crate::{Device, Msix, check, mmio};

const PAGE: usize = 4096;
const WIDTHS: [usize; 4] = [1, 2, 4, 8];
/// The entries that the first vCPU rewrites; the second moves into as many after them.
const ENTRIES: u32 = 2;
/// What one instruction moves.
const BYTES: usize = 128;
/// Of entries that one instruction moves into, all of them whole.
const INTO: usize = ENTRIES as usize * ENTRY;

#[repr(align(16))]
struct Buffer([u8; BYTES]);

pub fn run(device: &dyn Device) {
    let Some((mut storm, ids)) = Storm::begin() else { return };
    let msix = Msix::of(device.function());
    let end = msix.register(msix.size(), 0);
    (0..ENTRIES).for_each(|n| msix.program(n, storm::message(ids, n as usize)));
    msix.enable(true);
    (0..ENTRIES)
        .for_each(|n| check::delivers("at first", (device, n), 1, storm::target(n as usize)));
    let rewrite = |n: usize| {
        msix.program(n as u32 % ENTRIES, storm::message(ids, n / 2));
        if n % 8 == 0 {
            [ENABLE | FUNCTION_MASK, ENABLE].into_iter().for_each(|bits| msix.set(bits));
        }
    };
    // Half of the second is behind the last entry, and half of the fourth before the pending bits
    // unless they begin a page.
    let before = (msix.pba() - BYTES / 2).max(msix.pba() & !(PAGE - 1));
    let places = [msix.table(), end - BYTES / 2, msix.pba(), before];
    storm.phase("out", 2 * PHASE_MS, rewrite, |n| {
        device.again(n as u32 % ENTRIES);
        let mut buffer = Buffer([0; BYTES]);
        mmio::copy_by(WIDTHS[n % 4], places[n / 4 % 4], buffer.0.as_mut_ptr() as usize, BYTES);
    });
    storm.phase("in", PHASE_MS, rewrite, |n| {
        device.again(n as u32 % ENTRIES);
        let width = WIDTHS[n % 4];
        let mut buffer = Buffer([0xff; BYTES]);
        let start = buffer.0.as_mut_ptr() as usize;
        mmio::copy_by(width, start, msix.register(ENTRIES, 0), INTO);
        mmio::copy_by(width, start, msix.pba(), msix.size().div_ceil(64) as usize * 8);
        mmio::copy_by(width, msix.register(ENTRIES, 0), start, INTO);
    });
    let last: u32 = msix.entry(ENTRIES, VECTOR_CONTROL);
    check::equal(format_args!("an entry moved into is masked"), MASKED, last & MASKED);
    for turn in 0..storm::TURNS {
        (0..ENTRIES).for_each(|n| msix.program(n, storm::message(ids, turn + n as usize)));
        storm::rest(device);
        for n in 0..ENTRIES {
            check::entry_reads_back(
                "afterwards",
                (msix, n),
                storm::message(ids, turn + n as usize),
            );
            check::delivers("afterwards", (device, n), 2, storm::target(turn + n as usize));
        }
    }
    msix.enable(false);
}
