// SPDX-License-Identifier: GPL-2.0-only
//! More entries are unmasked than there are interrupts to be had: those beyond stay silent and
//! disturb nobody, and they work once the others are gone.

use crate::interrupts::{count, forget, total};
use crate::{Device, Message, Msix, apic, check, hypervisor, say, time};

const FIRST: u8 = 0x40;
const SETTLE_MS: u64 = 500;
const TIMES: u32 = 2;

pub fn run(device: &dyn Device) {
    let msix = Msix::of(device.function());
    let sources = device.sources();
    msix.enable(true);
    (0..sources).for_each(|n| unmask(msix, n));
    let served = raise_all(device);
    say!("{served} of {sources} entries are served");
    check::that(format_args!("at least 8 entries are served"), served >= 8);
    if !hypervisor::bare() {
        check::that(format_args!("some entry is not served"), served < sources);
    }
    for n in [0, served - 1] {
        check::delivers("one that is served", (device, n), TIMES, (0, FIRST + n as u8));
    }
    // All are released, and those that had to wait come first.
    msix.enable(false);
    (0..sources).for_each(|n| msix.mask(n, true));
    msix.enable(true);
    let rest = served..sources.min(2 * served);
    rest.clone().for_each(|n| unmask(msix, n));
    // What they raised in vain was pending.
    time::wait(SETTLE_MS);
    for n in rest {
        check::delivers("one that had to wait", (device, n), TIMES, (0, FIRST + n as u8));
    }
    msix.enable(false);
}

fn unmask(msix: Msix, n: u32) {
    msix.program(n, Message::fixed(apic::id(), FIRST + n as u8));
}

/// Raises every source; how many of them arrive, which must be the first ones, on their own
/// vectors.
fn raise_all(device: &dyn Device) -> u32 {
    forget();
    (0..device.sources()).for_each(|n| device.raise(n));
    time::wait(SETTLE_MS);
    (0..device.sources()).for_each(|n| device.acknowledge(n));
    let arrived = |n: &u32| count(0, FIRST + *n as u8) == 1;
    let served = (0..device.sources()).take_while(arrived).count() as u32;
    check::equal(format_args!("interrupts beyond the first that are not served"), served, total());
    served
}
