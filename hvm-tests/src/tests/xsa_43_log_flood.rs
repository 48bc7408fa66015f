// SPDX-License-Identifier: GPL-2.0-only
//! XSA-43, 96, 130, 157: a flood of accesses that are refused. Xen's log stays short, and nothing
//! else suffers.
//!
//! `log-flood-million` does the same for longer.

use crate::{Device, cases};

const WRITES: usize = 12_000;

pub fn run(device: &dyn Device) {
    cases::flood(device, WRITES);
}
