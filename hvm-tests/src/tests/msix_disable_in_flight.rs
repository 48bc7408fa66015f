// SPDX-License-Identifier: GPL-2.0-only
//! MSI-X is switched off the moment after the device raised.

use crate::{Device, Msix, cases};

pub fn run(device: &dyn Device) {
    let msix = Msix::of(device.function());
    msix.program(0, cases::message());
    cases::off_in_flight(device, |on| msix.enable(on));
}
