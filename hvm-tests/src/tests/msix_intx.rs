// SPDX-License-Identifier: GPL-2.0-only
//! INTx and MSI-X exclude each other.

use crate::{Device, Msix, cases};

pub fn run(device: &dyn Device) {
    let msix = Msix::of(device.function());
    msix.program(0, cases::message());
    cases::intx(device, |on| msix.enable(on));
}
