// SPDX-License-Identifier: GPL-2.0-only
//! The largest table there is, set up and taken down in slices.

use msitrap::host::budget::Budget;
use msitrap::host::managed::Outcome;

use crate::fake::Source;
use crate::kind::{sbdf, Kind, MSIX};
use crate::steps::{change_power, program_msi, Change, Memory};
use crate::world::{World, DATA_PORT};

const VECTORS: u32 = 2048;

/// Every vector has a message and is unmasked behind the function mask.
fn filled() -> World {
    let mut world = World::with(&[Kind { log2: 5, masking: true, ..Kind::LARGEST }]);
    world.write(0, MSIX, DATA_PORT + 2, 2, 0xc000);
    for index in 0..VECTORS {
        world.write_memory(0, world.address(0, Memory::Table(index * 16)), 8, 0xfee0_0000);
        let vector = 0x20 + index % 0xc0;
        world.write_memory(0, world.address(0, Memory::Table(index * 16 + 8)), 8, vector.into());
    }
    world
}

fn live(world: &World) -> usize {
    (0..VECTORS as u16).filter(|index| world.fake().live(0, Source::Msix(*index)).is_some()).count()
}

/// How often an access was made again since.
fn again(world: &mut World) -> u32 {
    std::mem::take(&mut world.retries)
}

#[test]
fn the_largest_table_takes_many_entries_none_of_them_long() {
    let mut world = filled();
    again(&mut world);
    let least = VECTORS * 3 / Budget::CALLS;
    world.write(0, MSIX, DATA_PORT + 2, 2, 0x8000);
    world.check_delivery();
    assert_eq!(live(&world), 2048);
    assert!(again(&mut world) + 1 >= least);
    // Dom0 resets it: all is programmed again.
    world.reset(0);
    world.check_delivery();
    assert_eq!(live(&world), 2048);
    assert!(again(&mut world) >= VECTORS / Budget::STORES + VECTORS / Budget::CALLS - 2);
    change_power(&mut world, 0, Change::Sleep);
    change_power(&mut world, 0, Change::Wake);
    world.advance(10_000_000);
    world.host_write(0, 4, 2, 6);
    world.check_delivery();
    assert_eq!(live(&world), 2048);
    world.turn_off(0);
    assert!(!world.fake().holds_interrupts(0));
    // From MSI-X straight to MSI and back.
    program_msi(&mut world, 0, 1, 0x60, 5);
    world.check_delivery();
    world.turn_off(0);
    world.write(0, MSIX, DATA_PORT + 2, 2, 0x8000);
    world.check_delivery();
    assert_eq!(live(&world), 2048);
    again(&mut world);
    world.release(0);
    assert!(again(&mut world) + 1 >= least);
    println!(
        "the most at one entry: {:?} calls, stores, accesses to configuration space",
        world.fake().most
    );
    world.end();
}

#[test]
fn a_device_that_is_quiesced_half_way_up_goes_down() {
    let mut world = filled();
    let enable = World::access(0, MSIX, DATA_PORT + 2, 2).unwrap();
    let write = |world: &World| world.enter(|guest, hand| guest.write(enable, 0x8000, hand));
    assert_eq!(write(&world), Outcome::Done);
    for _ in 0..5 {
        assert_eq!(write(&world), Outcome::Retry);
    }
    assert!(world.quiesce_once(0));
    // The access is made again meanwhile, and changes nothing.
    assert_eq!(write(&world), Outcome::Retry);
    assert_eq!(live(&world), 0);
    while world.quiesce_once(0) {}
    assert!(!world.fake().holds_interrupts(0));
    write(&world);
    assert!(!world.fake().holds_interrupts(0));
    assert!(!world.fake().devices[0].msix_enabled());
    assert!(!world.enter(|guest, hand| guest.settle(sbdf(0), hand)));
    world.end();
}

#[test]
fn given_up_half_way_down_and_taken_up_again() {
    let mut world = filled();
    world.write(0, MSIX, DATA_PORT + 2, 2, 0x8000);
    let access = World::access(0, MSIX, DATA_PORT + 2, 2).unwrap();
    // Off, of which only a part is done; memory decoding goes, and the rest follows.
    assert_eq!(world.enter(|guest, hand| guest.write(access, 0, hand)), Outcome::Done);
    assert!(world.fake().holds_interrupts(0));
    world.host_write(0, 4, 2, 4);
    world.write(0, MSIX, DATA_PORT + 2, 2, 0);
    assert!(!world.fake().holds_interrupts(0));
    // Of the entries that nobody reached, none is unmasked when it comes back.
    world.write_memory(0, world.address(0, Memory::Table(2047 * 16 + 12)), 4, 1);
    world.host_write(0, 4, 2, 6);
    world.write(0, MSIX, DATA_PORT + 2, 2, 0x8000);
    world.check_delivery();
    assert_eq!(live(&world), 2047);
    world.end();
}

#[test]
fn a_slow_device_takes_more_entries_none_of_them_longer() {
    let mut world = World::new(Kind::EVERY[4]);
    // As long as one hold may go on.
    world.fake().slow = Budget::TIME;
    world.write(0, MSIX, DATA_PORT + 2, 2, 0xc000);
    for index in 0..70 {
        world.write_memory(0, world.address(0, Memory::Table(index * 16)), 8, 0xfee0_0000);
        world.write_memory(0, world.address(0, Memory::Table(index * 16 + 8)), 8, 0x51);
    }
    world.fake().most = [0; 3];
    again(&mut world);
    world.write(0, MSIX, DATA_PORT + 2, 2, 0x8000);
    world.check_delivery();
    let most = world.fake().most[0];
    // One vector, and the one that is begun as its time ends.
    assert!(most <= 6 && again(&mut world) >= 70 / 2 - 1, "{most} calls");
    world.end();
}
