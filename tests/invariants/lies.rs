// SPDX-License-Identifier: GPL-2.0-only
//! Devices that lie at their assignment.

use proptest::prelude::*;

use msitrap::core::access::ConfigAccess;
use msitrap::core::learn::Mapping;
use msitrap::host::guest::GuestAccess;
use msitrap::host::hardware::Errno;
use msitrap::host::managed::Outcome;

use crate::kind::{function, guest_bars, host_bars, known, Kind, MSI, MSIX};
use crate::steps::kind;
use crate::world::{World, DATA_PORT};

/// Registers that are read at assignment.
const REGISTERS: [u16; 7] = [0x00, 0x04, 0x0c, MSI, MSIX, 0x74, 0x78];

/// What a device may say in place of what is true: anything, or something close to it.
#[derive(Clone, Debug)]
enum Lie {
    Any(u32),
    Flip(u32),
}

fn lies() -> impl Strategy<Value = Vec<(u16, Lie)>> {
    let lie = prop_oneof![
        any::<u32>().prop_map(Lie::Any),
        (0u32..32).prop_map(|bit| Lie::Flip(1 << bit)),
        (0u32..32, 0u32..32).prop_map(|(one, other)| Lie::Flip(1 << one | 1 << other)),
    ];
    prop::collection::vec((prop::sample::select(&REGISTERS[..]), lie), 0..3)
}

/// A base address register of another place, or of another size, or none.
fn bar() -> impl Strategy<Value = Option<Option<(u64, u64)>>> {
    let address = prop_oneof![
        // RAM, what belongs to other devices, and what ends where numbers end.
        (0u64..0x8_0000).prop_map(|frame| frame << 12),
        (0u64..0x1000).prop_map(|frame| 0xfe00_0000 | frame << 12),
        Just(host_bars(0)[0].0 + 0x8_0000),
        Just(u64::MAX << 12),
        any::<u64>(),
    ];
    let bar =
        (address, prop_oneof![Just(0x1000u64), Just(0x10_0000), Just(1 << 32), 1u64..0x20_0000]);
    prop_oneof![3 => Just(None), 1 => Just(Some(None)), 2 => bar.prop_map(|bar| Some(Some(bar)))]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_device_that_lies_is_not_assigned_or_reaches_its_own_memory_only(
        kind in kind(), lies in lies(), first in bar(), second in bar(),
    ) {
        let mut world = World::unassigned(&[kind]);
        {
            let mut fake = world.fake();
            let device = &mut fake.devices[0];
            for (register, lie) in &lies {
                let value = match lie {
                    Lie::Any(value) => *value,
                    Lie::Flip(bits) => device.read(*register, 0) ^ bits,
                };
                device.lies.insert(*register, value);
            }
            device.lied = !lies.is_empty() || first.is_some() || second.is_some();
            for (place, lie) in device.bars.iter_mut().zip([first, second]) {
                *place = lie.unwrap_or(*place);
            }
        }
        match world.manage(0, &known(0, kind)) {
            Ok(managed) => {
                prop_assert!(managed);
                // The fake checks every address.
                use_it(&world);
            }
            Err(errno) => {
                prop_assert_eq!(errno, Errno::NOT_PERMITTED);
                prop_assert_eq!(world.fake().log.len(), 1, "says why");
                prop_assert!(!world.fake().devices[0].assigned);
                return Ok(());
            }
        }
        world.end();
    }
}

/// The guest does with it what it can; what the device lied about, the model does not know.
fn use_it(world: &World) {
    let config = |offset: u16, size: u8, value: u32| {
        let access =
            GuestAccess { function: function(0), access: ConfigAccess::at(offset, size).unwrap() };
        while world.enter(|guest, hand| guest.write(access, value, hand)) == Outcome::Retry {}
    };
    let places = guest_bars(0, 0);
    for (offset, value) in [(0x10, places[0]), (0x18, places[1]), (0x1c, places[1] >> 32), (4, 6)] {
        config(offset, 4, value as u32);
    }
    let bars = world.fake().devices[0].bars;
    for (bar, place) in bars.into_iter().zip(places) {
        let Some((start, _)) = bar else { continue };
        let mapping = Mapping { guest_frame: place >> 12, machine_frame: start >> 12, count: 1 };
        world.enter(|guest, hand| guest.mapped(&mapping, hand));
    }
    for offset in [0x44, 0x48, 0x4c] {
        config(offset, 4, [0xfee0_0000, 0, 0x51][(offset as usize - 0x44) / 4]);
    }
    config(MSI + 2, 2, 0x21);
    config(MSI + 2, 2, 0);
    config(MSIX + 2, 2, 0x8000);
    let kind = world.slots[0].kind;
    let mut offsets = vec![kind.table_place().1, kind.pending_place().1];
    let lies = &world.fake().devices[0].lies.clone();
    offsets.extend(
        [0x74, 0x78]
            .iter()
            .filter_map(|register| lies.get(register))
            .map(|place| u64::from(place & !7)),
    );
    let pages = places
        .into_iter()
        .flat_map(|place| offsets.iter().map(move |offset| place + (offset & !0xfff)));
    for address in pages.flat_map(|page| [0, 0xc, 0x3f8, 0x800, 0xffc].map(|at| page + at)) {
        let (dword, qword) = (address & !3, address & !7);
        world.enter(|guest, hand| guest.read_memory(dword, 4, hand));
        while world.enter(|guest, hand| guest.write_memory(qword, 8, 0x51, hand)) == Outcome::Retry
        {
        }
        while world.enter(|guest, hand| guest.write_memory(dword, 4, 0, hand)) == Outcome::Retry {}
    }
}

#[test]
fn a_device_that_tells_the_truth_is_assigned() {
    for kind in Kind::EVERY {
        let mut world = World::unassigned(&[kind]);
        assert_eq!(world.manage(0, &known(0, kind)), Ok(true), "{kind:?}");
        world.write(0, 0x10, DATA_PORT, 4, 0);
        let said = usize::from(kind.msix && !kind.prepared);
        let log = std::mem::take(&mut world.fake().log);
        assert_eq!(log.len(), said, "{kind:?}: {log:?}");
        world.end();
    }
}

#[test]
fn a_table_elsewhere_on_the_same_page_is_not_opened() {
    let kind = Kind { table: 0x2000, pending: 0x3000, ..Kind::EVERY[2] };
    for (table, expected) in [(0x2000, Ok(true)), (0x2008, Err(Errno::NOT_PERMITTED))] {
        let mut world = World::unassigned(&[kind]);
        world.fake().devices[0].lies.insert(0x74, table);
        assert_eq!(world.manage(0, &known(0, kind)), expected, "{table:#x}");
        if expected.is_ok() {
            world.end();
        }
    }
}

#[test]
fn each_frame_of_table_and_pending_bits_has_to_be_granted() {
    for kind in Kind::EVERY.into_iter().filter(|kind| kind.gives_msix()) {
        for (bar, _) in [kind.table_place(), kind.pending_place()] {
            let mut world = World::unassigned(&[kind]);
            // As Xen recorded it, and yet nobody granted it.
            let mut known = known(0, kind);
            for frames in known.msix.iter_mut().flat_map(|msix| msix.frames.iter_mut()).flatten() {
                let shift = |frame: u64| frame - (host_bars(0)[bar].0 >> 12) + 0x5_0000;
                let within = frames.first >= host_bars(0)[bar].0 >> 12
                    && frames.first < (host_bars(0)[bar].0 + host_bars(0)[bar].1) >> 12;
                if within {
                    (frames.first, frames.last) = (shift(frames.first), shift(frames.last));
                }
            }
            world.fake().devices[0].bars[bar] = Some((0x5000_0000, host_bars(0)[bar].1));
            assert_eq!(world.manage(0, &known), Err(Errno::NOT_PERMITTED), "{kind:?}");
            assert_eq!(world.fake().log.len(), 1);
        }
    }
}
