// SPDX-License-Identifier: GPL-2.0-only
//! Accesses of 1 and 2 bytes, and those that are not aligned, never reach the table: writes are
//! lost, reads are ones.

use crate::mmio::{self, Value};
use crate::msix::ENTRY;
use crate::{Device, Message, Msix, apic, check, hypervisor};

const VECTOR: u8 = 0x5b;

pub fn run(device: &dyn Device) {
    let msix = Msix::of(device.function());
    let messages = [0, 1].map(|n| Message::fixed(apic::id(), VECTOR + n));
    msix.enable(true);
    for (n, message) in (0..).zip(messages) {
        msix.program(n, message);
    }
    for offset in 0..ENTRY {
        access::<u8>(msix, offset);
        access::<u16>(msix, offset);
        access::<u32>(msix, offset);
        access::<u64>(msix, offset);
    }
    for (n, message) in (0..).zip(messages) {
        check::entry_reads_back("afterwards", (msix, n), message);
        check::delivers("afterwards", (device, n), 2, (0, VECTOR + n as u8));
    }
    msix.enable(false);
}

fn access<V: Value>(msix: Msix, offset: usize) {
    // Without Xen, an access of 8 bytes that is aligned to 4 is two of 4.
    let served = if hypervisor::bare() { 4 } else { V::BYTES };
    if V::BYTES >= 4 && offset % served == 0 {
        return;
    }
    let place = msix.register(0, offset);
    mmio::write(place, V::of(0xa5a5_a5a5_a5a5_a5a5));
    let seen: u64 = mmio::read::<V>(place).into();
    if !hypervisor::bare() {
        let ones: u64 = V::of(!0).into();
        check::equal(format_args!("{} bytes at +{offset:#x}", V::BYTES), ones, seen);
    }
}
