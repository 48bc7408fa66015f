// SPDX-License-Identifier: GPL-2.0-only
//! Every way in which an address alone can be no interrupt's.

use crate::{Device, invalid};

pub fn run(device: &dyn Device) {
    let valid = invalid::valid();
    for message in invalid::addresses(valid) {
        invalid::check(device, message);
    }
}
