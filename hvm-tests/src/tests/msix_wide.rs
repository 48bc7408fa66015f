// SPDX-License-Identifier: GPL-2.0-only
//! Accesses of 16 bytes to the table, and locked ones: no system makes them. Locked ones of 4 and 8
//! bytes do what they say; of 16 bytes each dword is the old one or the new one.

use crate::mmio;
use crate::msix::{DATA, VECTOR_CONTROL};
use crate::{Device, Message, Msix, apic, cases, check};

pub fn run(device: &dyn Device) {
    let msix = Msix::of(device.function());
    msix.enable(true);
    locked(device, msix);
    for offset in [0, 4, 8, 1] {
        wide(msix, offset);
        mend(device, msix);
    }
    let old = [msix.entry::<u64>(0, 0), msix.entry::<u64>(0, DATA)];
    let new = [old[0], old[1] ^ 1];
    let seen = mmio::compare_exchange_wide(msix.register(0, 0), old, new);
    check::that(
        format_args!("16 bytes compared: expected {old:x?} or ones, saw {seen:x?}"),
        [old, [!0; 2]].contains(&seen),
    );
    mmio::compare_exchange_wide(msix.register(0, 0), [0x5555; 2], [0xaaaa; 2]);
    mend(device, msix);
    msix.enable(false);
}

fn locked(device: &dyn Device, msix: Msix) {
    let control = msix.register(0, VECTOR_CONTROL);
    msix.program(0, cases::message());
    mmio::set_locked(control, 1);
    check::delivers_nothing("masked by a locked or", device);
    check::lets_through(
        "unmasked by a locked and",
        device,
        || mmio::keep_locked(control, !1),
        (0, cases::VECTOR),
    );
    check::equal(format_args!("mask before an exchange"), 0u32, mmio::exchange(control, 1));
    check::delivers_nothing("masked by an exchange", device);
    let unmask = || check::equal(format_args!("mask exchanged"), 1u32, mmio::exchange(control, 0));
    check::lets_through("unmasked by an exchange", device, unmask, (0, cases::VECTOR));
    let data = msix.entry::<u64>(0, DATA);
    let seen = mmio::compare_exchange(msix.register(0, DATA), data, data | 1 << 32);
    check::equal(format_args!("data and mask compared"), data, seen);
    check::equal(
        format_args!("mask exchanged with the data"),
        1u32,
        msix.entry::<u32>(0, VECTOR_CONTROL),
    );
    mmio::compare_exchange(msix.register(0, DATA), data, 0x77);
    check::equal(
        format_args!("data after a comparison that fails"),
        data | 1 << 32,
        msix.entry::<u64>(0, DATA),
    );
    mend(device, msix);
}

/// Writes and reads 16 bytes of the first entry from `offset` on, which need not be its start.
fn wide(msix: Msix, offset: usize) {
    let place = msix.register(0, offset);
    let dwords = |value: [u64; 2]| value.map(|half| [half as u32, (half >> 32) as u32]);
    let message = cases::message();
    let new = [u64::from(message.address), u64::from(message.data)];
    let before = dwords([msix.entry(0, 0), msix.entry(0, DATA)]);
    if offset != 0 {
        mmio::write_wide(place, [0x5a5a_5a5a_5a5a_5a5a; 2]);
        mmio::read_wide(place);
        return;
    }
    for write in [mmio::write_wide, mmio::stream_wide] {
        write(place, new);
        let after = dwords([msix.entry(0, 0), msix.entry(0, DATA)]);
        let pairs = || {
            after
                .as_flattened()
                .iter()
                .zip(before.as_flattened().iter().zip(dwords(new).into_iter().flatten()))
        };
        let held = pairs().all(|(after, (before, new))| after == before || *after == new);
        check::that(format_args!("16 bytes: each dword old or new, saw {after:x?}"), held);
    }
    let seen = dwords(mmio::read_wide(place));
    let held = seen.into_iter().flatten().zip(dwords(new).into_iter().flatten());
    check::that(
        format_args!("16 bytes read: {seen:x?}"),
        held.into_iter().all(|(seen, new)| seen == new || seen == !0),
    );
}

/// Whatever the first entries hold, they can be programmed and deliver.
fn mend(device: &dyn Device, msix: Msix) {
    msix.program(0, cases::message());
    check::entry_reads_back("programmed again", (msix, 0), cases::message());
    msix.program(1, Message::fixed(apic::id(), cases::FIRST));
    check::after_pending();
    check::delivers("programmed again", device, 2, (0, cases::VECTOR));
    check::delivers("another entry", (device, 1), 2, (0, cases::FIRST));
}
