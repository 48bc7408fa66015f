// SPDX-License-Identifier: GPL-2.0-only
//! MSI-X is switched on and off two hundred times, with its entry unmasked all the time.

use crate::{Device, Msix, cases};

pub fn run(device: &dyn Device) {
    let msix = Msix::of(device.function());
    msix.program(0, cases::message());
    cases::cycles(device, |on| msix.enable(on));
}
