// SPDX-License-Identifier: GPL-2.0-only
//! MSI is switched on while the registers still hold what reset left there. The guest sees the bit
//! set; whether it reached the device is for an observer outside to say, so this image never
//! programs a valid message.

use crate::{Device, Message, Msi, check};

pub fn run(device: &dyn Device) {
    let msi = Msi::of(device.function());
    check::reads_back("before", msi, Message::RESET);
    for _ in 0..3 {
        msi.enable(true);
        check::that(format_args!("enable reads back as set"), msi.control() & 1 == 1);
        check::reads_back("while on", msi, Message::RESET);
        check::delivers_nothing("MSI on, no message", device);
        msi.enable(false);
        // With MSI off the device would fall back to INTx.
        device.function().disable_intx(true);
        check::that(format_args!("enable reads back as clear"), msi.control() & 1 == 0);
        check::delivers_nothing("MSI off again", device);
        device.function().disable_intx(false);
    }
}
