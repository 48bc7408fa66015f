// SPDX-License-Identifier: GPL-2.0-only
//! While MSI-X is on, MSI cannot be switched on; once MSI-X is off, it can.

use crate::msix::ENABLE;
use crate::{Device, Msi, Msix, cases, check};

pub fn run(device: &dyn Device) {
    let (msi, msix) = (Msi::of(device.function()), Msix::of(device.function()));
    msi.program(cases::message());
    msix.program(0, cases::message());
    for _ in 0..2 {
        msix.enable(true);
        check::delivers("MSI-X on", device, 2, (0, cases::VECTOR));
        msi.enable(true);
        check::that(format_args!("MSI cannot be on while MSI-X is"), msi.control() & 1 == 0);
        check::equal(format_args!("MSI-X is still on"), ENABLE, msix.control() & ENABLE);
        check::delivers("MSI-X still on", device, 2, (0, cases::VECTOR));
        msix.enable(false);
        msi.enable(true);
        check::that(format_args!("MSI on, MSI-X off"), msi.control() & 1 == 1);
        check::delivers("MSI on", device, 2, (0, cases::VECTOR));
        msi.enable(false);
    }
}
