// SPDX-License-Identifier: GPL-2.0-only
//! What every invalid message has in common.

use crate::{Device, Message, Msi, apic, check, say};

/// The vector of valid messages around an invalid one.
pub const VECTOR: u8 = 0x5a;

/// The message reads back as written but delivers nothing, and a valid one written over it works at once.
pub fn check(device: &dyn Device, message: Message) {
    let msi = Msi::of(device.function());
    let valid = Message::fixed(apic::id(), VECTOR);
    say!("{message:x?}");
    msi.program(message);
    msi.enable(true);
    check::that(
        format_args!("invalid: enable reads back as set"),
        msi.control() & 1 == 1,
    );
    check::reads_back("invalid", msi, message);
    check::delivers_nothing("invalid", device);
    check::reads_back("invalid, afterwards", msi, message);
    msi.program(valid);
    check::reads_back("valid again", msi, valid);
    check::delivers("valid again", device, 2, (0, VECTOR));
    msi.enable(false);
}
