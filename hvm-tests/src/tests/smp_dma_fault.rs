// SPDX-License-Identifier: GPL-2.0-only
//! The device reads and writes memory that nobody gave it, while a vCPU rewrites its message: guest
//! and messages survive. Where faults come thick, Xen takes bus mastering away from the device, and
//! the guest can have it back.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::pci::{BUS_MASTER, COMMAND};
use crate::storm::{self, Storm};
use crate::{Device, Msi, check, say, time};

// Registers of `edu`'s DMA.
const SOURCE: usize = 0x80;
const DESTINATION: usize = 0x88;
const COUNT: usize = 0x90;
const CONTROL: usize = 0x98;
const START: u64 = 1 << 0;
const FROM_DEVICE: u64 = 1 << 1;
/// The device's own memory, which all its DMA reads or writes.
const BUFFER: u64 = 0x4_0000;
/// Above the memory of the guest, below what the device can reach.
const NOWHERE: [u64; 3] = [0x0c00_0000, 0x0fff_e000, 0x0a55_5000];
/// A fault or two each.
const FEW: u64 = 8;
/// Hundreds of faults each: Xen stops a device at ten.
const MANY: u64 = 4096;
const MOST: u32 = 12;
const TRANSFER_MS: u64 = 10_000;
const PHASE_MS: u64 = 2500;

pub fn run(device: &dyn Device) {
    let Some((mut storm, ids)) = Storm::begin() else { return };
    let function = device.function();
    let msi = Msi::of(function);
    msi.program(storm::message(ids, 0));
    msi.enable(true);
    check::delivers("at first", device, 2, storm::target(0));
    for (what, bytes) in [("few faults", FEW), ("many faults", MANY)] {
        let begun = AtomicU32::new(0);
        storm.phase(
            what,
            PHASE_MS,
            |n| msi.program(storm::message(ids, n)),
            |_| {
                device.again(0);
                storm::look();
                if idle(device) && begun.load(Relaxed) < MOST {
                    transfer(device, begun.fetch_add(1, Relaxed), bytes);
                }
            },
        );
        time::until(TRANSFER_MS, || idle(device));
        let master = function.read::<u16>(COMMAND) & BUS_MASTER != 0;
        say!(
            "{what}: {} transfers, bus master {}",
            begun.load(Relaxed),
            if master { "on" } else { "off" }
        );
        function.master(true);
        afterwards(device, msi, ids);
    }
    msi.enable(false);
}

/// Whether no transfer is under way.
fn idle(device: &dyn Device) -> bool {
    device.registers().read::<u32>(CONTROL) & START as u32 == 0
}

/// Begins a transfer to or from nowhere.
fn transfer(device: &dyn Device, n: u32, bytes: u64) {
    let nowhere = NOWHERE[n as usize % NOWHERE.len()];
    let from_device = n % 2 == 0;
    let (from, to) = if from_device { (BUFFER, nowhere) } else { (nowhere, BUFFER) };
    let direction = if from_device { FROM_DEVICE } else { 0 };
    for (register, value) in
        [(SOURCE, from), (DESTINATION, to), (COUNT, bytes), (CONTROL, START | direction)]
    {
        device.registers().write(register, value);
    }
}

fn afterwards(device: &dyn Device, msi: Msi, ids: [u8; 2]) {
    for turn in 0..storm::TURNS {
        msi.program(storm::message(ids, turn));
        storm::rest(device);
        check::delivers("afterwards", device, 2, storm::target(turn));
    }
}
