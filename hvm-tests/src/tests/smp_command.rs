// SPDX-License-Identifier: GPL-2.0-only
//! MSI-X and MSI are turned on and off in turn, and the guest leaves Command alone: for attempts
//! from elsewhere on Command and power state. What comes meanwhile is printed; in the end each must
//! work.

use crate::cases::{self, FIRST, VECTOR};
use crate::interrupts::{count, forget};
use crate::pci::{BUS_MASTER, COMMAND, INTX_DISABLE};
use crate::storm;
use crate::{Device, Message, Msi, Msix, apic, check, say, time};

const BEATS: u32 = 40;
const BEAT_MS: u64 = 500;
/// Long enough for whatever was done from elsewhere until the last beat.
const REST_MS: u64 = 3000;

pub fn run(device: &dyn Device) {
    let function = device.function();
    let (msi, msix) = (Msi::of(function), Msix::of(function));
    let turn = |on: bool, with_msix: bool| if with_msix { msix.enable(on) } else { msi.enable(on) };
    msi.program(cases::message());
    msix.program(0, Message::fixed(apic::id(), FIRST));
    let mut turns = 0;
    for beat in 1..=BEATS {
        forget();
        time::during(BEAT_MS, || {
            turns += 1;
            let with_msix = turns % 2 == 0;
            turn(true, with_msix);
            device.raise(0);
            time::spin(1);
            device.acknowledge(0);
            turn(false, with_msix);
        });
        let command = function.read::<u16>(COMMAND);
        let [by_msi, by_msix] = [VECTOR, FIRST].map(|vector| count(0, vector));
        say!(
            "Beat {beat}: {turns} turns, {by_msi} by MSI, {by_msix} by MSI-X, \
            Command {command:#06x}"
        );
    }
    time::wait(REST_MS);
    let command = function.read::<u16>(COMMAND) & (BUS_MASTER | INTX_DISABLE);
    check::equal(format_args!("bus master and INTx-disable"), BUS_MASTER, command);
    for (with_msix, vector) in [(true, FIRST), (false, VECTOR)] {
        turn(true, with_msix);
        storm::rest(device);
        check::delivers("in the end", device, 2, (0, vector));
        turn(false, with_msix);
    }
    storm::rest(device);
    cases::line(device, "INTx in the end");
}
