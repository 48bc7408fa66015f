// SPDX-License-Identifier: GPL-2.0-only
//! String instructions across the table's ends, backwards, from the table to itself, and to and
//! from the ports of configuration space.

use crate::msix::ENTRY;
use crate::pci::{self, Width};
use crate::{Device, Msix, cases, check, mmio};

const DWORDS: usize = 16;

pub fn run(device: &dyn Device) {
    let msix = Msix::of(device.function());
    let last = msix.size() - 1;
    msix.enable(true);
    for backwards in [false, true] {
        // Half of it behind the last entry.
        across(msix.register(last, 0) - 8 * 4, backwards);
        across(msix.table(), backwards);
        // From entries to entries, one of which is both.
        mmio::copy(msix.register(0, 0), msix.register(1, 0), 2 * ENTRY / 4, backwards);
        mmio::copy(msix.register(1, 0), msix.register(0, 0), 2 * ENTRY / 4, backwards);
        msix.clear_table();
        for entry in [0, last] {
            msix.program(entry, cases::message());
            check::entry_reads_back("programmed again", (msix, entry), cases::message());
        }
        check::delivers("programmed again", device, 2, (0, cases::VECTOR));
        msix.mask(0, true);
        msix.mask(last, true);
    }
    ports(device, msix);
    msix.enable(false);
}

/// Masked entries are written and read where others end.
fn across(start: usize, backwards: bool) {
    let mut values: [u32; DWORDS] = [1; DWORDS];
    mmio::copy(start, values.as_mut_ptr() as usize, DWORDS, backwards);
    mmio::copy(values.as_ptr() as usize, start, DWORDS, backwards);
    let mut after = [0; DWORDS];
    mmio::copy(start, after.as_mut_ptr() as usize, DWORDS, backwards);
    check::that(
        format_args!("what was read and written reads the same: {values:x?}, {after:x?}"),
        values == after,
    );
}

/// Of several dwords written to one port, the last counts; several reads read the same.
fn ports(device: &dyn Device, msix: Msix) {
    let control = msix.read::<u32>(0);
    let masked = control | 1 << 30;
    device.function().select(msix.start());
    pci::output_string(pci::DATA, &[control & 0xffff, masked, control & 0xffff, masked]);
    let mut seen = [0; 4];
    pci::input_string(pci::DATA, &mut seen);
    check::that(
        format_args!("control by string instructions: {seen:x?}"),
        seen.iter().all(|&value| value == masked),
    );
    let addresses = [0, 0x20, 0x34, 0].map(|register| device.function().address(register));
    pci::output_string(pci::ADDRESS, &addresses);
    check::equal(
        format_args!("ID after a string of addresses"),
        device.function().id(),
        u32::input(pci::DATA),
    );
    device.function().write(msix.start(), control);
    msix.program(0, cases::message());
    check::after_pending();
    check::delivers("after string instructions on ports", device, 2, (0, cases::VECTOR));
}
