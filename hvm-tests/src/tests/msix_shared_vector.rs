// SPDX-License-Identifier: GPL-2.0-only
//! Several entries carry the same message, as where a driver has fewer handlers than the device has
//! entries.

use crate::{Device, Msix, cases, check};

/// Sources that take part.
const MOST: u32 = 6;

pub fn run(device: &dyn Device) {
    let msix = Msix::of(device.function());
    let sources = device.sources().min(MOST);
    msix.enable(true);
    for n in 0..sources {
        msix.program(n, cases::message());
    }
    for n in 0..sources {
        check::delivers("on the shared vector", (device, n), 2, (0, cases::VECTOR));
    }
    msix.mask(0, true);
    check::delivers_nothing("one of them masked", device);
    check::delivers("the others", (device, 1), 2, (0, cases::VECTOR));
    check::lets_through("unmasked", device, || msix.mask(0, false), (0, cases::VECTOR));
    msix.enable(false);
}
