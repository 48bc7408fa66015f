// SPDX-License-Identifier: GPL-2.0-only
//! MSI on, ten interrupts; off, none; on again, ten more.

use crate::{Device, Message, Msi, apic, check, pci};

const VECTOR: u8 = 0x51;
const TIMES: u32 = 10;

pub fn run(device: &dyn Device) {
    let msi = Msi::of(device.function());
    let message = Message::fixed(apic::id(), VECTOR);
    msi.program(message);
    for round in ["first time", "second time"] {
        msi.enable(true);
        check::reads_back(round, msi, message);
        check::that(format_args!("{round}: enable reads back as set"), msi.control() & 1 == 1);
        check::delivers(round, device, TIMES, (0, VECTOR));
        msi.enable(false);
        // INTx would take over otherwise, and rightly so; msi-intx looks at that.
        device.function().disable_intx(true);
        check::that(format_args!("{round}: enable reads back as clear"), msi.control() & 1 == 0);
        check::delivers_nothing("after MSI was switched off", device);
        device.function().disable_intx(false);
    }
    let command = device.function().read::<u16>(pci::COMMAND);
    check::equal(format_args!("INTx-disable afterwards"), 0u16, command & pci::INTX_DISABLE);
}
