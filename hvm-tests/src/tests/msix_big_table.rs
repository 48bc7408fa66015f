// SPDX-License-Identifier: GPL-2.0-only
//! One vCPU programs, masks, unmasks and turns on a table with hundreds of entries, again and
//! again. How long meanwhile a read of the capability takes on the other vCPU is measured and
//! printed: it is a figure, no verdict.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::cases::FIRST;
use crate::msix::{self, ENABLE, FUNCTION_MASK};
use crate::pci::Width;
use crate::storm::{self, Storm};
use crate::{Device, Message, Msix, apic, check, say, time};

const ALONE_MS: u64 = 500;
const PHASE_MS: u64 = 4000;
const VECTORS: u32 = 64;
const BITS: usize = 64;

/// How long something took, in ticks.
struct Times {
    longest: AtomicU64,
    /// How many took less than 1 << n ticks, and not less than half of that.
    by_size: [AtomicU32; BITS],
}

impl Times {
    const fn new() -> Self {
        Self { longest: AtomicU64::new(0), by_size: [const { AtomicU32::new(0) }; BITS] }
    }

    fn measure(&self, access: impl FnOnce()) {
        let begin = time::ticks();
        access();
        let took = (time::ticks() - begin).max(1);
        self.longest.fetch_max(took, Relaxed);
        self.by_size[took.ilog2() as usize + 1].fetch_add(1, Relaxed);
    }

    fn count(&self) -> u32 {
        self.by_size.iter().map(|times| times.load(Relaxed)).sum()
    }

    /// What so many of a thousand took less than, as a power of two.
    fn of_thousand(&self, share: u64) -> u64 {
        let mut left = (u64::from(self.count()) * share / 1000) as u32;
        let found = self.by_size.iter().position(|times| {
            let here = times.load(Relaxed);
            let last = here > left;
            left = left.saturating_sub(here);
            last
        });
        1 << found.unwrap_or(0)
    }

    /// One line, with the longest as a multiple of a usual access.
    fn show(&self, what: &str, usual: u64) {
        let multiple = |ticks: u64| ticks / usual.max(1);
        let [half, most, longest] =
            [self.of_thousand(500), self.of_thousand(999), self.longest.load(Relaxed)]
                .map(multiple);
        say!(
            "Access {what}: {} times; half take less than {half} times {usual} ticks, \
            999 of 1000 less than {most}, the longest {longest}",
            self.count()
        );
    }
}

pub fn run(device: &dyn Device) {
    let Some((mut storm, _)) = Storm::begin() else { return };
    let msix = Msix::of(device.function());
    let size = msix.size();
    check::that(format_args!("the table has {size} entries, hundreds"), size >= 256);
    let port = device.function().select(msix.start() + msix::CONTROL);
    let [alone, meanwhile] = [const { Times::new() }; 2];
    let read = |times: &Times| {
        times.measure(|| {
            u16::input(port);
        })
    };
    storm.phase("alone", ALONE_MS, |_| time::spin(1), |_| read(&alone));
    // The address port stays: neither vCPU waits for the other in the guest.
    let message = |n: u32| Message::fixed(apic::id(), FIRST + (n % VECTORS) as u8);
    let set = |bits: u16| u16::output(port, bits);
    let round = |n: usize| match n % 6 {
        0 => (0..size).for_each(|n| msix.program(n, message(n))),
        1 => [0, ENABLE, ENABLE | FUNCTION_MASK, ENABLE].into_iter().for_each(set),
        2 => (0..size).for_each(|n| msix.mask(n, true)),
        3 => (0..size).for_each(|n| msix.mask(n, false)),
        4 => msix.clear_table(),
        _ => [0, ENABLE].into_iter().for_each(set),
    };
    storm.phase("the whole table", PHASE_MS, round, |_| read(&meanwhile));
    alone.show("alone", alone.of_thousand(500));
    meanwhile.show("meanwhile", alone.of_thousand(500));
    // A masked entry keeps its interrupt until MSI-X is off, and a guest has few.
    msix.enable(false);
    msix.clear_table();
    msix.enable(true);
    let chosen = [0, device.sources() - 1];
    chosen.into_iter().for_each(|n| msix.program(n, message(n)));
    storm::rest(device);
    chosen
        .into_iter()
        .for_each(|n| check::delivers("afterwards", (device, n), 2, (0, message(n).data as u8)));
    msix.program(size - 1, message(1));
    check::entry_reads_back("the last entry", (msix, size - 1), message(1));
    msix.enable(false);
}
