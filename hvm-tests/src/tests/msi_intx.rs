// SPDX-License-Identifier: GPL-2.0-only
//! INTx and MSI exclude each other.

use crate::{Device, Msi, cases};

pub fn run(device: &dyn Device) {
    let msi = Msi::of(device.function());
    msi.program(cases::message());
    cases::intx(device, |on| msi.enable(on));
}
