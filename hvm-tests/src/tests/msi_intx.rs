// SPDX-License-Identifier: GPL-2.0-only
//! INTx and MSI exclude each other: with MSI on, INTx never arrives whatever INTx-disable says; with MSI off again,
//! what the guest chose for INTx is what counts.

use crate::interrupts::{self, INTX};
use crate::pci::{COMMAND, INTX_DISABLE};
use crate::{Device, Message, Msi, apic, check, time};

const VECTOR: u8 = 0x5c;
const TIMES: u32 = 3;
const SETTLE_MS: u64 = 50;

pub fn run(device: &dyn Device) {
    let msi = Msi::of(device.function());
    choose(device, "at first", false);
    intx(device, "MSI not yet on");
    msi.program(Message::fixed(apic::id(), VECTOR));
    for last in [true, false] {
        msi.enable(true);
        check::delivers("MSI on", device, TIMES, (0, VECTOR));
        for disable in [true, false, !last, last] {
            choose(device, "MSI on", disable);
            check::delivers("MSI on, INTx-disable toggled", device, TIMES, (0, VECTOR));
        }
        msi.enable(false);
        chosen(device, "MSI off again", last);
        if last {
            check::delivers_nothing("MSI off again, INTx disabled", device);
            choose(device, "MSI off", false);
        }
        intx(device, "MSI off again");
    }
}

/// The device falls back to INTx, which arrives until it is acknowledged.
fn intx(device: &dyn Device, what: &str) {
    for _ in 0..TIMES {
        check::delivers(what, device, 1, (0, INTX));
    }
    drain(what);
}

/// Lets a last INTx through that is no longer the device's: Xen keeps a guest's line asserted from a passed-through
/// device's interrupt to the guest's next end of interrupt, whatever the device does in between.
fn drain(what: &str) {
    let quiet = (0..TIMES).any(|_| {
        interrupts::forget();
        time::wait(SETTLE_MS);
        interrupts::total() == 0
    });
    check::that(format_args!("{what}: INTx comes to rest"), quiet);
}

fn choose(device: &dyn Device, what: &str, disable: bool) {
    device.function().disable_intx(disable);
    chosen(device, what, disable);
}

fn chosen(device: &dyn Device, what: &str, disable: bool) {
    let seen = device.function().read::<u16>(COMMAND) & INTX_DISABLE;
    let expected = if disable { INTX_DISABLE } else { 0 };
    check::equal(format_args!("{what}: INTx-disable"), expected, seen);
}
