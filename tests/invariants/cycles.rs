// SPDX-License-Identifier: GPL-2.0-only
//! A device that comes and goes ten thousand times.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::fake::{Kind, Source};
use crate::steps::{program_msi, program_msix, step, take};
use crate::world::World;

const CYCLES: usize = 10_000;

#[test]
fn ten_thousand_cycles_leave_nothing_behind() {
    let mut runner = TestRunner::deterministic();
    let programs = prop::collection::vec(prop::collection::vec(step(), 0..6), CYCLES);
    let programs = programs.new_tree(&mut runner).unwrap().current();
    let mut worlds: Vec<World> = Kind::EVERY.into_iter().map(World::new).collect();
    for (cycle, program) in programs.iter().enumerate() {
        let world = &mut worlds[cycle % Kind::EVERY.len()];
        program_msi(world, 1, 0x50, 2);
        assert!(world.hardware.live(Source::Msi(0)).is_some(), "MSI in cycle {cycle}");
        world.turn_off();
        program_msix(world, 0, 0x51, 0x8000);
        assert!(world.hardware.live(Source::Msix(0)).is_some(), "MSI-X in cycle {cycle}");
        for step in program {
            take(world, step);
        }
        // Checks that neither interrupts nor bindings, memory or mappings remain.
        world.release();
        world.hardware.done.clear();
        world.hardware.log.clear();
        world.assign_again();
    }
}
