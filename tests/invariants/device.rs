// SPDX-License-Identifier: GPL-2.0-only
//! Devices that lie once they are assigned, that vanish, and that are reset.

use proptest::prelude::*;

use crate::endpoint::Answers;
use crate::fake::Event;
use crate::kind::Kind;
use crate::steps::{kind, step, take, Step};
use crate::world::World;

/// All that is done to a device that gives such answers.
fn done(kind: Kind, answers: Answers, steps: &[Step]) -> Vec<Event> {
    let mut world = World::new(kind);
    world.answer(answers);
    for step in steps {
        take(&mut world, 0, step);
    }
    world.end();
    let mut fake = world.fake();
    std::mem::take(&mut fake.done)
}

/// Whether it is the host's: such a write has the module look whether the device was reset, and
/// if it seems so the device is programmed with the same once more.
fn is_hosts(step: &Step) -> bool {
    matches!(step, Step::Host { .. } | Step::Decode(_) | Step::Power(_) | Step::Restore)
}

/// What happens to a device between two steps of its guest.
#[derive(Clone, Copy, Debug)]
enum Reset {
    ByLinux,
    InSecret,
    OnRequest,
    BySleep,
}

const RESETS: [Reset; 4] = [Reset::ByLinux, Reset::InSecret, Reset::OnRequest, Reset::BySleep];

fn reset(world: &mut World, reset: Reset) {
    match reset {
        Reset::ByLinux => world.reset(0),
        Reset::InSecret => world.reset_in_secret(0),
        Reset::OnRequest => world.restore(0),
        Reset::BySleep => world.sleep(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_a_device_answers_decides_nothing(
        kind in kind(),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let guests: Vec<Step> = steps.into_iter().filter(|step| !is_hosts(step)).collect();
        prop_assert_eq!(done(kind, Answers::Noise, &guests), done(kind, Answers::Truth, &guests));
    }

    #[test]
    fn a_device_that_is_pulled_out_leaves_nothing_behind(
        kind in kind(),
        before in prop::collection::vec(step(), 1..40),
        after in prop::collection::vec(step(), 0..40),
    ) {
        let mut world = World::new(kind);
        for step in &before {
            take(&mut world, 0, step);
        }
        world.fake().devices[0].pull_out();
        for step in &after {
            take(&mut world, 0, step);
        }
        world.end();
    }

    #[test]
    fn a_device_that_is_reset_delivers_again(
        kind in kind(),
        steps in prop::collection::vec(
            (step(), prop::option::weighted(0.3, any::<usize>())),
            1..40,
        ),
    ) {
        let mut world = World::new(kind);
        for (step, chance) in &steps {
            if is_hosts(step) {
                continue;
            }
            take(&mut world, 0, step);
            if let Some(number) = chance {
                reset(&mut world, RESETS[number % RESETS.len()]);
                world.check_delivery();
            }
        }
        world.end();
    }
}
