// SPDX-License-Identifier: GPL-2.0-only
//! The same as `smp-msi-rewrite` with every vector that the device has.

use crate::{Device, Msi, storm};

pub fn run(device: &dyn Device) {
    storm::rewrite_message(device, Msi::of(device.function()).capable());
}
