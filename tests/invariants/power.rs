// SPDX-License-Identifier: GPL-2.0-only
//! Devices that sleep, wake and are reset by themselves, and time that passes.

use proptest::prelude::*;

use crate::endpoint::Power;
use crate::fake::Source;
use crate::kind::{Kind, EXPRESS};
use crate::steps::{
    change, change_power, kinds, program_msi, program_msix, step, take, Change, Memory, Step,
};
use crate::world::{World, DATA_PORT};

const WAKE: u64 = 10_000_000;
const RESET: u64 = 100_000_000;

fn step_or_change() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => step(),
        2 => change(),
        1 => prop_oneof![Just(WAKE - 1), Just(WAKE), Just(RESET)].prop_map(Step::Time),
        1 => any::<bool>().prop_map(Step::Decode),
    ]
}

/// A guest that has one MSI-X vector delivered.
fn delivering(kind: Kind) -> World {
    let mut world = World::new(kind);
    program_msix(&mut world, 0, 0, 0x51, 0x8000);
    assert!(world.fake().live(0, Source::Msix(0)).is_some(), "{kind:?}");
    world
}

fn msix_kinds() -> impl Iterator<Item = Kind> {
    Kind::EVERY.into_iter().filter(|kind| kind.gives_msix())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 800,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn nobody_reaches_for_a_device_that_is_away(
        kinds in kinds(),
        steps in prop::collection::vec((any::<usize>(), step_or_change()), 1..60),
    ) {
        let mut world = World::with(&kinds);
        for (n, step) in &steps {
            take(&mut world, *n, step);
            world.check_delivery();
        }
        // Once all are back, all deliver.
        for n in 0..kinds.len() {
            change_power(&mut world, n, Change::Wake);
            world.advance(RESET);
            world.decode_physically(n, true);
            world.host_write(n, 4, 2, 6);
            world.write(n, 4, DATA_PORT, 2, 6);
            let fake = world.fake();
            prop_assert!(fake.devices[n].power == Power::On && !fake.devices[n].away);
        }
        world.check_delivery();
        world.end();
    }
}

#[test]
fn a_device_that_sleeps_delivers_again_when_it_wakes() {
    for kind in msix_kinds() {
        let mut world = delivering(kind);
        change_power(&mut world, 0, Change::Sleep);
        world.check_delivery();
        // What the guest changes meanwhile counts afterwards.
        world.write_memory(0, world.address(0, Memory::Table(8)), 4, 0x62);
        world.write_memory(0, world.address(0, Memory::Table(12)), 4, 1);
        world.write_memory(0, world.address(0, Memory::Table(12)), 4, 0);
        change_power(&mut world, 0, Change::Wake);
        assert!(world.fake().live(0, Source::Msix(0)).is_none());
        world.advance(WAKE);
        world.check_read(0, 0, DATA_PORT, 4, false);
        world.host_write(0, 4, 2, 6);
        world.check_delivery();
        let live = world.fake().live(0, Source::Msix(0)).map(|message| message.0);
        assert_eq!(live, Some(0x62), "{kind:?}");
        world.end();
    }
}

#[test]
fn a_device_that_resets_itself_delivers_again() {
    for kind in msix_kinds() {
        for change in [Change::Reset, Change::OtherReset] {
            let mut world = delivering(kind);
            change_power(&mut world, 0, change);
            world.advance(RESET);
            world.check_read(0, 0, DATA_PORT, 4, false);
            // Of a virtual function its own Command does not decide.
            assert_eq!(
                world.fake().live(0, Source::Msix(0)).is_some(),
                kind.virtual_function,
                "{kind:?}"
            );
            world.host_write(0, 4, 2, 6);
            world.check_delivery();
            assert!(world.fake().live(0, Source::Msix(0)).is_some(), "{kind:?}");
            world.end();
        }
    }
}

#[test]
fn msi_survives_sleep_and_reset() {
    for kind in Kind::EVERY.into_iter().filter(|kind| kind.msi) {
        for change in [Change::Sleep, Change::Reset] {
            let mut world = World::new(kind);
            program_msi(&mut world, 0, 1, 0x60, 2);
            change_power(&mut world, 0, change);
            change_power(&mut world, 0, Change::Wake);
            world.advance(RESET);
            world.check_read(0, 0, DATA_PORT, 4, false);
            world.check_delivery();
            assert!(world.fake().live(0, Source::Msi(0)).is_some(), "{kind:?}");
            world.end();
        }
    }
}

#[test]
fn a_device_is_released_wherever_it_is() {
    for kind in Kind::both() {
        for change in [Change::Sleep, Change::Wake, Change::Reset] {
            for msi in [true, false] {
                let mut world = World::new(kind);
                if msi {
                    program_msi(&mut world, 0, 1, 0x60, 2);
                } else {
                    program_msix(&mut world, 0, 0, 0x51, 0x8000);
                }
                change_power(&mut world, 0, Change::Sleep);
                change_power(&mut world, 0, change);
                world.assign_again(0);
                program_msix(&mut world, 0, 0, 0x51, 0x8000);
                world.check_delivery();
                world.end();
            }
        }
    }
}

/// What a device does not answer must not go back into its registers: all ones in Command have it
/// master the bus, with base addresses of zero.
#[test]
fn a_device_on_its_way_back_gets_no_bits_that_it_did_not_have() {
    for stop in [false, true] {
        let mut world = World::new(Kind::EVERY[3]);
        program_msi(&mut world, 0, 1, 0x60, 0);
        world.host_write(0, EXPRESS + 8, 2, 0x8000);
        if stop {
            world.stop_dma(0);
        } else {
            while world.quiesce_once(0) {}
        }
        let fake = world.fake();
        assert!(
            !fake.devices[0].clobbered,
            "stop {stop}: Command is {:#x}",
            fake.devices[0].command
        );
    }
}
