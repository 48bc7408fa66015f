// SPDX-License-Identifier: GPL-2.0-only
//! MSI-X with a few entries: interrupts come until the guest is ended. For attempts from elsewhere.

use crate::{Device, cases};

/// Sources that take part.
const MOST: u32 = 4;

pub fn run(device: &dyn Device) {
    let (_, sources) = cases::each_its_own(device, MOST);
    cases::beat(device, sources);
}
