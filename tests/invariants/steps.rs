// SPDX-License-Identifier: GPL-2.0-only
//! What a random guest, its device model, dom0 and the toolstack do, step by step.

use proptest::prelude::*;

use crate::endpoint::{Answers, Power};
use crate::kind::{guest_bars, Kind, EXPRESS, FEATURES, MSI, MSIX, POWER};
use crate::world::{Stage, World, DATA_PORT};

/// A place in the table, in the pending bits, or on the table's first page, in bytes.
#[derive(Clone, Copy, Debug)]
pub enum Memory {
    Table(u32),
    Pending(u32),
    Beside(u32),
}

/// What takes a device away for a while, or brings it back.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    Sleep,
    Wake,
    Reset,
    OtherReset,
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
    /// The guest moves a base address: to one of its places, or nowhere.
    Move {
        bar: usize,
        place: u64,
        low: u8,
    },
    /// The device model maps a base address at one of the places.
    Map {
        bar: usize,
        place: u64,
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
    /// The physical function does, or does not.
    DecodePhysically(bool),
    Power(Change),
    Time(u64),
    Restore,
    StopDma,
    Refuse(u8),
    Quiesce,
    /// Released, and assigned again.
    Cycle,
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
    let address = (any::<u8>(), 0u32..16)
        .prop_map(|(apic, low)| 0xfee0_0000 | u32::from(apic) << 12 | low << 2);
    let data = (any::<u8>(), prop_oneof![4 => Just(0u32), 1 => 1u32..8])
        .prop_map(|(v, mode)| mode << 8 | u32::from(v));
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
        1 => any::<u32>().prop_map(Memory::Beside),
    ];
    let size = prop_oneof![4 => Just(4u8), 3 => Just(8), 1 => Just(1), 1 => Just(2), 1 => 0u8..17];
    (place, size)
}

pub fn change() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Change::Sleep),
        3 => Just(Change::Wake),
        1 => Just(Change::Reset),
        1 => Just(Change::OtherReset),
    ]
    .prop_map(Step::Power)
}

pub fn step() -> impl Strategy<Value = Step> {
    let lane = || prop_oneof![4 => Just(0), 2 => 1i32..4, 1 => -3i32..0];
    prop_oneof![
        12 => (register(), lane(), size(), value())
            .prop_map(|(register, lane, size, value)| Step::Write { register, lane, size, value }),
        4 => (register(), lane(), size(), any::<bool>())
            .prop_map(|(register, lane, size, mergeable)| {
                Step::Read { register, lane, size, mergeable }
            }),
        8 => (memory(), wide_value())
            .prop_map(|((place, size), value)| Step::WriteMemory { place, size, value }),
        4 => memory().prop_map(|(place, size)| Step::ReadMemory { place, size }),
        1 => (0usize..2, 0u64..4, any::<u8>())
            .prop_map(|(bar, place, low)| Step::Move { bar, place, low }),
        1 => (0usize..2, 0u64..3).prop_map(|(bar, place)| Step::Map { bar, place }),
        2 => (0u16..0x100, size(), any::<u32>())
            .prop_map(|(offset, size, value)| Step::Host { offset, size, value }),
        4 => (any::<u8>(), 0x10u8..0xff, 0u8..6)
            .prop_map(|(destination, vector, log2)| Step::ProgramMsi { destination, vector, log2 }),
        8 => (any::<u16>(), 0x10u8..0xff, prop::sample::select(&[0x8000, 0x8000, 0xc000, 0x0][..]))
            .prop_map(|(entry, vector, control)| Step::ProgramMsix { entry, vector, control }),
        2 => any::<bool>().prop_map(Step::Decode),
        1 => any::<bool>().prop_map(Step::DecodePhysically),
        2 => change(),
        4 => prop_oneof![1 => Just(1_000), 1 => Just(10_000_000), 2 => Just(100_000_000)]
            .prop_map(Step::Time),
        1 => Just(Step::Restore),
        1 => Just(Step::StopDma),
        1 => any::<u8>().prop_map(Step::Refuse),
    ]
}

/// Some steps, each for one of several devices.
pub fn steps(range: std::ops::Range<usize>) -> impl Strategy<Value = Vec<(usize, Step)>> {
    prop::collection::vec((any::<usize>(), step()), range)
}

pub fn take(world: &mut World, n: usize, step: &Step) {
    let n = n % world.slots.len();
    match *step {
        Step::Write { register, lane, size, value } => {
            world.write(n, register, DATA_PORT + lane, size, value)
        }
        Step::Read { register, lane, size, mergeable } => {
            world.check_read(n, register, DATA_PORT + lane, size, mergeable);
        }
        Step::WriteMemory { place, size, value } => {
            world.write_memory(n, world.address(n, place), size, value)
        }
        Step::ReadMemory { place, size } => world.check_memory(n, world.address(n, place), size),
        Step::Move { bar, place, low } => move_bar(world, n, bar, place, low),
        Step::Map { bar, place } => world.map(n, bar, guest_bars(n, place)[bar]),
        Step::Host { offset, size, value } => {
            world.host_write(n, within(offset, size), size, value)
        }
        Step::Fail { after } => world.fake().fail_after = Some(after),
        Step::ProgramMsi { destination, vector, log2 } => {
            program_msi(world, n, destination, vector, log2)
        }
        Step::ProgramMsix { entry, vector, control } => {
            program_msix(world, n, entry, vector, control)
        }
        Step::Decode(decoded) => world.host_write(n, 4, 2, if decoded { 6 } else { 4 }),
        Step::DecodePhysically(decodes) => world.decode_physically(n, decodes),
        Step::Power(change) => change_power(world, n, change),
        Step::Time(nanoseconds) => world.advance(nanoseconds),
        Step::Restore => restore(world, n),
        Step::StopDma => stop_dma(world, n),
        Step::Refuse(attempt) => world.refuse(n, attempt),
        Step::Quiesce => {
            world.quiesce_once(n);
        }
        Step::Cycle => world.assign_again(n),
    }
}

/// The same offset, or one before it, so that the access stays in its dword, aligned or not.
fn within(offset: u16, size: u8) -> u16 {
    offset & !3 | (offset & 3).min(4 - u16::from(size))
}

fn move_bar(world: &mut World, n: usize, bar: usize, place: u64, low: u8) {
    let address = if place == 3 { 0 } else { guest_bars(n, place)[bar] };
    world.write(n, 0x10 + 8 * bar as u16, DATA_PORT, 4, address as u32 | u32::from(low & 0xf));
    if bar == 1 {
        world.write(n, 0x1c, DATA_PORT, 4, (address >> 32) as u32);
    }
}

/// What dom0 does when it was told, or believes, that a device which is there was reset.
fn restore(world: &mut World, n: usize) {
    let fake = world.fake();
    let device = &fake.devices[n];
    let there = device.power == Power::On && !device.away && device.answers == Answers::Truth;
    drop(fake);
    if there && world.slots[n].stage == Stage::Assigned {
        world.restore(n);
    }
}

/// A device that does not answer is left alone.
fn stop_dma(world: &mut World, n: usize) {
    if !matches!(world.fake().devices[n].power, Power::Returning(_)) {
        world.stop_dma(n);
    }
}

pub fn change_power(world: &mut World, n: usize, change: Change) {
    match change {
        Change::Sleep => world.host_write(n, POWER + 4, 2, 3),
        Change::Wake => world.host_write(n, POWER + 4, 2, 0),
        Change::Reset => world.host_write(n, EXPRESS + 8, 2, 0x8000),
        Change::OtherReset => world.host_write(n, FEATURES + 4, 1, 1),
    }
}

pub fn program_msi(world: &mut World, n: usize, destination: u8, vector: u8, log2: u8) {
    let data = world.slots[n].model.data_register();
    world.write(n, MSI + 4, DATA_PORT, 4, 0xfee0_0000 | u32::from(destination) << 12);
    if data > MSI + 8 {
        world.write(n, MSI + 8, DATA_PORT, 4, 0);
    }
    world.write(n, data, DATA_PORT, 2, u32::from(vector));
    world.write(n, MSI, DATA_PORT + 2, 2, u32::from(log2) << 4 | 1);
}

pub fn program_msix(world: &mut World, n: usize, entry: u16, vector: u8, control: u16) {
    let entry = u32::from(entry % world.slots[n].kind.vectors) * 16;
    world.write_memory(n, world.address(n, Memory::Table(entry)), 8, 0xfee0_0000);
    world.write_memory(n, world.address(n, Memory::Table(entry + 8)), 8, u64::from(vector));
    world.write(n, MSIX, DATA_PORT + 2, 2, control.into());
}

/// Any of the kinds of device.
pub fn kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(&Kind::EVERY[..])
}

/// One to three devices of any kind.
pub fn kinds() -> impl Strategy<Value = Vec<Kind>> {
    prop::collection::vec(kind(), 1..4)
}
