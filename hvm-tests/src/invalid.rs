// SPDX-License-Identifier: GPL-2.0-only
//! Messages that must never arrive, and what every one of them has in common.

use core::ops::RangeInclusive;

use crate::message::Message;
use crate::msix::Msix;
use crate::{Device, Msi, apic, check, hypervisor, say};

/// The vectors of valid messages around an invalid one.
const VECTOR: u8 = 0x5a;
const OTHER: u8 = 0x6b;

/// Not in the range of interrupts: for hardware a write to memory, and none is there.
const ELSEWHERE: [u32; 4] = [0xfef0_0000, 0xfde0_0000, 0x7ee0_0000, 0x8000_0000];
/// The remappable format, and bits that are reserved until a guest is offered extended
/// destinations.
const RESERVED: RangeInclusive<u32> = 4..=11;
/// High halves of an address that are not zero.
pub const UPPER: [u32; 4] = [1, 0x8000_0000, 0xfee0_0000, !0];
/// Vectors below 16, and the highest.
pub const VECTORS: [u8; 6] = [0x00, 0x01, 0x02, 0x08, 0x0f, 0xff];
/// All delivery modes but fixed (0) and lowest priority (1).
const MODES: RangeInclusive<u32> = 2..=7;

/// A message that arrives.
pub fn valid() -> Message {
    Message::fixed(apic::id(), VECTOR)
}

/// Every wrong address below 4 GiB; without Xen only those that no hardware takes for an
/// interrupt's.
pub fn addresses(valid: Message) -> impl Iterator<Item = Message> {
    let reserved =
        RESERVED.filter(|_| !hypervisor::bare()).map(move |bit| valid.address | 1 << bit);
    let addresses = ELSEWHERE.into_iter().chain(reserved);
    addresses.map(move |address| Message { address, ..valid })
}

/// The message at an address that no hardware takes for an interrupt's.
pub fn elsewhere(valid: Message) -> Message {
    Message { address: ELSEWHERE[0], ..valid }
}

/// Every wrong delivery mode.
pub fn deliveries(valid: Message) -> impl Iterator<Item = Message> {
    MODES.map(move |mode| Message { data: valid.data | mode << 8, ..valid })
}

/// In the MSI capability, the message reads back as written but delivers nothing, and a valid one
/// written over it works at once.
pub fn check(device: &dyn Device, message: Message) {
    let msi = Msi::of(device.function());
    say!("{message:x?}");
    msi.program(message);
    msi.enable(true);
    check::that(format_args!("invalid: enable reads back as set"), msi.control() & 1 == 1);
    check::reads_back("invalid", msi, message);
    check::delivers_nothing("invalid", device);
    check::reads_back("invalid, afterwards", msi, message);
    msi.program(valid());
    check::reads_back("valid again", msi, valid());
    check::delivers("valid again", device, 2, (0, VECTOR));
    msi.enable(false);
}

/// In an entry of the table, the same; and another entry works all the time.
pub fn check_entry(device: &dyn Device, message: Message) {
    let msix = Msix::of(device.function());
    say!("{message:x?}");
    msix.enable(true);
    msix.program(1, Message::fixed(apic::id(), OTHER));
    msix.program(0, message);
    check::entry_reads_back("invalid", (msix, 0), message);
    check::delivers_nothing("invalid", device);
    check::delivers("another entry", (device, 1), 2, (0, OTHER));
    check::entry_reads_back("invalid, afterwards", (msix, 0), message);
    msix.program(0, valid());
    check::entry_reads_back("valid again", (msix, 0), valid());
    check::after_pending();
    check::delivers("valid again", device, 2, (0, VECTOR));
    msix.enable(false);
}
