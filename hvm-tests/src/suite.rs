// SPDX-License-Identifier: GPL-2.0-only
//! Runs the tests of the image's plan, each on the devices as a reset leaves them.

use crate::interrupts::{DRAIN, forget};
use crate::message::Message;
use crate::msi::{self, Msi};
use crate::msix::{self, Msix};
use crate::{Device, apic, devices, hypervisor, plan, report, say, tests, time};

/// For what is on its way.
const REST_MS: u64 = 20;

/// Announces the image and runs its tests.
pub fn run() {
    say!("--- msitrap HVM tests ---");
    match hypervisor::version() {
        Some((major, minor)) => say!("Environment: HVM 64bit, Xen {major}.{minor}"),
        None => say!("Environment: bare"),
    }
    devices::set_up();
    devices::all().for_each(drain);
    for name in plan::tests() {
        match tests::ALL.iter().position(|test| test.name == name) {
            Some(test) => run_one(test),
            None => report::error(format_args!("there is no test {name}")),
        }
    }
}

fn run_one(test: usize) {
    report::begin(test);
    match devices::all().next() {
        Some(device) => (tests::ALL[test].run)(device),
        None => report::skip(format_args!("no device under test on bus 0")),
    }
    devices::all().for_each(restore);
    report::end();
}

/// Leaves a device as a reset would, but placed.
fn restore(device: &dyn Device) {
    drain(device);
    let function = device.function();
    if let Some(msix) = Msix::find(function) {
        msix.clear_table();
    }
    if let Some(msi) = Msi::find(function) {
        msi.enable(false);
        msi.program(Message::RESET);
    }
    function.disable_intx(false);
    time::wait(REST_MS);
    forget();
}

/// Lets through what the device raised and nobody took, where nobody counts it.
fn drain(device: &dyn Device) {
    let function = device.function();
    let nowhere = Message::fixed(apic::id(), DRAIN);
    (0..device.sources()).for_each(|n| device.acknowledge(n));
    if let Some(msi) = Msi::find(function) {
        msi.enable(false);
        drain_msi(msi, nowhere);
    }
    if let Some(msix) = Msix::find(function) {
        msix.set(0);
        drain_msix(msix, nowhere);
    }
}

fn drain_msi(msi: Msi, nowhere: Message) {
    let Some(mask) = msi.mask() else { return };
    if msi.read::<u32>(mask + msi::PENDING) != 0 {
        msi.program(nowhere);
        msi.enable(true);
        msi.write(mask, 0u32);
        time::wait(REST_MS);
        msi.enable(false);
    }
    msi.write(mask, 0u32);
}

fn drain_msix(msix: Msix, nowhere: Message) {
    if msix.all_pending().next().is_none() {
        return;
    }
    msix.clear_table();
    msix.set(msix::ENABLE | msix::FUNCTION_MASK);
    for entry in msix.all_pending() {
        msix.program(entry, nowhere);
    }
    msix.set(msix::ENABLE);
    time::wait(REST_MS);
    msix.set(0);
    msix.clear_table();
}
