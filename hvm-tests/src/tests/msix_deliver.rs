// SPDX-License-Identifier: GPL-2.0-only
//! Every entry that the device can raise has a vector of its own; with MSI-X off, nothing arrives.

use crate::{Device, Message, Msix, apic, check};

const FIRST: u8 = 0x40;
const TIMES: u32 = 3;
/// Sources that take part; msix-exhaust looks at more than there are interrupts for.
const MOST: u32 = 16;

pub fn run(device: &dyn Device) {
    let msix = Msix::of(device.function());
    let sources = device.sources().min(MOST);
    msix.enable(true);
    for n in 0..sources {
        msix.program(n, Message::fixed(apic::id(), FIRST + n as u8));
    }
    for n in 0..sources {
        check::delivers("on its own vector", (device, n), TIMES, (0, FIRST + n as u8));
    }
    msix.enable(false);
    device.function().disable_intx(true);
    check::delivers_nothing("switched off", device);
    msix.enable(true);
    check::delivers("on again", (device, sources - 1), TIMES, (0, FIRST + (sources - 1) as u8));
}
