// SPDX-License-Identifier: GPL-2.0-only
//! INTx, MSI, MSI-X, MSI and INTx again, each after the other is off.

use crate::{Device, Msi, Msix, cases, check};

pub fn run(device: &dyn Device) {
    let (msi, msix) = (Msi::of(device.function()), Msix::of(device.function()));
    msi.program(cases::message());
    msix.program(0, cases::message());
    for _ in 0..2 {
        cases::line(device, "INTx");
        msi.enable(true);
        check::delivers("MSI", device, 2, (0, cases::VECTOR));
        msi.enable(false);
        msix.enable(true);
        check::delivers("MSI-X", device, 2, (0, cases::VECTOR));
        msix.enable(false);
        msi.enable(true);
        check::delivers("MSI after MSI-X", device, 2, (0, cases::VECTOR));
        msi.enable(false);
    }
}
