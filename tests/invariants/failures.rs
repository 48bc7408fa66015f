// SPDX-License-Identifier: GPL-2.0-only
//! Xen fails, once or from then on, at each call that can fail: nothing is left half done.

use crate::fake::Source;
use crate::kind::Kind;
use crate::steps::{program_msi, program_msix};
use crate::world::{Stage, World};

/// What a guest, and dom0, do with a device from assignment to release; with every call of Xen's
/// that can fail.
fn live(world: &mut World) {
    if !world.try_assign(0) {
        return;
    }
    world.place(0);
    for (vector, log2) in [(0x50, 0), (0x60, 0), (0x60, 5)] {
        program_msi(world, 0, 1, vector, log2);
        world.check_delivery();
    }
    world.restore(0);
    world.check_delivery();
    world.turn_off(0);
    for entry in 0..4 {
        program_msix(world, 0, entry, 0x50 | entry as u8, 0x8000);
        world.check_delivery();
    }
    for control in [0xc000, 0x8000] {
        program_msix(world, 0, 1, 0x71, control);
        world.check_delivery();
    }
    world.reset(0);
    world.check_delivery();
    world.sleep();
    world.check_delivery();
    world.turn_off(0);
    world.check_delivery();
}

/// A world whose device is not assigned yet, and where the call number `fail_after` fails.
fn world(kind: Kind, fail_after: Option<u32>, keeps_failing: bool) -> World {
    let world = World::unassigned(&[kind]);
    world.fake().fail_after = fail_after;
    world.fake().keeps_failing = keeps_failing;
    world
}

/// Both capabilities deliver.
fn check_works(world: &mut World) {
    program_msi(world, 0, 1, 0x50, 0);
    world.check_delivery();
    assert!(world.fake().live(0, Source::Msi(0)).is_some());
    world.turn_off(0);
    program_msix(world, 0, 0, 0x51, 0x8000);
    world.check_delivery();
    assert!(world.fake().live(0, Source::Msix(0)).is_some());
}

/// Lives with that failure; once it is over, everything works.
fn fail(kind: Kind, call: u32, keeps_failing: bool) {
    let mut world = world(kind, Some(call), keeps_failing);
    live(&mut world);
    assert!(world.fake().failures > 0, "call {call} of {kind:?} did not fail");
    world.fake().fail_after = None;
    if world.slots[0].stage == Stage::Assigned {
        world.release(0);
    }
    world.assign(0);
    check_works(&mut world);
    world.end();
}

#[test]
fn every_call_fails_once_and_for_ever() {
    for kind in Kind::both() {
        let mut whole = world(kind, None, false);
        live(&mut whole);
        let calls = whole.fake().fallible;
        whole.end();
        assert!(calls > 10, "only {calls} calls of {kind:?} can fail");
        for call in 0..calls {
            fail(kind, call, false);
            fail(kind, call, true);
        }
    }
}

#[test]
fn without_a_retry_of_its_own_the_guest_gets_it_at_the_next_write() {
    for kind in Kind::both() {
        let mut world = World::new(kind);
        world.fake().fail_after = Some(0);
        program_msi(&mut world, 0, 1, 0x50, 0);
        assert!(world.fake().live(0, Source::Msi(0)).is_none());
        program_msi(&mut world, 0, 1, 0x50, 0);
        world.check_delivery();
        assert!(world.fake().live(0, Source::Msi(0)).is_some());
        world.end();
    }
}
