// SPDX-License-Identifier: GPL-2.0-only
//! What follows the table's last entry, to the end of the page, is not the table: writes there
//! change no entry.

use crate::mmio;
use crate::msix::ENTRY;
use crate::{Device, Message, Msix, apic, check};

const VECTOR: u8 = 0x5e;
const PAGE: usize = 4096;

pub fn run(device: &dyn Device) {
    let msix = Msix::of(device.function());
    let last = msix.size() - 1;
    let message = Message::fixed(apic::id(), VECTOR);
    msix.enable(true);
    msix.program(0, message);
    msix.write_message(last, message);
    let end = msix.register(msix.size(), 0);
    let mut place = end;
    // Pending bits may share the page; msix-pba looks at them.
    let pba = msix.pba()..msix.pba() + msix.size().div_ceil(64) as usize * 8;
    while place < end.next_multiple_of(PAGE) {
        if !pba.contains(&place) {
            let before = mmio::read::<u32>(place);
            mmio::write(place, 0u32);
            mmio::write(place, !0u32);
            check::equal(
                format_args!("dword {:#x} beyond the table", place - end),
                before,
                mmio::read::<u32>(place),
            );
        }
        place += ENTRY * 4 + 4;
    }
    for entry in [0, last] {
        check::entry_reads_back("afterwards", (msix, entry), message);
    }
    check::delivers("afterwards", device, 2, (0, VECTOR));
    msix.enable(false);
}
