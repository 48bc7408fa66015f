// SPDX-License-Identifier: GPL-2.0-only
//! While MSI is on, MSI-X cannot be switched on; once MSI is off, it can.

use crate::msix::ENABLE;
use crate::{Device, Msi, Msix, cases, check};

pub fn run(device: &dyn Device) {
    let (msi, msix) = (Msi::of(device.function()), Msix::of(device.function()));
    msi.program(cases::message());
    msix.program(0, cases::message());
    for _ in 0..2 {
        msi.enable(true);
        check::delivers("MSI on", device, 2, (0, cases::VECTOR));
        msix.enable(true);
        check::equal(format_args!("MSI-X enable while MSI is on"), 0u16, msix.control() & ENABLE);
        check::that(format_args!("MSI is still on"), msi.control() & 1 == 1);
        check::delivers("MSI still on", device, 2, (0, cases::VECTOR));
        msi.enable(false);
        msix.enable(true);
        check::equal(format_args!("MSI-X enable, MSI off"), ENABLE, msix.control() & ENABLE);
        check::delivers("MSI-X on", device, 2, (0, cases::VECTOR));
        msix.enable(false);
    }
}
