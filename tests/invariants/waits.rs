// SPDX-License-Identifier: GPL-2.0-only
//! Xen would have to wait for other processors, and all that others do meanwhile.

use proptest::prelude::*;

use crate::fake::Source;
use crate::kind::Kind;
use crate::steps::{kinds, program_msi, program_msix, step, take, Step};
use crate::world::World;

/// What others do between an access and its next try: another vCPU, dom0, the stub domain, the
/// toolstack.
fn interlude() -> impl Strategy<Value = Step> {
    prop_oneof![8 => step(), 1 => Just(Step::Quiesce), 1 => Just(Step::Cycle)]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 600,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn an_access_is_made_again_until_it_is_done(
        kinds in kinds(),
        one_in in 1u32..4,
        steps in prop::collection::vec((any::<usize>(), step(), any::<bool>()), 1..50),
        interludes in prop::collection::vec((any::<usize>(), interlude()), 0..30),
    ) {
        let mut world = World::with(&kinds);
        // One in one would wait for ever.
        world.fake().waits = Some(one_in + 1);
        world.interludes = interludes.into();
        // An access finds what the one before left unfinished.
        world.lazy = true;
        for (n, step, look) in &steps {
            take(&mut world, *n, step);
            if *look {
                world.check_delivery();
            }
        }
        world.end();
        world.check_log();
    }
}

#[test]
fn waiting_is_seen_and_ends() {
    for kind in Kind::both() {
        let mut world = World::new(kind);
        world.fake().waits = Some(2);
        world.lazy = true;
        for round in 0..20 {
            program_msi(&mut world, 0, 1, 0x60, 5);
            world.check_delivery();
            assert!(world.fake().live(0, Source::Msi(0)).is_some());
            world.turn_off(0);
            program_msix(&mut world, 0, round, 0x51, 0x8000);
            world.check_delivery();
            world.turn_off(0);
        }
        assert!(
            world.retries > 10 && world.fake().waited > 10,
            "only {} of {kind:?}",
            world.retries
        );
        world.end();
    }
}
