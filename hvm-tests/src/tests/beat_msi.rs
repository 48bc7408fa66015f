// SPDX-License-Identifier: GPL-2.0-only
//! MSI with every vector that the device has: interrupts come until the guest is ended. For
//! attempts from elsewhere.

use crate::{Device, Message, Msi, apic, cases};

pub fn run(device: &dyn Device) {
    let msi = Msi::of(device.function());
    msi.program(Message::fixed(apic::id(), cases::FIRST));
    msi.enable_several(msi.capable());
    cases::beat(device, 1 << msi.capable());
}
