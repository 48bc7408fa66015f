// SPDX-License-Identifier: GPL-2.0-only
//! String instructions on the table: moved out, moved in, filled.

use crate::mmio;
use crate::{Device, Message, Msix, apic, check};

const VECTOR: u8 = 0x5d;
const DWORDS: usize = 8;

pub fn run(device: &dyn Device) {
    let msix = Msix::of(device.function());
    let first = Message::fixed(apic::id(), VECTOR);
    let second = Message::fixed(apic::id(), VECTOR + 1);
    let wanted = [first.address, 0, first.data, 0, second.address, 0, second.data, 0];
    msix.enable(true);
    mmio::fill(msix.table(), DWORDS, 0x1111_1111);
    let mut seen = [0; DWORDS];
    mmio::copy_from(msix.table(), &mut seen);
    for (n, value) in seen.into_iter().enumerate().filter(|(n, _)| n % 4 != 3) {
        // Address bits 1:0 are no address.
        let expected = if n % 4 == 0 { 0x1111_1110 } else { 0x1111_1111 };
        check::equal(
            format_args!("dword {n} after filling"),
            expected & !low_bits(n),
            value & !low_bits(n),
        );
    }
    msix.mask(0, true);
    msix.mask(1, true);
    mmio::copy_to(msix.table(), &wanted);
    mmio::copy_from(msix.table(), &mut seen);
    for (n, (expected, value)) in wanted.into_iter().zip(seen).enumerate() {
        check::equal(format_args!("dword {n} after moving in"), expected, value);
    }
    check::delivers("moved in", device, 2, (0, VECTOR));
    check::delivers("moved in, the next", (device, 1), 2, (0, VECTOR + 1));
    msix.enable(false);
}

/// What emulated hardware without Xen keeps and real hardware does not.
fn low_bits(dword: usize) -> u32 {
    if dword % 4 == 0 { 3 } else { 0 }
}
