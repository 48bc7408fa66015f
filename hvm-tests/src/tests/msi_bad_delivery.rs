// SPDX-License-Identifier: GPL-2.0-only
//! Delivery modes that would reach past the guest's interrupt handlers: SMI, NMI, INIT, ExtINT, and
//! reserved ones.

use crate::{Device, invalid};

pub fn run(device: &dyn Device) {
    for message in invalid::deliveries(invalid::valid()) {
        invalid::check(device, message);
    }
}
