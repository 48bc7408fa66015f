// SPDX-License-Identifier: GPL-2.0-only
//! Random guests, device models and hosts against a device that checks every write.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]
#![allow(clippy::arithmetic_side_effects)]

mod fake;

use fake::{Fake, Layout, Message, Model, BAR_SIZE, DEVICE, HOST_BAR, POSITION};
use msitrap::core::access::ConfigAccess;
use msitrap::core::address::GuestFunction;
use msitrap::core::learn::Mapping;
use msitrap::host::guest::{Guest, GuestAccess};
use proptest::prelude::*;

const FUNCTION: GuestFunction = GuestFunction(0x28);
const GUEST_BAR: u32 = 0xf200_0000;
const DATA_PORT: i32 = 0xcfc;

/// A guest with the device, and what the specification says about it.
struct World {
    guest: Guest,
    hardware: Fake,
    model: Model,
    command: u16,
    /// The last valid message since MSI was enabled.
    last_valid: Option<Message>,
}

impl World {
    /// A device assigned, its base address set and mapped, so that it is learned.
    fn new(layout: Layout) -> Self {
        let mut world = Self {
            guest: Guest::empty(),
            hardware: Fake::new(layout),
            model: Model::new(layout),
            command: 0,
            last_valid: None,
        };
        assert_eq!(world.guest.manage(DEVICE, &mut world.hardware), Ok(true));
        world.hardware.assigned = true;
        assert!(!world.hardware.enabled, "the host's MSI outlives assignment");
        world.write(0x10, DATA_PORT, 4, GUEST_BAR);
        world.write(0x04, DATA_PORT, 2, 0x0006);
        world.map(u64::from(GUEST_BAR));
        world
    }

    fn map(&mut self, address: u64) {
        let mapping = Mapping { guest_frame: address >> 12, machine_frame: HOST_BAR >> 12, count: BAR_SIZE >> 12 };
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
            let value = value.to_le_bytes()[byte];
            self.model.write(offset, value);
            match offset {
                4 => self.command = self.command & 0xff00 | u16::from(value),
                5 => self.command = self.command & 0x00ff | u16::from(value) << 8,
                _ => {}
            }
        }
        self.last_valid = match (self.model.enabled(), self.model.message()) {
            (false, _) => None,
            (true, None) => self.last_valid,
            (true, valid) => valid,
        };
    }

    fn check_read(&mut self, register: u16, port: i32, size: u8, mergeable: bool) {
        let Some(access) = Self::access(register, port, size) else { return };
        let answer = self.guest.read(access, mergeable, &mut self.hardware);
        let header = (i32::from(POSITION)..i32::from(POSITION) + 2).clone();
        for byte in 0..usize::from(size) {
            let value = answer.value.to_le_bytes()[byte];
            let mask = answer.mask.to_le_bytes()[byte];
            match Self::offsets(register, port, size).find(|(at, _)| *at == byte).map(|(_, offset)| offset) {
                None if answer.mask == 0 => {}
                None => assert_eq!((value, mask), (0xff, 0xff), "a byte beside the dword"),
                Some(offset) if !self.model.owns(offset) => assert_eq!(mask, 0, "a byte of the device model's"),
                Some(offset) if header.contains(&offset) && mergeable => assert_eq!(mask, 0, "ID and next pointer"),
                Some(offset) => {
                    assert_eq!(mask, 0xff);
                    assert!(self.model.read(offset).is_none_or(|seen| seen == value), "offset {offset:#x}: {value:#x}");
                }
            }
        }
    }

    /// The hardware does what the specification lets the guest expect, unless Xen failed.
    fn check_delivery(&self) {
        let intx_disable = self.model.enabled() || self.command & 0x400 != 0;
        assert_eq!(self.hardware.intx_disabled, intx_disable, "INTx");
        if self.hardware.failures > 0 {
            assert!(self.hardware.live().is_none() || self.hardware.live() == self.last_valid);
            return;
        }
        assert_eq!(self.hardware.live(), self.last_valid, "what arrives at the guest");
        if self.last_valid.is_some() {
            assert_eq!(self.hardware.masked, self.model.masked(), "the guest's mask");
        }
    }
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
    /// What a driver does: a valid message, register by register, then enable.
    Program {
        destination: u8,
        vector: u8,
    },
}

fn register() -> impl Strategy<Value = u16> {
    prop_oneof![6 => (POSITION - 4..POSITION + 0x1c).prop_map(|r| r & !3), 1 => Just(4), 1 => 0u16..0x100]
}

fn size() -> impl Strategy<Value = u8> {
    prop_oneof![Just(1), Just(2), Just(4)]
}

/// Mostly the parts of messages, so that valid ones and near misses are common.
fn value() -> impl Strategy<Value = u32> {
    let address = (any::<u8>(), 0u32..16).prop_map(|(apic, low)| 0xfee0_0000 | u32::from(apic) << 12 | low << 2);
    let data = (any::<u8>(), prop_oneof![4 => Just(0u32), 1 => 1u32..8]).prop_map(|(v, mode)| mode << 8 | u32::from(v));
    prop_oneof![
        3 => address,
        3 => data,
        3 => prop_oneof![Just(0u32), Just(1), Just(0x1_0000), Just(0x81_0005), Just(0x400)],
        1 => any::<u32>(),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let lane = || prop_oneof![4 => Just(0), 2 => 1i32..4, 1 => -3i32..0];
    prop_oneof![
        12 => (register(), lane(), size(), value())
            .prop_map(|(register, lane, size, value)| Step::Write { register, lane, size, value }),
        4 => (register(), lane(), size(), any::<bool>())
            .prop_map(|(register, lane, size, mergeable)| Step::Read { register, lane, size, mergeable }),
        1 => any::<u32>().prop_map(|address| Step::Map { address: u64::from(address) }),
        2 => (0u16..0x100, size(), any::<u32>()).prop_map(|(offset, size, value)| Step::Host { offset, size, value }),
        2 => (any::<u8>(), 0x10u8..0xff).prop_map(|(destination, vector)| Step::Program { destination, vector }),
    ]
}

fn take(world: &mut World, step: &Step) {
    match *step {
        Step::Write { register, lane, size, value } => world.write(register, DATA_PORT + lane, size, value),
        Step::Read { register, lane, size, mergeable } => {
            world.check_read(register, DATA_PORT + lane, size, mergeable);
        }
        Step::Map { address } => world.map(address),
        Step::Host { offset, size, value } => check_host(world, offset & !(u16::from(size) - 1), size, value),
        Step::Fail { after } => world.hardware.fail_after = Some(after),
        Step::Program { destination, vector } => program(world, destination, vector),
    }
}

fn program(world: &mut World, destination: u8, vector: u8) {
    let data = world.model.data_register();
    world.write(POSITION + 4, DATA_PORT, 4, 0xfee0_0000 | u32::from(destination) << 12);
    if data > POSITION + 8 {
        world.write(POSITION + 8, DATA_PORT, 4, 0);
    }
    world.write(data, DATA_PORT, 2, u32::from(vector));
    world.write(POSITION, DATA_PORT + 2, 2, 1);
}

/// A write of dom0's never changes a byte of the capability, nor INTx-disable.
fn check_host(world: &World, offset: u16, size: u8, value: u32) {
    let value = value & u32::MAX >> (32 - 8 * u32::from(size));
    let access = ConfigAccess::at(offset, size).expect("an aligned access");
    let kept = world.guest.host_write(DEVICE, access, value);
    let owned = (0..i32::from(size)).any(|byte| world.model.owns(i32::from(offset) + byte));
    match kept {
        None => assert!(owned, "drops a write to {offset:#x}"),
        Some(kept) => {
            assert!(!owned, "lets a write to {offset:#x} pass");
            let intx = (offset..offset + u16::from(size)).contains(&5).then(|| 0x400u32 >> (8 * (offset - 4)));
            let mask = intx.unwrap_or(0);
            assert_eq!(kept & !mask, value & !mask, "changes other bits");
            assert_eq!(kept & mask != 0, world.hardware.intx_disabled && mask != 0, "INTx-disable of dom0's");
        }
    }
}

fn run(layout: Layout, steps: &[Step]) -> World {
    let mut world = World::new(layout);
    for step in steps {
        take(&mut world, step);
        world.check_delivery();
    }
    world.guest.release(DEVICE, &mut world.hardware);
    assert!(!world.hardware.enabled && world.hardware.mapped.is_empty(), "release leaves something behind");
    world
}

fn layout() -> impl Strategy<Value = Layout> {
    prop::sample::select(&Layout::EVERY[..])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_for_any_guest(layout in layout(), steps in prop::collection::vec(step(), 1..60)) {
        run(layout, &steps);
    }

    #[test]
    fn invariants_hold_when_xen_fails(
        layout in layout(),
        steps in prop::collection::vec(
            prop_oneof![8 => step(), 1 => (0u32..3).prop_map(|after| Step::Fail { after })], 1..60,
        ),
    ) {
        run(layout, &steps);
    }

    #[test]
    fn log_is_bounded(layout in layout(), steps in prop::collection::vec(step(), 200..400)) {
        let world = run(layout, &steps);
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
    let mut delivered = 0;
    for _ in 0..200 {
        let mut world = World::new(Layout::EVERY[2]);
        let steps = prop::collection::vec(step(), 60).new_tree(&mut runner).unwrap().current();
        for step in &steps {
            take(&mut world, step);
            delivered += u32::from(world.hardware.live().is_some());
        }
    }
    assert!(delivered > 200, "only {delivered} of 12000 steps had a live message");
}
