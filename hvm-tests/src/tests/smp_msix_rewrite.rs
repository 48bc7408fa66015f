// SPDX-License-Identifier: GPL-2.0-only
//! One vCPU masks, rewrites and unmasks entries that take interrupts all the time. The other masks
//! and unmasks others, reads table and pending bits, moves the table, and turns memory decoding off
//! and on.

use crate::msix::VECTOR_CONTROL;
use crate::pci::SPARE;
use crate::storm::{self, PHASE_MS, SELDOM, Storm};
use crate::{Device, Msix, check, hypervisor, mmio};

/// The entries that the first vCPU rewrites; the second has as many after them.
const REWRITTEN: u32 = 2;
const ENTRIES: u32 = 2 * REWRITTEN;

pub fn run(device: &dyn Device) {
    let Some((mut storm, ids)) = Storm::begin() else { return };
    let function = device.function();
    let msix = Msix::of(function);
    let home = function.bar(msix.table_bar());
    let program = |turn: usize| {
        (0..ENTRIES).for_each(|n| msix.program(n, storm::message(ids, turn + n as usize)))
    };
    program(0);
    msix.enable(true);
    (0..ENTRIES)
        .for_each(|n| check::delivers("at first", (device, n), 1, storm::target(n as usize)));
    let rewrite = |n: usize| msix.program(n as u32 % REWRITTEN, storm::message(ids, n / 2));
    let use_others = |n: usize| {
        device.again(n as u32 % ENTRIES);
        let entry = REWRITTEN + n as u32 % REWRITTEN;
        msix.mask(entry, true);
        msix.write_message(entry, storm::message(ids, n / 3));
        msix.message(n as u32 % ENTRIES);
        msix.pending(0);
        mmio::copy_from(msix.table(), &mut [0; 4 * ENTRIES as usize]);
        msix.mask(entry, false);
    };
    storm.phase("entries", PHASE_MS, rewrite, use_others);
    // QEMU itself fails when memory moves that another vCPU uses; under Xen nothing of QEMU's
    // moves.
    if !hypervisor::bare() {
        storm.phase("the table moves", PHASE_MS, rewrite, |n| {
            use_others(n);
            if n % SELDOM == 0 {
                function.move_bar(msix.table_bar(), SPARE);
                let moved = Msix::of(function);
                moved.mask(REWRITTEN, n % 2 == 0);
                moved.message(0);
                function.move_bar(msix.table_bar(), home);
            }
        });
        storm.phase("memory decoding", PHASE_MS, rewrite, |n| {
            use_others(n);
            if n % SELDOM == 0 {
                function.decode(false);
                msix.mask(REWRITTEN, true);
                function.decode(true);
            }
        });
    }
    for turn in 0..storm::TURNS {
        program(turn);
        storm::rest(device);
        for n in 0..ENTRIES {
            let message = storm::message(ids, turn + n as usize);
            check::entry_reads_back("afterwards", (msix, n), message);
            check::equal(
                format_args!("afterwards: vector control"),
                0u32,
                msix.entry::<u32>(n, VECTOR_CONTROL),
            );
            check::delivers("afterwards", (device, n), 2, storm::target(turn + n as usize));
        }
    }
    msix.enable(false);
}
