// SPDX-License-Identifier: GPL-2.0-only
//! The function mask holds every message back; without it each that is pending arrives once.

use crate::cases::{self, FIRST};
use crate::msix::{ENABLE, FUNCTION_MASK};
use crate::{Device, check};

const ROUNDS: u32 = 3;
/// Sources that take part.
const MOST: u32 = 8;

pub fn run(device: &dyn Device) {
    let (msix, sources) = cases::each_its_own(device, MOST);
    for _ in 0..ROUNDS {
        for n in 0..sources {
            check::delivers("not masked", (device, n), 1, (0, FIRST + n as u8));
        }
        msix.set(ENABLE | FUNCTION_MASK);
        check::equal(format_args!("control's upper bits"), 3u16, msix.control() >> 14);
        check::silent("function mask", || (0..sources).for_each(|n| device.raise(n)));
        check::that(
            format_args!("the first {sources} are pending"),
            msix.all_pending().eq(0..sources),
        );
        check::lets_all_through(
            "function mask cleared",
            device,
            sources,
            || msix.enable(true),
            FIRST,
        );
        check::equal(
            format_args!("pending bits afterwards"),
            0u64,
            msix.all_pending().count() as u64,
        );
    }
    msix.enable(false);
}
