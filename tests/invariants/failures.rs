// SPDX-License-Identifier: GPL-2.0-only
//! Xen fails, once or from then on, at each call that can fail: nothing is left half done.

use crate::fake::{Answers, Kind, Source};
use crate::steps::{program_msi, program_msix};
use crate::world::World;

/// What a guest, and dom0, do with a device from assignment to release; with every call of Xen's that can fail.
fn live(world: &mut World) {
    if !world.try_assign() {
        return;
    }
    for (vector, log2) in [(0x50, 0), (0x60, 0), (0x60, 5)] {
        program_msi(world, 1, vector, log2);
        world.check_delivery();
    }
    world.restore();
    world.check_delivery();
    world.turn_off();
    for entry in 0..4 {
        program_msix(world, entry, 0x50 | entry as u8, 0x8000);
        world.check_delivery();
    }
    for control in [0xc000, 0x8000] {
        program_msix(world, 1, 0x71, control);
        world.check_delivery();
    }
    world.reset();
    world.check_delivery();
    world.sleep();
    world.check_delivery();
    world.turn_off();
    world.check_delivery();
}

/// A world whose device is not assigned yet, and where the call number `fail_after` fails.
fn world(kind: Kind, fail_after: Option<u32>, keeps_failing: bool) -> World {
    let mut world = World::unassigned(kind);
    world.hardware.answers = Answers::Truth;
    world.hardware.fail_after = fail_after;
    world.hardware.keeps_failing = keeps_failing;
    world
}

/// Lives with that failure; once it is over, everything works.
fn fail(kind: Kind, call: u32, keeps_failing: bool) {
    let mut world = world(kind, Some(call), keeps_failing);
    live(&mut world);
    assert!(world.hardware.failures > 0, "call {call} of {kind:?} did not fail");
    (world.hardware.fail_after, world.hardware.failures) = (None, 0);
    if world.hardware.assigned {
        world.release();
    }
    world.assign_again();
    program_msi(&mut world, 1, 0x50, 0);
    world.check_delivery();
    assert!(world.hardware.live(Source::Msi(0)).is_some());
    world.turn_off();
    program_msix(&mut world, 0, 0x51, 0x8000);
    world.check_delivery();
    assert!(world.hardware.live(Source::Msix(0)).is_some());
    world.release();
}

#[test]
fn every_call_fails_once_and_for_ever() {
    for kind in Kind::EVERY {
        let mut whole = world(kind, None, false);
        live(&mut whole);
        let calls = whole.hardware.fallible;
        assert!(calls > 10, "only {calls} calls of {kind:?} can fail");
        for call in 0..calls {
            fail(kind, call, false);
            fail(kind, call, true);
        }
    }
}

#[test]
fn without_a_retry_of_its_own_the_guest_gets_it_at_the_next_write() {
    for kind in Kind::EVERY {
        let mut world = World::new(kind);
        world.hardware.fail_after = Some(0);
        program_msi(&mut world, 1, 0x50, 0);
        assert!(world.hardware.live(Source::Msi(0)).is_none());
        world.hardware.failures = 0;
        program_msi(&mut world, 1, 0x50, 0);
        world.check_delivery();
        world.release();
    }
}
