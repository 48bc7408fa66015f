// SPDX-License-Identifier: GPL-2.0-only
//! Entries move between the vCPUs, each for itself, masked meanwhile as drivers do.

use crate::{Device, Message, Msix, check, vcpu};

const FIRST: u8 = 0x40;
const ROUNDS: u32 = 6;
/// Sources that take part.
const MOST: u32 = 4;

pub fn run(device: &dyn Device) {
    let Some(ids) = vcpu::start() else { return };
    let msix = Msix::of(device.function());
    let sources = device.sources().min(MOST);
    msix.enable(true);
    for round in 0..ROUNDS {
        let target = |n: u32| (n + round) as usize % 2;
        for n in 0..sources {
            msix.program(n, Message::fixed(ids[target(n)], FIRST + n as u8));
        }
        for n in 0..sources {
            check::delivers("where it was moved", (device, n), 2, (target(n), FIRST + n as u8));
        }
    }
    // Raised under the mask on one vCPU, let through to the other.
    msix.mask(0, true);
    check::delivers_nothing("masked", device);
    let last = (ROUNDS as usize) % 2;
    msix.write_message(0, Message::fixed(ids[last], FIRST));
    check::lets_through("moved while pending", device, || msix.mask(0, false), (last, FIRST));
    msix.enable(false);
}
