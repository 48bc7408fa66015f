// SPDX-License-Identifier: GPL-2.0-only
//! MSI is switched on and off two hundred times.

use crate::{Device, Msi, cases};

pub fn run(device: &dyn Device) {
    let msi = Msi::of(device.function());
    msi.program(cases::message());
    cases::cycles(device, |on| msi.enable(on));
}
