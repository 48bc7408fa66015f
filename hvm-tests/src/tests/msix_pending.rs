// SPDX-License-Identifier: GPL-2.0-only
//! An entry's mask holds its message back, and no other's; its pending bit shows it; unmasked, it
//! arrives once.

use crate::cases::{self, FIRST};
use crate::{Device, check};

const TIMES: u32 = 2;
/// Sources that take part.
const MOST: u32 = 4;

pub fn run(device: &dyn Device) {
    let (msix, sources) = cases::each_its_own(device, MOST);
    for n in 0..sources {
        let other = (n + 1) % sources;
        msix.mask(n, true);
        check::delivers_nothing("masked", (device, n));
        check::that(format_args!("entry {n} alone is pending"), msix.all_pending().eq([n]));
        check::delivers("another entry", (device, other), TIMES, (0, FIRST + other as u8));
        check::that(format_args!("entry {n} is still pending"), msix.pending(n));
        check::lets_through("unmasked", (device, n), || msix.mask(n, false), (0, FIRST + n as u8));
        check::that(format_args!("entry {n} is not pending any more"), !msix.pending(n));
        check::delivers("stays unmasked", (device, n), TIMES, (0, FIRST + n as u8));
    }
    msix.enable(false);
}
