// SPDX-License-Identifier: GPL-2.0-only
//! XSA-96: vector 0 with a PIRQ's number for a destination, which an emulated device may use to
//! reach an event channel. From the hardware's device it is a message like any other that is not
//! valid.

use crate::{Device, Message, Msi, Msix, cases, check};

const BASE: u32 = 0xfee0_0000;
/// Extended delivery, with which the number comes.
const EXTENDED: u32 = 3 << 8;
const PIRQS: [u32; 4] = [0, 16, 47, 0x00ff_ffff];

pub fn run(device: &dyn Device) {
    let function = device.function();
    let (msi, msix) = (Msi::of(function), Msix::of(function));
    function.disable_intx(true);
    for message in PIRQS.into_iter().flat_map(|pirq| [named(pirq, 0), named(pirq, EXTENDED)]) {
        msi.program(message);
        msi.enable(true);
        check::delivers_nothing("MSI", device);
        msi.enable(false);
        msix.enable(true);
        msix.program(0, message);
        check::delivers_nothing("MSI-X", device);
        msix.enable(false);
    }
    msix.enable(true);
    msix.program(0, cases::message());
    check::after_pending();
    check::delivers("afterwards", device, 2, (0, cases::VECTOR));
    msix.enable(false);
}

fn named(pirq: u32, data: u32) -> Message {
    Message { address: BASE | (pirq & 0xff) << 12, upper: pirq & !0xff, data }
}
