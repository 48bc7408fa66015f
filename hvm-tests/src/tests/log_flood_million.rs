// SPDX-License-Identifier: GPL-2.0-only
//! One million accesses that are refused.

use crate::{Device, cases};

const WRITES: usize = 1_000_000;

pub fn run(device: &dyn Device) {
    cases::flood(device, WRITES);
}
