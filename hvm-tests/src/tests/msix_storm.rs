// SPDX-License-Identifier: GPL-2.0-only
//! MSI-X, its function mask and an entry's mask are turned on and off without a pause while the
//! device raises.

use crate::msix::{ENABLE, FUNCTION_MASK};
use crate::{Device, Msix, cases};

pub fn run(device: &dyn Device) {
    let msix = Msix::of(device.function());
    msix.program(0, cases::message());
    cases::storm(device, |on| msix.enable(on));
    msix.enable(true);
    cases::storm(device, |on| msix.set(ENABLE | if on { 0 } else { FUNCTION_MASK }));
    msix.enable(true);
    cases::storm(device, |on| msix.mask(0, !on));
    msix.enable(false);
}
