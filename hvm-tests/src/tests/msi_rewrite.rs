// SPDX-License-Identifier: GPL-2.0-only
//! The message changes while MSI is on, as drivers do to move an interrupt: never through MSI off.

use crate::msi::ADDRESS;
use crate::{Device, Message, Msi, check, hypervisor, vcpu};

const FIRST: u8 = 0x51;
const SECOND: u8 = 0x62;
const TIMES: u32 = 3;

pub fn run(device: &dyn Device) {
    let Some(ids) = vcpu::start() else { return };
    let msi = Msi::of(device.function());
    msi.program(Message::fixed(ids[0], FIRST));
    msi.enable(true);
    check::delivers("before any change", device, TIMES, (0, FIRST));
    whole(device, msi, ids);
    registers(device, msi, ids);
    unchanged(device, msi, ids);
    mixed(device, msi, ids);
    msi.enable(false);
}

/// Vector and destination, each alone and both, by writing all registers.
fn whole(device: &dyn Device, msi: Msi, ids: [u8; 2]) {
    for (what, target, vector) in [
        ("another vector", 0, SECOND),
        ("another vCPU", 1, SECOND),
        ("another vector on that vCPU", 1, FIRST),
        ("both back", 0, SECOND),
    ] {
        let message = Message::fixed(ids[target], vector);
        msi.program(message);
        check::reads_back(what, msi, message);
        check::delivers(what, device, TIMES, (target, vector));
    }
}

/// One register at a time: each state between is valid as well.
fn registers(device: &dyn Device, msi: Msi, ids: [u8; 2]) {
    msi.program(Message::fixed(ids[0], FIRST));
    check::delivers("one register: start", device, TIMES, (0, FIRST));
    msi.write(ADDRESS, Message::fixed(ids[1], FIRST).address);
    check::delivers("one register: address only", device, TIMES, (1, FIRST));
    msi.write(msi.data(), u16::from(SECOND));
    check::delivers("one register: then data", device, TIMES, (1, SECOND));
    // One byte of one register, even: the vector, and the byte with the destination.
    msi.write(msi.data(), FIRST);
    check::delivers("one byte: vector", device, TIMES, (1, FIRST));
    msi.write(ADDRESS + 1, (ids[0] << 4) & 0xf0);
    check::delivers("one byte: destination", device, TIMES, (0, FIRST));
}

/// Writing what is there already, and enable again, changes nothing.
fn unchanged(device: &dyn Device, msi: Msi, ids: [u8; 2]) {
    let message = Message::fixed(ids[0], FIRST);
    for _ in 0..10 {
        msi.program(message);
        msi.enable(true);
    }
    check::delivers("the same message again", device, TIMES, (0, FIRST));
}

/// While what stands in the registers is invalid, the last valid message stays live; plain hardware
/// would lose the interrupt, so there nothing is raised meanwhile.
fn mixed(device: &dyn Device, msi: Msi, ids: [u8; 2]) {
    let quiet = hypervisor::bare();
    let still = |what: &str| {
        if !quiet {
            check::delivers(what, device, TIMES, (0, FIRST));
        }
    };
    msi.write(ADDRESS, 0u32);
    still("mixed: address zero");
    msi.write(msi.data(), u16::from(SECOND));
    still("mixed: address zero, another vector");
    if let Some(upper) = msi.upper() {
        msi.write(upper, 1u32);
        still("mixed: address above 4 GiB");
        msi.write(upper, 0u32);
    }
    msi.write(msi.data(), 0u16);
    still("mixed: address and data zero");
    msi.write(ADDRESS, Message::fixed(ids[1], 0).address);
    still("mixed: valid address, vector zero");
    msi.write(msi.data(), u16::from(SECOND));
    check::reads_back("mixed: complete", msi, Message::fixed(ids[1], SECOND));
    check::delivers("mixed: complete", device, TIMES, (1, SECOND));
}
