// SPDX-License-Identifier: GPL-2.0-only
//! MSI is turned on and off without a pause while the device raises.

use crate::{Device, Msi, cases};

pub fn run(device: &dyn Device) {
    let msi = Msi::of(device.function());
    msi.program(cases::message());
    cases::storm(device, |on| msi.enable(on));
}
