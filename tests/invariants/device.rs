// SPDX-License-Identifier: GPL-2.0-only
//! Devices that lie, that vanish, and that are reset.

use proptest::prelude::*;

use crate::fake::{Answers, Event, Kind};
use crate::steps::{kind, step, take, Step};
use crate::world::World;

/// All that is done to a device that gives such answers.
fn done(kind: Kind, answers: Answers, steps: &[Step]) -> Vec<Event> {
    let mut world = World::new(kind);
    world.hardware.answers = answers;
    for step in steps {
        take(&mut world, step);
    }
    world.release();
    world.hardware.done
}

/// Whether it is the host's: such a write has the module look whether the device was reset, and
/// if it seems so the device is told the same once more.
fn is_hosts(step: &Step) -> bool {
    matches!(step, Step::Host { .. } | Step::Decode(_))
}

/// What happens to a device between two steps of its guest.
#[derive(Clone, Copy, Debug)]
enum Reset {
    ByLinux,
    OnRequest,
    BySleep,
}

fn reset(world: &mut World, reset: Reset) {
    match reset {
        Reset::ByLinux => world.reset(),
        Reset::OnRequest => world.restore(),
        Reset::BySleep => world.sleep(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_a_device_answers_decides_nothing(kind in kind(), steps in prop::collection::vec(step(), 1..60)) {
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
            take(&mut world, step);
        }
        world.hardware.pull_out();
        for step in &after {
            take(&mut world, step);
        }
        world.release();
    }

    #[test]
    fn a_device_that_is_reset_delivers_again(
        kind in kind(),
        steps in prop::collection::vec((step(), prop::option::weighted(0.3, any::<u8>())), 1..40),
    ) {
        let mut world = World::new(kind);
        world.hardware.answers = Answers::Truth;
        for (step, chance) in &steps {
            take(&mut world, step);
            if let Some(number) = chance {
                let kinds = [Reset::ByLinux, Reset::OnRequest, Reset::BySleep];
                reset(&mut world, kinds[usize::from(*number) % 3]);
                world.check_delivery();
            }
        }
        world.release();
    }
}
