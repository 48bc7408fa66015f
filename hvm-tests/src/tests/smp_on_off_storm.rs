// SPDX-License-Identifier: GPL-2.0-only
//! Both vCPUs turn MSI, MSI-X, the function mask and INTx-disable on and off against each other,
//! and against string instructions on the table, while the device raises.

use crate::cases::{self, VECTOR};
use crate::msix::{self, ENABLE, ENTRY, FUNCTION_MASK};
use crate::storm::{self, PHASE_MS, SELDOM, Storm};
use crate::{Device, Message, Msi, Msix, check, mmio, msi, say};

/// The entries that deliver; those from here on are masked and get whatever string instructions
/// bring.
const ENTRIES: u32 = 2;
const STRING: u32 = 2;
const DWORDS: usize = STRING as usize * ENTRY / 4;

pub fn run(device: &dyn Device) {
    let Some((mut storm, ids)) = Storm::begin() else { return };
    let function = device.function();
    let (msi, msix) = (Msi::find(function), Msix::of(function));
    let first = |n: u32| Message::fixed(ids[0], VECTOR + n as u8);
    // The device is used once in each way before it raises without a pause.
    if let Some(msi) = msi {
        msi.program(first(0));
        msi.enable(true);
        check::delivers("MSI at first", device, 1, (0, VECTOR));
        msi.program(storm::message(ids, 0));
        storm.phase_of_writes(device, "MSI", msi.start() + msi::CONTROL, [0, msi::ENABLE], |_| {});
        msi.enable(false);
    }
    (0..ENTRIES).for_each(|n| msix.program(n, first(n)));
    msix.enable(true);
    storm::rest(device);
    check::delivers("MSI-X at first", device, 1, (0, VECTOR));
    (0..ENTRIES).for_each(|n| msix.program(n, storm::message(ids, n as usize)));
    let strings = |n: usize| strings(msix, n);
    let control = msix.start() + msix::CONTROL;
    for (what, values) in [
        ("MSI-X", [0, ENABLE]),
        ("the function mask", [ENABLE | FUNCTION_MASK, ENABLE]),
        ("MSI-X with the function mask", [FUNCTION_MASK, ENABLE]),
    ] {
        storm.phase_of_writes(device, what, control, values, strings);
    }
    let turn = |n: usize| {
        let on = n % 2 == 0;
        match (msi, n / 2 % 3) {
            (Some(msi), 0) => msi.enable(on),
            (_, 1) => msix.enable(on),
            _ => msix.set(ENABLE | if on { FUNCTION_MASK } else { 0 }),
        }
    };
    storm.phase("all of them", PHASE_MS, turn, |n| {
        device.again(n as u32 % ENTRIES);
        if n % SELDOM == 0 {
            function.disable_intx(n / SELDOM % 2 == 0);
        }
        turn(n / 3);
        strings(n);
        storm::look();
    });
    afterwards(device, msi, msix, first);
}

/// Moves the first entries out, and whatever it is into masked ones.
fn strings(msix: Msix, n: usize) {
    let mut values = [0; DWORDS];
    mmio::copy_from(msix.table(), &mut values);
    values.chunks_mut(ENTRY / 4).for_each(|entry| entry[3] = msix::MASKED);
    let masked = msix.register(ENTRIES, 0);
    if n % 2 == 0 {
        mmio::copy_to(masked, &values);
    } else {
        mmio::fill(masked, DWORDS, !0);
    }
}

/// INTx, MSI and MSI-X each work, and INTx comes only as long as neither of the others is on.
fn afterwards(device: &dyn Device, msi: Option<Msi>, msix: Msix, first: impl Fn(u32) -> Message) {
    let function = device.function();
    say!("Afterwards: MSI-X");
    msix.set(0);
    if let Some(msi) = msi {
        msi.enable(false);
    }
    function.disable_intx(false);
    msix.clear_table();
    // What is pending is delivered, now that nothing more is raised.
    (0..ENTRIES).for_each(|n| msix.program(n, first(n)));
    msix.enable(true);
    storm::rest(device);
    for n in 0..ENTRIES {
        check::delivers("MSI-X afterwards", (device, n), 2, (0, VECTOR + n as u8));
    }
    msix.enable(false);
    // QEMU's nvme, which has no MSI, goes on asserting what was raised as INTx and acknowledged
    // with MSI-X on.
    let Some(msi) = msi else { return function.disable_intx(true) };
    storm::rest(device);
    say!("Afterwards: INTx");
    cases::line(device, "INTx after MSI-X");
    say!("Afterwards: MSI");
    msi.program(first(0));
    msi.enable(true);
    storm::rest(device);
    check::delivers("MSI afterwards", device, 2, (0, VECTOR));
    msi.enable(false);
    storm::rest(device);
    say!("Afterwards: INTx again");
    cases::line(device, "INTx after MSI");
    say!("Afterwards: INTx disabled and enabled");
    function.disable_intx(true);
    check::delivers_nothing("INTx disabled", device);
    function.disable_intx(false);
    storm::rest(device);
    cases::line(device, "INTx enabled again");
}
