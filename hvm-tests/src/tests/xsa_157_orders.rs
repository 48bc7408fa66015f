// SPDX-License-Identifier: GPL-2.0-only
//! XSA-157: MSI and MSI-X turned on and off in every order of four steps: on twice, off without on,
//! one after and during the other. The first that is on stays; and it works in the end.

use crate::{Device, Msi, Msix, cases, check};

const STEPS: u32 = 4;
/// On and off, of MSI and of MSI-X.
const CHOICES: u32 = 4;

pub fn run(device: &dyn Device) {
    let function = device.function();
    let (msi, msix) = (Msi::of(function), Msix::of(function));
    msi.program(cases::message());
    msix.program(0, cases::message());
    for order in 0..CHOICES.pow(STEPS) {
        let mut expected = [false; 2];
        for step in 0..STEPS {
            let choice = order / CHOICES.pow(step) % CHOICES;
            let (which, on) = ((choice / 2) as usize, choice % 2 == 0);
            if which == 0 {
                msi.enable(on)
            } else {
                msix.enable(on)
            }
            expected[which] = on && !expected[1 - which];
            let seen = [msi.control() & 1 != 0, msix.control() >> 15 != 0];
            check::that(
                format_args!("order {order:#x}, step {step}: expected {expected:?}, saw {seen:?}"),
                seen == expected,
            );
        }
        if order % 64 == 63 {
            msi.enable(false);
            msix.enable(order % 128 == 63);
            msi.enable(order % 128 != 63);
            check::delivers("after some orders", device, 1, (0, cases::VECTOR));
        }
        msi.enable(false);
        msix.enable(false);
    }
}
