// SPDX-License-Identifier: GPL-2.0-only
//! MSI is switched off the moment after the device raised.

use crate::{Device, Msi, cases};

pub fn run(device: &dyn Device) {
    let msi = Msi::of(device.function());
    msi.program(cases::message());
    cases::off_in_flight(device, |on| msi.enable(on));
}
