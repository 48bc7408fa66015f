// SPDX-License-Identifier: GPL-2.0-only
//! Delivery modes in an entry that would reach past the guest's interrupt handlers.

use crate::{Device, invalid};

pub fn run(device: &dyn Device) {
    for message in invalid::deliveries(invalid::valid()) {
        invalid::check_entry(device, message);
    }
}
