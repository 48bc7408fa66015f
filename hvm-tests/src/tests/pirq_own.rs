// SPDX-License-Identifier: GPL-2.0-only
//! XSA-16, 96, 237 and more, where Xen lets a guest have PIRQs: the guest binds the PIRQs behind
//! its own device's messages to event channels, and unmaps them. Messages arrive as vectors or as
//! events, and when it is over as vectors again. In the end it takes and maps all there is.

use crate::interrupts::{count, forget, total};
use crate::xen::{self, Kind, Map};
use crate::{Device, Msi, Msix, cases, check, say, time};

/// Where event channels arrive.
const EVENT: u8 = 0x70;
/// No more than these does a guest have.
const PIRQS: u32 = 128;
const ARRIVAL_MS: u64 = 50;
const ROUNDS: u32 = 3;
/// Sources that take part.
const SOURCES: u32 = 3;

pub fn run(device: &dyn Device) {
    device.function().disable_intx(true);
    let answer = xen::set_upcall_vector(EVENT);
    check::that(format_args!("events arrive as a vector: Xen's answer {answer}"), answer == 0);
    for round in 0..ROUNDS {
        let (msix, sources) = cases::each_its_own(device, SOURCES);
        check::after_pending();
        check::delivers("as vectors", device, 2, (0, cases::FIRST));
        bound(device, sources);
        masked(device, msix);
        // What is bound is also masked, turned off and turned on.
        let ports = bind_all();
        msix.mask(0, true);
        msix.enable(round % 2 == 0);
        device.raise(0);
        msix.enable(false);
        device.acknowledge(0);
        msix.enable(true);
        unmap_all();
        close_all(ports);
        msix.enable(false);
        (0..sources).for_each(|n| msix.mask(n, true));
        with_msi(device);
    }
    ask_for_more();
    // The guest may have taken what its device would need: then nothing comes.
    let (msix, sources) = cases::each_its_own(device, SOURCES);
    bound(device, sources);
    msix.enable(false);
}

/// With every PIRQ bound, each interrupt comes once, as a vector or an event, or not at all.
fn bound(device: &dyn Device, sources: u32) {
    let ports = bind_all();
    for n in 0..sources {
        forget();
        device.raise(n);
        time::until(ARRIVAL_MS, || total() != 0);
        device.acknowledge(n);
        time::wait(ARRIVAL_MS);
        let [vectors, events] = [cases::FIRST + n as u8, EVENT].map(|vector| count(0, vector));
        say!("source {n}, bound: {vectors} as a vector, {events} as an event");
        let seen = vectors + events;
        check::that(
            format_args!("source {n}, bound: {} interrupts, {seen} of them known", total()),
            seen == total(),
        );
    }
    close_all(ports);
}

/// Binding the PIRQ of a masked entry may unmask it in hardware; masked again, it is.
fn masked(device: &dyn Device, msix: Msix) {
    msix.mask(0, true);
    close_all(bind_all());
    msix.mask(0, false);
    msix.mask(0, true);
    check::delivers_nothing("masked again", device);
    msix.mask(0, false);
    check::after_pending();
    check::delivers("unmasked again", device, 2, (0, cases::FIRST));
}

/// How many event channels were bound, which are those from the first one on.
fn bind_all() -> Option<(u32, u32)> {
    let mut bound: Option<(u32, u32)> = None;
    for pirq in 0..PIRQS {
        if let Ok(port) = xen::bind(pirq) {
            bound =
                Some(bound.map_or((port, port), |(least, most)| (least.min(port), most.max(port))));
        }
    }
    check::that(format_args!("some PIRQ can be bound"), bound.is_some());
    bound
}

fn close_all(ports: Option<(u32, u32)>) {
    let (first, last) = ports.unwrap_or((1, 0));
    (first..=last).for_each(|port| {
        xen::close(port);
    });
}

fn unmap_all() {
    (0..PIRQS as i32).for_each(|pirq| {
        xen::unmap(pirq);
    });
}

/// All that a guest may map, and what it may not.
fn ask_for_more() {
    let taken = (0..PIRQS).map_while(|_| xen::free_pirq(Kind::Msi).ok());
    say!("{} PIRQs were free", taken.count());
    for kind in [Kind::Msi, Kind::MsiSegment, Kind::MultiMsi] {
        check::refused(format_args!("{kind:?}"), Map::new(kind).ask());
    }
    for index in (0..64).chain([-1, i32::MIN, i32::MAX, 1 << 16]) {
        for pirq in [-1, index] {
            let mut map = Map { index, pirq, ..Map::new(Kind::Gsi) };
            map.ask();
        }
    }
    unmap_all();
}

/// The same with MSI, and nothing is left of what was bound for MSI-X.
fn with_msi(device: &dyn Device) {
    let Some(msi) = Msi::find(device.function()) else { return };
    msi.program(cases::message());
    msi.enable(true);
    let ports = bind_all();
    device.raise(0);
    time::wait(ARRIVAL_MS);
    device.acknowledge(0);
    msi.enable(false);
    close_all(ports);
    unmap_all();
    msi.enable(true);
    check::after_pending();
    check::delivers("MSI afterwards", device, 2, (0, cases::VECTOR));
    msi.enable(false);
}
