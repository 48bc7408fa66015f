// SPDX-License-Identifier: GPL-2.0-only
//! Random guests, device models and hosts against a device that checks every write.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]
#![allow(clippy::arithmetic_side_effects)]

mod fake;
mod model;

use fake::{Fake, Kind, Source, BARS, DEVICE, MSI, MSIX};
use model::Model;
use msitrap::core::access::ConfigAccess;
use msitrap::core::address::GuestFunction;
use msitrap::core::learn::Mapping;
use msitrap::host::guest::{Guest, GuestAccess};
use proptest::prelude::*;

const FUNCTION: GuestFunction = GuestFunction(0x28);
/// Where the guest puts BARs 0 and 2.
const GUEST_BARS: [u64; 2] = [0xf200_0000, 0x2_f300_0000];
const DATA_PORT: i32 = 0xcfc;

/// A guest with the device, and what the specification says about it.
struct World {
    kind: Kind,
    guest: Guest,
    hardware: Fake,
    model: Model,
}

impl World {
    /// A device assigned, its base addresses set and mapped, so that it is learned.
    fn new(kind: Kind) -> Self {
        let mut world = Self { kind, guest: Guest::empty(), hardware: Fake::new(kind), model: Model::new(kind) };
        world.assign();
        world
    }

    fn assign(&mut self) {
        assert_eq!(self.guest.manage(DEVICE, &mut self.hardware), Ok(true));
        self.hardware.assigned = true;
        assert!(
            !self.hardware.msi_enabled() && !self.hardware.msix_enabled(),
            "the host's messages outlive assignment"
        );
        for (register, value) in [(0x10, GUEST_BARS[0]), (0x18, GUEST_BARS[1]), (0x1c, GUEST_BARS[1] >> 32)] {
            self.write(register, DATA_PORT, 4, value as u32);
        }
        self.write(0x04, DATA_PORT, 2, 0x0006);
        self.map(GUEST_BARS[0]);
    }

    fn map(&mut self, address: u64) {
        let mapping = Mapping { guest_frame: address >> 12, machine_frame: BARS[0].0 >> 12, count: BARS[0].1 >> 12 };
        self.guest.mapped(&mapping, &mut self.hardware);
    }

    fn access(register: u16, port: i32, size: u8) -> Option<GuestAccess> {
        let access = ConfigAccess::from_data_port(register, port as u16, size)?;
        Some(GuestAccess { function: FUNCTION, access })
    }

    /// The offsets in configuration space of an access's bytes that lie in the selected dword.
    fn offsets(register: u16, port: i32, size: u8) -> impl Iterator<Item = (usize, i32)> {
        let register = i32::from(register & !3);
        (0..usize::from(size)).filter_map(move |byte| {
            let lane = port - DATA_PORT + byte as i32;
            (0..4).contains(&lane).then_some((byte, register + lane))
        })
    }

    fn write(&mut self, register: u16, port: i32, size: u8, value: u32) {
        let Some(access) = Self::access(register, port, size) else { return };
        let consumed = self.guest.write(access, value, &mut self.hardware);
        let mut touched = Self::offsets(register, port, size).map(|(_, offset)| offset);
        assert_eq!(consumed, touched.any(|offset| self.model.owns(offset)), "who gets the write");
        for (byte, offset) in Self::offsets(register, port, size) {
            self.model.write(offset, value.to_le_bytes()[byte]);
        }
        self.model.settle();
    }

    fn check_read(&mut self, register: u16, port: i32, size: u8, mergeable: bool) {
        let Some(access) = Self::access(register, port, size) else { return };
        let answer = self.guest.read(access, mergeable, &mut self.hardware);
        for byte in 0..usize::from(size) {
            let value = answer.value.to_le_bytes()[byte];
            let mask = answer.mask.to_le_bytes()[byte];
            match Self::offsets(register, port, size).find(|(at, _)| *at == byte).map(|(_, offset)| offset) {
                None if answer.mask == 0 => {}
                None => assert_eq!((value, mask), (0xff, 0xff), "a byte beside the dword"),
                Some(offset) if !self.model.owns(offset) => assert_eq!(mask, 0, "a byte of the device model's"),
                Some(offset) if Model::is_header(offset) && mergeable => assert_eq!(mask, 0, "ID and next pointer"),
                Some(offset) => {
                    assert_eq!(mask, 0xff);
                    assert!(self.model.read(offset).is_none_or(|seen| seen == value), "offset {offset:#x}: {value:#x}");
                }
            }
        }
    }

    /// The guest's address of a byte of the table's, or of the pending bits'.
    fn place(&self, place: Memory) -> u64 {
        let (register, offset) = match place {
            Memory::Table(offset) => (self.kind.table, offset % (u32::from(self.kind.vectors) * 16 + 32)),
            Memory::Pending(offset) => (self.kind.pending, offset % (u32::from(self.kind.vectors).div_ceil(64) * 8)),
        };
        GUEST_BARS[register as usize % 8 / 2] + u64::from(register & !7) + u64::from(offset)
    }

    /// Where the guest's address lies in the table, if it does.
    fn in_table(&self, address: u64) -> Option<u64> {
        let start = GUEST_BARS[self.kind.table as usize % 8 / 2] + u64::from(self.kind.table & !7);
        address.checked_sub(start).filter(|offset| *offset < u64::from(self.kind.vectors) * 16)
    }

    /// Whether the guest itself lets the device answer in memory, where it first put it.
    fn guest_decodes(&self) -> bool {
        self.model.command & 2 != 0
    }

    fn write_memory(&mut self, address: u64, size: u8, value: u64) {
        let taken = self.guest.write_memory(address, size, value, &mut self.hardware);
        assert_eq!(taken, self.guest_decodes(), "who gets the write to {address:#x}");
        if let Some(offset) = self.in_table(address).filter(|_| taken) {
            self.model.write_table(offset, size, value);
        }
        self.model.settle();
    }

    fn check_memory(&mut self, address: u64, size: u8) {
        let value = self.guest.read_memory(address, size, &mut self.hardware);
        assert_eq!(value.is_some(), self.guest_decodes(), "who answers for {address:#x}");
        assert_eq!(value.is_some(), self.guest.answers(address));
        if let (Some(offset), Some(value)) = (self.in_table(address), value) {
            assert_eq!(value, self.model.read_table(offset, size), "table {offset:#x}, {size} bytes");
        }
    }

    /// The hardware does what the specification lets the guest expect, unless Xen failed.
    fn check_delivery(&self) {
        let messages = self.model.msi_enabled() || self.model.msix_enabled();
        let intx_disable = messages || self.model.command & 0x400 != 0;
        assert_eq!(self.hardware.intx_disabled(), intx_disable, "INTx");
        let expected = self.model.last_valid.clone().unwrap_or_default();
        for nth in 0..32 {
            self.check_source(Source::Msi(nth), expected.get(usize::from(nth)).copied());
        }
        if !expected.is_empty() && self.hardware.failures == 0 {
            let vectors = u32::MAX >> (32 - expected.len());
            assert_eq!(self.hardware.msi_mask(), self.model.msi_mask() & vectors, "the guest's mask");
        }
        for index in 0..self.kind.vectors {
            self.check_source(Source::Msix(index), self.model.latched(index).filter(|_| self.hardware.decoded()));
        }
    }

    fn check_source(&self, source: Source, expected: Option<fake::Message>) {
        let live = self.hardware.live(source);
        let excused = self.hardware.failures > 0 && live.is_none();
        assert!(live == expected || excused, "{source:?}: {live:?} arrives at the guest, not {expected:?}");
    }

    /// A write of dom0's never changes a byte of the capabilities, nor INTx-disable, and everything else.
    fn host_write(&mut self, offset: u16, size: u8, value: u32) {
        let value = value & u32::MAX >> (32 - 8 * u32::from(size));
        let access = ConfigAccess::at(offset, size).expect("an aligned access");
        let owned = (0..i32::from(size)).any(|byte| self.model.owns(i32::from(offset) + byte));
        let command = (offset..offset + u16::from(size)).contains(&5).then(|| 0x400u32 >> (8 * (offset - 4)));
        let mask = command.unwrap_or(0);
        let expected = value & !mask | if self.hardware.intx_disabled() { mask } else { 0 };
        self.hardware.on_behalf = Some((offset, size, expected));
        match self.guest.host_write(DEVICE, access, value, &mut self.hardware) {
            // Dropped, or made on dom0's behalf, which the device checks.
            None => assert_eq!(owned, self.hardware.on_behalf.is_some(), "drops a write to {offset:#x}"),
            Some(kept) => {
                assert!(!owned, "lets a write to {offset:#x} pass");
                assert_eq!(kept, expected, "changes other bits");
                self.hardware.host_wrote(offset, size, kept);
            }
        }
        self.hardware.on_behalf = None;
    }

    fn release(&mut self) {
        self.guest.release(DEVICE, &mut self.hardware);
        let on = self.hardware.msi_enabled() || self.hardware.msix_enabled();
        assert!(!on && !self.hardware.holds_interrupts(), "release leaves an interrupt behind");
        assert_eq!(self.hardware.outstanding, 0, "release leaves memory behind");
    }
}

#[derive(Clone, Copy, Debug)]
enum Memory {
    Table(u32),
    Pending(u32),
}

#[derive(Clone, Debug)]
enum Step {
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

fn register() -> impl Strategy<Value = u16> {
    prop_oneof![
        6 => (MSI - 4..MSI + 0x1c).prop_map(|r| r & !3),
        3 => (MSIX - 4..MSIX + 0x10).prop_map(|r| r & !3),
        1 => Just(4),
        1 => 0x28u16..0x100,
    ]
}

fn size() -> impl Strategy<Value = u8> {
    prop_oneof![Just(1), Just(2), Just(4)]
}

/// Mostly the parts of messages, so that valid ones and near misses are common.
fn value() -> impl Strategy<Value = u32> {
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

fn wide_value() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => value().prop_map(u64::from),
        2 => (value(), 0u64..2).prop_map(|(low, high)| high << 32 | u64::from(low)),
        1 => any::<u64>(),
    ]
}

fn memory() -> impl Strategy<Value = (Memory, u8)> {
    let place = prop_oneof![
        5 => (any::<u32>()).prop_map(|at| Memory::Table(at & !3)),
        1 => any::<u32>().prop_map(Memory::Table),
        1 => any::<u32>().prop_map(Memory::Pending),
    ];
    let size = prop_oneof![4 => Just(4u8), 3 => Just(8), 1 => Just(1), 1 => Just(2), 1 => 0u8..17];
    (place, size)
}

fn step() -> impl Strategy<Value = Step> {
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

fn take(world: &mut World, step: &Step) {
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

fn program_msi(world: &mut World, destination: u8, vector: u8, log2: u8) {
    let data = world.model.data_register();
    world.write(MSI + 4, DATA_PORT, 4, 0xfee0_0000 | u32::from(destination) << 12);
    if data > MSI + 8 {
        world.write(MSI + 8, DATA_PORT, 4, 0);
    }
    world.write(data, DATA_PORT, 2, u32::from(vector));
    world.write(MSI, DATA_PORT + 2, 2, u32::from(log2) << 4 | 1);
}

fn program_msix(world: &mut World, entry: u16, vector: u8, control: u16) {
    let entry = u32::from(entry % world.kind.vectors) * 16;
    world.write_memory(world.place(Memory::Table(entry)), 8, 0xfee0_0000);
    world.write_memory(world.place(Memory::Table(entry + 8)), 8, u64::from(vector));
    world.write(MSIX, DATA_PORT + 2, 2, control.into());
}

fn run(kind: Kind, steps: &[Step]) -> World {
    let mut world = World::new(kind);
    for step in steps {
        take(&mut world, step);
        world.check_delivery();
    }
    world.release();
    world
}

fn kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(&Kind::EVERY[..])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_for_any_guest(kind in kind(), steps in prop::collection::vec(step(), 1..60)) {
        run(kind, &steps);
    }

    #[test]
    fn invariants_hold_when_xen_fails(
        kind in kind(),
        steps in prop::collection::vec(
            prop_oneof![8 => step(), 1 => (0u32..3).prop_map(|after| Step::Fail { after })], 1..60,
        ),
    ) {
        run(kind, &steps);
    }

    #[test]
    fn log_is_bounded(kind in kind(), steps in prop::collection::vec(step(), 200..400)) {
        let world = run(kind, &steps);
        let mut lines = world.hardware.log.clone();
        lines.sort();
        lines.dedup();
        prop_assert_eq!(lines.len(), world.hardware.log.len(), "a line is logged twice");
    }
}

#[test]
fn random_steps_reach_delivery() {
    // The properties above say little if their guests never get anything delivered.
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut delivered = [0, 0];
    for _ in 0..200 {
        let mut world = World::new(Kind::EVERY[2]);
        let steps = prop::collection::vec(step(), 60).new_tree(&mut runner).unwrap().current();
        for step in &steps {
            take(&mut world, step);
            delivered[0] += u32::from(world.hardware.live(Source::Msi(0)).is_some());
            delivered[1] += u32::from((0..8).any(|index| world.hardware.live(Source::Msix(index)).is_some()));
        }
    }
    assert!(delivered.iter().all(|steps| *steps > 200), "only {delivered:?} of 12000 steps had a live message");
}

#[test]
fn a_device_can_come_and_go() {
    let mut world = World::new(Kind::EVERY[3]);
    for _ in 0..1000 {
        program_msix(&mut world, 7, 0x51, 0x8000);
        assert!(world.hardware.live(Source::Msix(7)).is_some());
        world.release();
        world.hardware.assigned = false;
        world.hardware.command = 0x2;
        world.model = Model::new(world.kind);
        world.assign();
    }
}
