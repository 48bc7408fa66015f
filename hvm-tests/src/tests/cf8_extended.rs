// SPDX-License-Identifier: GPL-2.0-only
//! Bits 27:24 of the address port, which some AMD processors take for a register's upper bits.
//! Whether they count here or not: what reads back in the capability is what delivers, and a
//! register above 255 is none of the capability's.

use crate::pci::{ADDRESS, DATA, Width};
use crate::{Device, Message, Msi, apic, check};

const VECTOR: u8 = 0x60;

pub fn run(device: &dyn Device) {
    let function = device.function();
    let msi = Msi::of(function);
    function.disable_intx(true);
    let write = |extended: u32, offset: u8, value: u16| {
        let register = msi.start() + offset;
        u32::output(ADDRESS, function.address(register) | extended << 24);
        u16::output(DATA + u16::from(register & 3), value);
    };
    for extended in 1..16u8 {
        let ours = Message::fixed(apic::id(), VECTOR);
        msi.program(ours);
        msi.enable(true);
        write(extended.into(), msi.data(), u16::from(VECTOR + extended));
        let seen = msi.message();
        let known = [ours.data, u32::from(VECTOR + extended)].contains(&seen.data);
        check::that(
            format_args!("{extended:#x}: expected one of both messages, saw {seen:x?}"),
            known,
        );
        check::delivers("as it reads back", device, 1, (0, seen.data as u8));
        write(extended.into(), crate::msi::CONTROL, 0);
        match msi.control() & 1 {
            0 => check::delivers_nothing("off as it reads back", device),
            _ => check::delivers("on as it reads back", device, 1, (0, seen.data as u8)),
        }
        msi.enable(false);
        write(extended.into(), crate::msi::CONTROL, 1);
        match msi.control() & 1 {
            0 => check::delivers_nothing("still off", device),
            _ => check::delivers("on again", device, 1, (0, seen.data as u8)),
        }
        msi.enable(false);
    }
}
