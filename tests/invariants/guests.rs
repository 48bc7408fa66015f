// SPDX-License-Identifier: GPL-2.0-only
//! Random guests, device models and hosts.

use proptest::prelude::*;

use crate::fake::{Kind, Source};
use crate::steps::{kind, step, take, Step};
use crate::world::World;

fn run(kind: Kind, steps: &[Step]) {
    let mut world = World::new(kind);
    for step in steps {
        take(&mut world, step);
        world.check_delivery();
    }
    world.release();
    let mut lines = world.hardware.log.clone();
    lines.sort();
    lines.dedup();
    assert_eq!(lines.len(), world.hardware.log.len(), "a line is logged twice");
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
        run(kind, &steps);
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
