// SPDX-License-Identifier: GPL-2.0-only
//! Accesses beside and across ports 0xCF8 to 0xCFF, a disabled address port, functions that are not
//! there: none of them may crash anything or change the MSI capability.

use crate::msi::{ADDRESS, CONTROL};
use crate::pci::{self, Function, Width};
use crate::{Device, Message, Msi, apic, check};

const VECTOR: u8 = 0x5f;
/// Bits 27:24 of the address port, where some AMD processors take registers from 0x100 on.
const EXTENDED: u32 = 0xf << 24;
/// The header's first dword cannot change.
const READ_ONLY: u8 = 0x00;
const ABSENT: Function = Function::at(0x1f, 7);

type Step = fn(Msi, Function);

pub fn run(device: &dyn Device) {
    let msi = Msi::of(device.function());
    let message = Message::fixed(apic::id(), VECTOR);
    msi.program(message);
    msi.enable(true);
    let steps: [(&str, Step); 5] = [
        ("reads across the ports", reads),
        ("writes across the ports", writes),
        ("address port disabled", disabled),
        ("absent function", absent),
        ("reserved address bits", reserved),
    ];
    let control = msi.control();
    for (what, step) in steps {
        step(msi, device.function());
        check::reads_back(what, msi, message);
        check::equal(format_args!("{what}: control"), control, msi.control());
        check::delivers(what, device, 2, (0, VECTOR));
    }
    msi.enable(false);
}

/// Every port and width, with the data port pointing at each dword of the capability.
fn reads(msi: Msi, function: Function) {
    for dword in (0..msi.data() + 4).step_by(4) {
        for port in pci::ADDRESS + 1..pci::DATA + 4 {
            function.select(msi.start() + dword);
            u8::input(port);
            u16::input(port);
            u32::input(port);
        }
    }
}

/// Writes that cross a port's end, at a register that cannot change; zero does no harm to the ports
/// around.
fn writes(_: Msi, function: Function) {
    for port in [pci::ADDRESS + 2, pci::ADDRESS + 3, pci::DATA + 1, pci::DATA + 2, pci::DATA + 3] {
        function.select(READ_ONLY);
        if port % 4 != 2 {
            u16::output(port, 0);
        }
        u32::output(port, 0);
    }
    // Parts of the address port are no address port.
    function.select(READ_ONLY);
    u8::output(pci::ADDRESS, 0x40);
    u16::output(pci::ADDRESS, 0x40);
    let seen = u32::input(pci::ADDRESS);
    check::equal(
        format_args!("address port after partial writes"),
        function.address(READ_ONLY),
        seen,
    );
}

fn disabled(msi: Msi, function: Function) {
    for register in [msi.start(), msi.start() + ADDRESS, msi.start() + msi.data()] {
        u32::output(pci::ADDRESS, function.address(register) & !pci::ENABLE);
        u32::output(pci::DATA, 0);
        u16::output(pci::DATA + 2, 0);
        u8::output(pci::DATA, 0);
        check::equal(
            format_args!("read with the address port disabled"),
            !0u32,
            u32::input(pci::DATA),
        );
    }
}

fn absent(msi: Msi, _: Function) {
    for register in [msi.start(), msi.start() + ADDRESS] {
        ABSENT.write(register, 0u32);
        ABSENT.write(register + CONTROL, 0u16);
        check::equal(
            format_args!("read of a function that is not there"),
            !0u32,
            ABSENT.read::<u32>(register),
        );
    }
}

/// Whatever these bits select, what is written there is what the capability holds.
fn reserved(msi: Msi, function: Function) {
    for dword in (0..msi.data() + 4).step_by(4) {
        let register = msi.start() + dword;
        let value = function.read::<u32>(register);
        u32::output(pci::ADDRESS, function.address(register) | EXTENDED);
        u32::output(pci::DATA, value);
        u32::input(pci::DATA);
    }
}
