// SPDX-License-Identifier: GPL-2.0-only
//! A guest that may have PIRQs asks for its device's interrupts as Linux does with them: vector 0,
//! and a PIRQ's number for a destination. That is no message of hardware: nothing comes, as a
//! vector or an event, and a valid one works at once.

use crate::cases::{self, FIRST};
use crate::xen::{self, Kind};
use crate::{Device, Message, Msi, Msix, apic, check, say};

/// Where event channels arrive.
const EVENT: u8 = 0x70;
const BASE: u32 = 0xfee0_0000;
/// Edge, assert, extended delivery, vector 0.
const DATA: u32 = 1 << 14 | 3 << 8;
/// Beside what Xen gives.
const PIRQS: [u32; 4] = [0, 16, 47, 0x00ff_ffff];
const ROUNDS: u32 = 2;

pub fn run(device: &dyn Device) {
    let function = device.function();
    let (msi, msix) = (Msi::of(function), Msix::of(function));
    function.disable_intx(true);
    let answer = xen::set_upcall_vector(EVENT);
    check::that(format_args!("events arrive as a vector: Xen's answer {answer}"), answer == 0);
    let given = xen::free_pirq(Kind::Msi);
    say!("A free PIRQ: {given:?}");
    check::that(format_args!("Xen gives a PIRQ: {given:?}"), given.is_ok());
    for pirq in given.into_iter().chain(PIRQS) {
        for _ in 0..ROUNDS {
            as_message(device, msi, pirq);
            as_entry(device, msix, pirq);
        }
        xen::unmap(pirq as i32);
    }
}

/// The message that means this PIRQ.
fn named(pirq: u32) -> Message {
    Message { address: BASE | (pirq & 0xff) << 12, upper: pirq & !0xff, data: DATA }
}

/// While the device's message means a PIRQ, nothing comes, whether the PIRQ is bound or not.
fn silent(what: &str, device: &dyn Device, pirq: u32) {
    check::delivers_nothing(what, device);
    let bound = xen::bind(pirq);
    check::delivers_nothing(what, device);
    if let Ok(port) = bound {
        xen::close(port);
    }
}

fn as_message(device: &dyn Device, msi: Msi, pirq: u32) {
    msi.program(named(pirq));
    msi.enable(true);
    check::reads_back("MSI", msi, named(pirq));
    silent("MSI that means a PIRQ", device, pirq);
    msi.program(cases::message());
    check::after_pending();
    check::delivers("MSI, valid again", device, 2, (0, cases::VECTOR));
    msi.program(named(pirq));
    msi.enable(false);
}

fn as_entry(device: &dyn Device, msix: Msix, pirq: u32) {
    msix.program(1, Message::fixed(apic::id(), FIRST + 1));
    msix.program(0, named(pirq));
    msix.enable(true);
    check::entry_reads_back("MSI-X", (msix, 0), named(pirq));
    silent("MSI-X that means a PIRQ", device, pirq);
    check::delivers("another entry", (device, 1), 2, (0, FIRST + 1));
    msix.program(0, cases::message());
    check::after_pending();
    check::delivers("MSI-X, valid again", device, 2, (0, cases::VECTOR));
    msix.enable(false);
}
