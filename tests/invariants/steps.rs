// SPDX-License-Identifier: GPL-2.0-only
//! What a random guest, its device model and dom0 do, step by step.

use proptest::prelude::*;

use crate::fake::{Kind, MSI, MSIX};
use crate::world::{World, DATA_PORT};

/// A place in the table or in the pending bits, in bytes.
#[derive(Clone, Copy, Debug)]
pub enum Memory {
    Table(u32),
    Pending(u32),
}

/// One of the things that may happen.
#[derive(Clone, Debug)]
pub enum Step {
    Write {
        register: u16,
        lane: i32,
        size: u8,
        value: u32,
    },
    Read {
        register: u16,
        lane: i32,
        size: u8,
        mergeable: bool,
    },
    WriteMemory {
        place: Memory,
        size: u8,
        value: u64,
    },
    ReadMemory {
        place: Memory,
        size: u8,
    },
    Map {
        address: u64,
    },
    Host {
        offset: u16,
        size: u8,
        value: u32,
    },
    Fail {
        after: u32,
    },
    /// What a driver does with MSI: a valid message, register by register, then enable.
    ProgramMsi {
        destination: u8,
        vector: u8,
        log2: u8,
    },
    /// What a driver does with MSI-X: a valid message in an entry, unmasked, then enable.
    ProgramMsix {
        entry: u16,
        vector: u8,
        control: u16,
    },
    /// Dom0, for the guest, lets the device's memory be decoded, or not.
    Decode(bool),
}

pub fn register() -> impl Strategy<Value = u16> {
    prop_oneof![
        6 => (MSI - 4..MSI + 0x1c).prop_map(|r| r & !3),
        3 => (MSIX - 4..MSIX + 0x10).prop_map(|r| r & !3),
        1 => Just(4),
        1 => 0x28u16..0x100,
    ]
}

pub fn size() -> impl Strategy<Value = u8> {
    prop_oneof![Just(1), Just(2), Just(4)]
}

/// Mostly the parts of messages, so that valid ones and near misses are common.
pub fn value() -> impl Strategy<Value = u32> {
    let address = (any::<u8>(), 0u32..16).prop_map(|(apic, low)| 0xfee0_0000 | u32::from(apic) << 12 | low << 2);
    let data = (any::<u8>(), prop_oneof![4 => Just(0u32), 1 => 1u32..8]).prop_map(|(v, mode)| mode << 8 | u32::from(v));
    let control = prop_oneof![
        Just(0u32),
        Just(1),
        Just(2),
        Just(0x1_0000),
        Just(0x81_0005),
        Just(0x400),
        Just(0x402),
        Just(0x8000_0000),
        Just(0xc000_0000),
        Just(0x31_0000),
    ];
    prop_oneof![3 => address, 3 => data, 4 => control, 1 => any::<u32>()]
}

pub fn wide_value() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => value().prop_map(u64::from),
        2 => (value(), 0u64..2).prop_map(|(low, high)| high << 32 | u64::from(low)),
        1 => any::<u64>(),
    ]
}

pub fn memory() -> impl Strategy<Value = (Memory, u8)> {
    let place = prop_oneof![
        5 => (any::<u32>()).prop_map(|at| Memory::Table(at & !3)),
        1 => any::<u32>().prop_map(Memory::Table),
        1 => any::<u32>().prop_map(Memory::Pending),
    ];
    let size = prop_oneof![4 => Just(4u8), 3 => Just(8), 1 => Just(1), 1 => Just(2), 1 => 0u8..17];
    (place, size)
}

pub fn step() -> impl Strategy<Value = Step> {
    let lane = || prop_oneof![4 => Just(0), 2 => 1i32..4, 1 => -3i32..0];
    prop_oneof![
        12 => (register(), lane(), size(), value())
            .prop_map(|(register, lane, size, value)| Step::Write { register, lane, size, value }),
        4 => (register(), lane(), size(), any::<bool>())
            .prop_map(|(register, lane, size, mergeable)| Step::Read { register, lane, size, mergeable }),
        8 => (memory(), wide_value()).prop_map(|((place, size), value)| Step::WriteMemory { place, size, value }),
        4 => memory().prop_map(|(place, size)| Step::ReadMemory { place, size }),
        1 => any::<u32>().prop_map(|address| Step::Map { address: u64::from(address) }),
        2 => (0u16..0x100, size(), any::<u32>()).prop_map(|(offset, size, value)| Step::Host { offset, size, value }),
        2 => (any::<u8>(), 0x10u8..0xff, 0u8..6)
            .prop_map(|(destination, vector, log2)| Step::ProgramMsi { destination, vector, log2 }),
        4 => (any::<u16>(), 0x10u8..0xff, prop::sample::select(&[0x8000, 0xc000, 0x0][..]))
            .prop_map(|(entry, vector, control)| Step::ProgramMsix { entry, vector, control }),
        2 => any::<bool>().prop_map(Step::Decode),
    ]
}

pub fn take(world: &mut World, step: &Step) {
    match *step {
        Step::Write { register, lane, size, value } => world.write(register, DATA_PORT + lane, size, value),
        Step::Read { register, lane, size, mergeable } => {
            world.check_read(register, DATA_PORT + lane, size, mergeable);
        }
        Step::WriteMemory { place, size, value } => world.write_memory(world.place(place), size, value),
        Step::ReadMemory { place, size } => world.check_memory(world.place(place), size),
        Step::Map { address } => world.map(address),
        Step::Host { offset, size, value } => world.host_write(offset & !(u16::from(size) - 1), size, value),
        Step::Fail { after } => world.hardware.fail_after = Some(after),
        Step::ProgramMsi { destination, vector, log2 } => program_msi(world, destination, vector, log2),
        Step::ProgramMsix { entry, vector, control } => program_msix(world, entry, vector, control),
        Step::Decode(decoded) => world.host_write(4, 2, if decoded { 6 } else { 4 }),
    }
}

pub fn program_msi(world: &mut World, destination: u8, vector: u8, log2: u8) {
    let data = world.model.data_register();
    world.write(MSI + 4, DATA_PORT, 4, 0xfee0_0000 | u32::from(destination) << 12);
    if data > MSI + 8 {
        world.write(MSI + 8, DATA_PORT, 4, 0);
    }
    world.write(data, DATA_PORT, 2, u32::from(vector));
    world.write(MSI, DATA_PORT + 2, 2, u32::from(log2) << 4 | 1);
}

pub fn program_msix(world: &mut World, entry: u16, vector: u8, control: u16) {
    let entry = u32::from(entry % world.kind.vectors) * 16;
    world.write_memory(world.place(Memory::Table(entry)), 8, 0xfee0_0000);
    world.write_memory(world.place(Memory::Table(entry + 8)), 8, u64::from(vector));
    world.write(MSIX, DATA_PORT + 2, 2, control.into());
}

/// Any of the kinds of device.
pub fn kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(&Kind::EVERY[..])
}
