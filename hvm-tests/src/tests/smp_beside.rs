// SPDX-License-Identifier: GPL-2.0-only
//! Prints what is beside MSI-X table and pending bits on their pages, dword by dword: for those who
//! know what is there.

use crate::msix::{self, ENTRY};
use crate::{Device, Msix, mmio, say};

const PAGE: usize = 4096;
/// Values that are printed; those that are zero are not.
const MOST: u32 = 64;
/// What a place in the capability has below the offset.
const BAR: u32 = 7;

pub fn run(device: &dyn Device) {
    let Some(msix) = Msix::find(device.function()) else {
        say!("Beside: none");
        say!("The device has no MSI-X here.");
        return;
    };
    let table = msix.table()..msix.register(msix.size(), 0);
    let pba = msix.pba()..msix.pba() + msix.size().div_ceil(64) as usize * 8;
    let mut printed = 0;
    let mut read = 0;
    let pages =
        |range: &core::ops::Range<usize>| (range.start & !(PAGE - 1)..range.end).step_by(PAGE);
    let bar = |place: u8| {
        let place = msix.read::<u32>(place);
        (place & BAR, (place & !BAR) as usize)
    };
    let (table_bar, table_offset) = bar(msix::TABLE);
    let (pba_bar, pba_offset) = bar(msix::PBA);
    say!(
        "Table: BAR {table_bar} offset {table_offset:#x}, {} entries of {ENTRY} bytes",
        msix.size()
    );
    say!("Pending bits: BAR {pba_bar} offset {pba_offset:#x}");
    let shared = pages(&pba).filter(|page| !pages(&table).any(|other| other == *page));
    let first = pages(&table).map(|page| (page, table.start - table_offset));
    for (page, base) in first.chain(shared.map(|page| (page, pba.start - pba_offset))) {
        for place in (page..page + PAGE).step_by(4) {
            if table.contains(&place) || pba.contains(&place) {
                continue;
            }
            read += 1;
            let value = mmio::read::<u32>(place);
            if value != 0 && printed < MOST {
                printed += 1;
                say!("Beside {:#x}: {value:#010x}", place - base);
            }
        }
    }
    if read == 0 {
        say!("Beside: none");
    }
    say!("Beside: {read} dwords read, {printed} printed");
}
