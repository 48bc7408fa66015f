// SPDX-License-Identifier: GPL-2.0-only
//! As Linux does it: on with the function mask, all entries masked, INTx off, function mask off,
//! and then each entry filled and unmasked when its handler is there.

use crate::msix::{ENABLE, FUNCTION_MASK};
use crate::{Device, Message, Msix, apic, check};

const FIRST: u8 = 0x40;
const TIMES: u32 = 2;

pub fn run(device: &dyn Device) {
    let msix = Msix::of(device.function());
    let sources = device.sources();
    for _ in 0..2 {
        msix.set(msix.control() | ENABLE | FUNCTION_MASK);
        for n in 0..msix.size() {
            msix.mask(n, true);
        }
        for n in 0..sources {
            msix.write_message(n, Message::fixed(apic::id(), FIRST + n as u8));
        }
        device.function().disable_intx(true);
        msix.set(msix.control() & !FUNCTION_MASK);
        check::delivers_nothing("no handler yet", device);
        check::lets_through("the first handler", device, || msix.mask(0, false), (0, FIRST));
        for n in 1..sources.min(8) {
            msix.mask(n, false);
            check::delivers("a handler", (device, n), TIMES, (0, FIRST + n as u8));
        }
        msix.set(msix.control() & !ENABLE);
        device.function().disable_intx(false);
    }
}
