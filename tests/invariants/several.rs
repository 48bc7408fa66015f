// SPDX-License-Identifier: GPL-2.0-only
//! As many devices as a guest may have, and bindings of the administrator's.

use msitrap::host::guest::DEVICES;
use msitrap::host::hardware::Errno;
use msitrap::host::managed::Known;

use crate::fake::Source;
use crate::kind::{function, host_bars, known, sbdf, Kind, MSIX};
use crate::steps::{program_msi, program_msix, Memory};
use crate::world::{World, DATA_PORT};

const KIND: Kind = Kind::EVERY[3];

#[test]
fn every_device_of_a_guest_is_served() {
    let mut world = World::with(&[KIND; DEVICES]);
    for n in 0..DEVICES {
        program_msi(&mut world, n, n as u8, 0x60, 2);
        world.check_read(n, 0x40, DATA_PORT, 4, false);
    }
    world.check_delivery();
    for n in 0..DEVICES {
        world.turn_off(n);
        program_msix(&mut world, n, n as u16, 0x40 + n as u8, 0x8000);
        world.check_memory(n, world.address(n, Memory::Table(8)), 4);
        world.check_memory(n, world.address(n, Memory::Pending(0)), 8);
    }
    world.check_delivery();
    let live = |world: &World, n: usize| {
        world.fake().live(n, Source::Msix(n as u16 % KIND.vectors)).map(|live| live.0)
    };
    assert!((0..DEVICES).all(|n| live(&world, n) == Some(0x40 + n as u8)));
    world.sleep();
    world.check_delivery();
    assert!((0..DEVICES).all(|n| live(&world, n) == Some(0x40 + n as u8)));
    for n in 0..DEVICES {
        world.reset(n);
        world.stop_dma(n);
        world.refuse(n, 0);
        world.host_write(n, MSIX + 2, 2, 0xc000);
        world.check_delivery();
    }
    // The last first.
    (0..DEVICES).rev().for_each(|n| world.release(n));
    world.end();
}

#[test]
fn every_device_is_programmed_again_when_the_host_wakes() {
    let kinds: Vec<Kind> = Kind::both().filter(|kind| !kind.virtual_function).collect();
    let mut world = World::with(&kinds);
    for n in 0..kinds.len() {
        if n % 2 == 0 {
            program_msi(&mut world, n, 1, 0x60, 1);
        } else {
            program_msix(&mut world, n, 0, 0x51, 0x8000);
        }
    }
    world.nap();
    for (n, kind) in kinds.iter().enumerate() {
        let source = if n % 2 == 0 { Source::Msi(0) } else { Source::Msix(0) };
        assert!(world.fake().live(n, source).is_some(), "{kind:?}");
    }
    world.check_delivery();
    world.end();
}

#[test]
fn no_more_devices_than_a_guest_may_have() {
    let mut world = World::with(&[KIND; DEVICES + 1][..DEVICES]);
    assert_eq!(world.manage(3, &known(3, KIND)), Err(Errno::EXISTS));
    let more = Known { sbdf: sbdf(DEVICES), ..known(3, KIND) };
    assert_eq!(world.manage(3, &more), Err(Errno::NO_SPACE));
    world.end();
}

#[test]
fn a_binding_is_as_good_as_a_mapping() {
    for kind in Kind::both() {
        let mut world = World::unassigned(&[kind, kind]);
        let bound = |n| Known { function: Some(function(n)), ..known(n, kind) };
        // What the guest wrote before counts.
        for (register, value) in [(0x10, 0xc000_0000), (0x18, 0xf300_0000), (0x1c, 2), (4, 2)] {
            world.write(0, register, DATA_PORT, 4, value);
        }
        assert_eq!(world.manage(0, &bound(0)), Ok(true));
        world.slots[0].model.learned = true;
        world.enter(|guest, hand| guest.settle(sbdf(0), hand));
        world.check_delivery();
        program_msix(&mut world, 0, 0, 0x51, 0x8000);
        assert!(world.fake().live(0, Source::Msix(0)).is_some(), "{kind:?}");
        // Another device is not the same function; nor by its mapping.
        let second = Known { function: Some(function(0)), ..known(1, kind) };
        assert_eq!(world.manage(1, &second), Err(Errno::BUSY));
        world.assign(1);
        world.check_delivery();
        world.end();
    }
}

#[test]
fn learned_when_the_guest_places_it_and_traps_follow() {
    for kind in Kind::EVERY.into_iter().filter(|kind| kind.gives_msix()) {
        let mut world = World::unassigned(&[kind]);
        world.assign(0);
        let (bar, _) = kind.table_place();
        let at = world.address(0, Memory::Table(0));
        assert!(world.guest.answers(at));
        // Moved: the trap moves, and the device stays the same.
        let moved = at - [0xc000_0000, 0x2_f300_0000][bar] + [0xd000_0000, 0x2_e000_0000][bar];
        world.write(0, 4, DATA_PORT, 2, 0);
        assert!(!world.guest.answers(at));
        let (register, low, high) = [(0x10, 0xd000_0000, 0), (0x18, 0xe000_0000, 2)][bar];
        world.write(0, register, DATA_PORT, 4, low);
        if bar == 1 {
            world.write(0, 0x1c, DATA_PORT, 4, high);
        }
        world.write(0, 4, DATA_PORT, 2, 2);
        assert!(world.guest.answers(moved) && !world.guest.answers(at), "{kind:?}");
        assert_eq!(world.address(0, Memory::Table(0)), moved);
        program_msix(&mut world, 0, 0, 0x51, 0x8000);
        world.check_delivery();
        world.end();
    }
}

#[test]
fn the_last_page_of_a_base_address_is_trapped() {
    let world = World::new(Kind { pending: 0xf_eff8, ..Kind::EVERY[6] });
    let last = world.address(0, Memory::Table(0)) & !0xf_ffff | (host_bars(0)[0].1 - 1);
    assert!(world.guest.answers(last) && !world.guest.answers(last + 1));
    let mut world = world;
    world.end();
}
