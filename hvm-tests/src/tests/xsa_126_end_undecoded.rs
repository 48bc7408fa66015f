// SPDX-License-Identifier: GPL-2.0-only
//! XSA-126: the guest ends with MSI-X on, an entry unmasked, an interrupt raised, and memory
//! decoding off.

use crate::{Device, cases, report};

pub fn run(device: &dyn Device) {
    let function = device.function();
    let (_, sources) = cases::each_its_own(device, 4);
    (0..sources).for_each(|n| device.raise(n));
    function.decode(false);
    report::finish()
}
