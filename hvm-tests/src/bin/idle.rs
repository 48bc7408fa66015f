// SPDX-License-Identifier: GPL-2.0-only
//! Nothing happens: the device is found and placed, its MSI is left as reset made it. Others try what they can.

#![no_std]
#![no_main]

use hvm_tests::{Device, Message, Msi, check, devices, say, time};

const SECONDS: u64 = 60;
const REMARK: u64 = 10;

hvm_tests::test!(run);

fn run() {
    let Some(device) = devices::find() else { return };
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
