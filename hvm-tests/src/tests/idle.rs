// SPDX-License-Identifier: GPL-2.0-only
//! Nothing happens: the device is found and placed, its MSI is left as reset made it. Others try
//! what they can.

use crate::{Device, Message, Msi, check, say, time};

const SECONDS: u64 = 60;
const REMARK: u64 = 10;

pub fn run(device: &dyn Device) {
    let msi = Msi::of(device.function());
    say!("idle: ready");
    for left in (0..SECONDS).rev() {
        time::wait(1000);
        if left % REMARK == 0 {
            say!("idle: {left} s left");
        }
    }
    check::reads_back("afterwards", msi, Message::RESET);
    check::equal(format_args!("afterwards: enable"), 0u16, msi.control() & 1);
}
