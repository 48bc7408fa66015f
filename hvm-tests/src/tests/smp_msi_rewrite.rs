// SPDX-License-Identifier: GPL-2.0-only
//! One vCPU changes vector and destination of a live message as fast as it can. The other, which
//! takes interrupts all the time, uses the same registers.

use crate::{Device, storm};

pub fn run(device: &dyn Device) {
    storm::rewrite_message(device, 0);
}
