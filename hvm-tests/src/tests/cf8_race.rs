// SPDX-License-Identifier: GPL-2.0-only
//! One vCPU changes the address port as fast as it can between two registers while the other uses
//! the data port: each access reaches one of them, no third, and what reads back is what delivers.

use crate::pci::{Function, Width};
use crate::{Device, Message, Msi, apic, check, devices, time, vcpu};

const VECTORS: [u8; 4] = [0x40, 0x41, 0x42, 0x43];
const PHASE_MS: u64 = 400;
/// Registers of the header from its first to its last.
const HEADER: [u8; 16] = [0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60];

pub fn run(device: &dyn Device) {
    let Some(other) = devices::second() else { return };
    if vcpu::start().is_none() {
        return;
    }
    let pair = [device, other];
    for on in [false, true] {
        for msi in msi_of(pair) {
            msi.program(Message::fixed(apic::id(), VECTORS[0]));
            msi.enable(on);
        }
        race(pair, "both messages' data", msi_of(pair)[1].data());
        race(pair, "a register that cannot change", 0);
        for (device, msi) in pair.into_iter().zip(msi_of(pair)) {
            msi.enable(true);
            check::delivers("as it reads back", device, 2, (0, msi.message().data as u8));
            msi.enable(false);
        }
    }
}

fn msi_of(pair: [&dyn Device; 2]) -> [Msi; 2] {
    pair.map(|device| Msi::of(device.function()))
}

/// The race between the first function's data and the second's capability at `offset`.
fn race(pair: [&dyn Device; 2], what: &str, offset: u8) {
    let [first, second] = pair.map(|device| device.function());
    let [mine, others] = msi_of(pair);
    let registers = [(first, mine.start() + mine.data()), (second, others.start() + offset)];
    let before = [state(first, mine), state(second, others)];
    let fixed = second.read::<u16>(registers[1].1);
    let port = registers[0].0.select(registers[0].1);
    let mut turn = 0;
    let mut odd = 0;
    vcpu::beside(&|| flip(registers), || {
        time::during(PHASE_MS, || {
            turn = (turn + 1) % VECTORS.len();
            u16::output(port, VECTORS[turn].into());
            let seen = u16::input(port);
            odd += u32::from(!known(seen) && seen != fixed);
        });
    });
    check::equal(format_args!("{what}: reads of neither register"), 0u32, odd);
    let after = [state(first, mine), state(second, others)];
    check::that(format_args!("{what}: no other register changes"), before == after);
    for msi in msi_of(pair) {
        let seen = msi.message();
        check::that(
            format_args!("{what}: {seen:x?} is one of those written"),
            known(seen.data as u16),
        );
    }
}

/// The address port points at each of two registers in turn.
fn flip(registers: [(Function, u8); 2]) {
    registers.into_iter().for_each(|(function, register)| {
        function.select(register);
    });
}

fn known(data: u16) -> bool {
    VECTORS.iter().any(|&vector| u16::from(vector) == data)
}

/// All that the race must not change.
fn state(function: Function, msi: Msi) -> ([u32; 16], u16, [u32; 2]) {
    let message = msi.message();
    (
        HEADER.map(|register| function.read(register)),
        msi.control(),
        [message.address, message.upper],
    )
}
