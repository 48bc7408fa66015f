// SPDX-License-Identifier: GPL-2.0-only
//! Entries are read and written by 4 and by 8 bytes; all combinations agree.

use crate::msix::{DATA, UPPER, VECTOR_CONTROL};
use crate::{Device, Message, Msix, apic, check};

const VECTOR: u8 = 0x59;

pub fn run(device: &dyn Device) {
    let msix = Msix::of(device.function());
    for entry in [0, 1, msix.size() - 1] {
        both_ways(msix, entry);
    }
    let message = Message::fixed(apic::id(), VECTOR);
    msix.enable(true);
    msix.set_entry(0, 0, u64::from(message.address));
    // The mask goes with the data.
    msix.set_entry(0, DATA, u64::from(message.data));
    check::entry_reads_back("8 bytes", (msix, 0), message);
    check::delivers("by 8 bytes", device, 3, (0, VECTOR));
    msix.set_entry(0, DATA, 1u64 << 32 | u64::from(message.data));
    check::delivers_nothing("masked by 8 bytes", device);
    let unmask = || msix.set_entry(0, DATA, u64::from(message.data));
    check::lets_through("unmasked by 8 bytes", device, unmask, (0, VECTOR));
    msix.enable(false);
}

fn both_ways(msix: Msix, entry: u32) {
    let (address, upper, data) = (0x1234_5678u32 & !3, 0x9abc_def0u32, 0x4321_8765u32);
    msix.write_message(entry, Message { address, upper, data });
    let wide = u64::from(upper) << 32 | u64::from(address);
    check::equal(format_args!("address by 8 bytes"), wide, msix.entry::<u64>(entry, 0));
    check::equal(
        format_args!("data and mask by 8 bytes"),
        1 << 32 | u64::from(data),
        msix.entry::<u64>(entry, DATA),
    );
    msix.set_entry(entry, 0, !wide & !3);
    msix.set_entry(entry, DATA, 1u64 << 32 | u64::from(!data));
    check::equal(format_args!("address by 4 bytes"), !address & !3, msix.entry::<u32>(entry, 0));
    check::equal(format_args!("upper address by 4 bytes"), !upper, msix.entry::<u32>(entry, UPPER));
    check::equal(format_args!("data by 4 bytes"), !data, msix.entry::<u32>(entry, DATA));
    check::equal(format_args!("mask by 4 bytes"), 1u32, msix.entry::<u32>(entry, VECTOR_CONTROL));
}
