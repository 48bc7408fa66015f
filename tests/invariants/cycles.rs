// SPDX-License-Identifier: GPL-2.0-only
//! A device that comes and goes ten thousand times.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::fake::Source;
use crate::kind::Kind;
use crate::steps::{change_power, program_msi, program_msix, step, take, Change};
use crate::world::World;

const CYCLES: usize = 10_000;

#[test]
fn ten_thousand_cycles_leave_nothing_behind() {
    let mut runner = TestRunner::deterministic();
    let programs = prop::collection::vec(prop::collection::vec(step(), 0..6), CYCLES);
    let programs = programs.new_tree(&mut runner).unwrap().current();
    let kinds: Vec<Kind> = Kind::both().filter(|kind| !kind.virtual_function).collect();
    let mut world = World::with(&kinds);
    for (cycle, program) in programs.iter().enumerate() {
        let n = cycle % kinds.len();
        program_msi(&mut world, n, 1, 0x50, 2);
        assert!(world.fake().live(n, Source::Msi(0)).is_some(), "MSI in cycle {cycle}");
        world.turn_off(n);
        program_msix(&mut world, n, 0, 0x51, 0x8000);
        assert!(world.fake().live(n, Source::Msix(0)).is_some(), "MSI-X in cycle {cycle}");
        for step in program {
            take(&mut world, n, step);
        }
        if cycle % 3 == 0 {
            change_power(&mut world, n, Change::Reset);
        }
        // Checks that neither interrupts nor bindings, memory or mappings remain.
        world.release(n);
        world.fake().done.clear();
        world.fake().log.clear();
        world.assign(n);
    }
    world.end();
}
