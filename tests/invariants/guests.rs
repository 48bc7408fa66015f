// SPDX-License-Identifier: GPL-2.0-only
//! Random guests, device models and hosts.

use proptest::prelude::*;

use crate::endpoint::Answers;
use crate::fake::Source;
use crate::kind::Kind;
use crate::steps::{kinds, step, steps, take, Step};
use crate::world::World;

fn run(kinds: &[Kind], answers: Answers, steps: &[(usize, Step)]) {
    let mut world = World::with(kinds);
    world.answer(answers);
    for (n, step) in steps {
        take(&mut world, *n, step);
        world.check_delivery();
    }
    world.end();
    world.check_log();
}

fn answers() -> impl Strategy<Value = Answers> {
    prop_oneof![2 => Just(Answers::Truth), 1 => Just(Answers::Noise)]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn invariants_hold_for_any_guest(
        kinds in kinds(),
        answers in answers(),
        steps in steps(1..60),
    ) {
        run(&kinds, answers, &steps);
    }

    #[test]
    fn invariants_hold_when_xen_fails(
        kinds in kinds(),
        steps in prop::collection::vec(
            (
                any::<usize>(),
                prop_oneof![8 => step(), 1 => (0u32..3).prop_map(|after| Step::Fail { after })],
            ),
            1..60,
        ),
    ) {
        run(&kinds, Answers::Truth, &steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn log_is_bounded(kinds in kinds(), steps in steps(200..400)) {
        run(&kinds, Answers::Truth, &steps);
    }
}

#[test]
fn random_steps_reach_delivery() {
    // The properties above say little if their guests never get anything delivered.
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut delivered = [0; 4];
    for _ in 0..200 {
        let mut world = World::new(Kind::EVERY[2]);
        let steps = steps(60..61).new_tree(&mut runner).unwrap().current();
        for (_, step) in &steps {
            take(&mut world, 0, step);
            let live = |source| u32::from(world.fake().live(0, source).is_some());
            let entries: u32 = (0..8).map(|index| live(Source::Msix(index))).sum();
            delivered[0] += live(Source::Msi(0));
            delivered[1] += live(Source::Msi(3));
            delivered[2] += u32::from(entries >= 1);
            delivered[3] += u32::from(entries >= 4);
        }
        world.end();
    }
    println!("of 12000 steps with a live MSI, 4 of them, a live entry, 4 of them: {delivered:?}");
    assert!(
        delivered.iter().all(|steps| *steps > 200),
        "only {delivered:?} of 12000 steps had a live message"
    );
}
