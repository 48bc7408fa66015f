// SPDX-License-Identifier: GPL-2.0-only
//! What tests of MSI and of MSI-X have in common. Each is given a way to turn messages on or off:
//! while they are on, the device's first interrupt arrives as `VECTOR` on the first vCPU.

use crate::interrupts::{self, INTX, count, forget, total};
use crate::message::Message;
use crate::msix::{self, Msix};
use crate::pci::{COMMAND, INTX_DISABLE};
use crate::{Device, Msi, apic, check, invalid, mmio, report, say, time};

/// The vector of the message.
pub const VECTOR: u8 = 0x5c;
const TIMES: u32 = 3;
const SETTLE_MS: u64 = 50;
/// How many times that, at most, a line may take to come to rest on a machine that is busy.
const RESTS: u32 = 200;
/// A line that does not come to rest has its device raise once in so many looks.
const LOOKS_PER_RAISE: u32 = 10;
const ROUNDS_IN_FLIGHT: u32 = 50;
const CYCLES: u32 = 200;
// Bits of a message's data.
const LEVEL: u32 = 1 << 15;
const ASSERT: u32 = 1 << 14;
/// Cycles between two looks.
const LOOK: u32 = 20;
/// How long a storm lasts.
pub const STORM_MS: u64 = 400;
const BEAT_MS: u64 = 250;
/// Five minutes.
const BEATS: u64 = 300_000 / BEAT_MS;
/// The vectors that `each_its_own` gives begin here.
pub const FIRST: u8 = 0x40;

/// The message that these cases expect.
pub fn message() -> Message {
    Message::fixed(apic::id(), VECTOR)
}

/// INTx and messages exclude each other: while they are on, INTx never arrives whatever
/// INTx-disable says; when they are off again, what the guest chose for INTx is what counts.
pub fn intx(device: &dyn Device, turn: impl Fn(bool)) {
    choose(device, "at first", false);
    line(device, "not yet on");
    for last in [true, false] {
        turn(true);
        check::delivers("on", device, TIMES, (0, VECTOR));
        for disable in [true, false, !last, last] {
            choose(device, "on", disable);
            check::delivers("on, INTx-disable toggled", device, TIMES, (0, VECTOR));
        }
        turn(false);
        chosen(device, "off again", last);
        if last {
            check::delivers_nothing("off again, INTx disabled", device);
            choose(device, "off", false);
        }
        line(device, "off again");
    }
}

/// The device falls back to INTx, which arrives until it is acknowledged.
pub fn line(device: &dyn Device, what: &str) {
    for _ in 0..TIMES {
        line_at_rest(device, what);
        check::delivers(what, device, 1, (0, INTX));
    }
    line_at_rest(device, what);
}

/// Xen keeps a guest's line asserted from a passed-through device's interrupt to the guest's next
/// end of interrupt, whatever the device does in between: a last INTx may come that is no longer
/// the device's. And what QEMU's devices raised before messages came on, and had acknowledged while
/// they were, some hold until they are acknowledged once more, or have raised once more.
fn line_at_rest(device: &dyn Device, what: &str) {
    let mut came = 0;
    let quiet = (1..=RESTS).any(|look| {
        interrupts::forget();
        device.acknowledge(0);
        time::wait(SETTLE_MS);
        let seen = interrupts::total();
        came += seen;
        if seen != 0 && look % LOOKS_PER_RAISE == 0 {
            device.again(0);
            time::wait(SETTLE_MS);
            device.acknowledge(0);
        }
        seen == 0
    });
    check::that(format_args!("{what}: INTx comes to rest: {came} in {RESTS} looks"), quiet);
}

fn choose(device: &dyn Device, what: &str, disable: bool) {
    device.function().disable_intx(disable);
    chosen(device, what, disable);
}

fn chosen(device: &dyn Device, what: &str, disable: bool) {
    let seen = device.function().read::<u16>(COMMAND) & INTX_DISABLE;
    let expected = if disable { INTX_DISABLE } else { 0 };
    check::equal(format_args!("{what}: INTx-disable"), expected, seen);
}

/// Messages are turned off the moment after the device raised: that interrupt arrives once or not
/// at all, and turning them on again works.
pub fn off_in_flight(device: &dyn Device, turn: impl Fn(bool)) {
    device.function().disable_intx(true);
    for round in 0..ROUNDS_IN_FLIGHT {
        turn(true);
        forget();
        device.raise(0);
        turn(false);
        device.acknowledge(0);
        time::wait(2);
        let seen = total();
        check::that(
            format_args!("round {round}: expected at most one interrupt, saw {seen}"),
            seen <= 1 + device.surplus() && seen == count(0, VECTOR),
        );
    }
    check::delivers_nothing("off for good", device);
    turn(true);
    // What the device still had to say of the last round.
    time::wait(SETTLE_MS);
    check::delivers("on again", device, 10, (0, VECTOR));
    turn(false);
}

/// Messages are turned on and off many times; now and then one is sent.
pub fn cycles(device: &dyn Device, turn: impl Fn(bool)) {
    for cycle in 1..=CYCLES {
        turn(true);
        if cycle % LOOK == 0 {
            check::delivers("after many cycles", device, 1, (0, VECTOR));
        }
        turn(false);
    }
}

/// The BAR with the table moves to `place` while MSI-X is on, and back; MSI-X is left on, with the
/// first entry unmasked.
pub fn move_table(device: &dyn Device, place: usize) {
    let function = device.function();
    let before = Msix::of(function);
    let home = function.bar(before.table_bar());
    before.enable(true);
    before.program(0, message());
    before.write_message(1, Message::fixed(apic::id(), VECTOR + 1));
    check::delivers("before the move", device, TIMES, (0, VECTOR));
    for (what, place) in [("moved", place), ("moved back", home)] {
        function.move_bar(before.table_bar(), place);
        device.registers().follow();
        let msix = Msix::of(function);
        let expected = place as u64 + table_offset(msix);
        check::equal(format_args!("{what}: the table's place"), expected, msix.table() as u64);
        check::entry_reads_back(what, (msix, 0), message());
        check::entry_reads_back(what, (msix, 1), Message::fixed(apic::id(), VECTOR + 1));
        check::delivers(what, device, TIMES, (0, VECTOR));
        msix.mask(0, true);
        check::delivers_nothing("masked at the new place", device);
        check::lets_through(
            "unmasked at the new place",
            device,
            || msix.mask(0, false),
            (0, VECTOR),
        );
    }
}

fn table_offset(msix: Msix) -> u64 {
    u64::from(msix.read::<u32>(msix::TABLE) & !7)
}

/// Messages in every valid form that reach one vCPU with `VECTOR`: what they are, the vCPU, the
/// message.
pub fn ways(ids: [u8; 2]) -> impl Iterator<Item = (&'static str, usize, Message)> {
    [0, 1].into_iter().flat_map(move |target| {
        let fixed = Message::fixed(ids[target], VECTOR);
        let with = |bits: u32| Message { data: fixed.data | bits, ..fixed };
        [
            ("physical destination", target, fixed),
            ("logical destination", target, Message::logical(1 << target, VECTOR)),
            (
                "lowest priority, one to choose from",
                target,
                Message::lowest_priority(1 << target, VECTOR),
            ),
            ("edge, assert", target, with(ASSERT)),
            ("level, assert", target, with(LEVEL | ASSERT)),
        ]
    })
}

/// Turns MSI-X on with the first sources of the device unmasked, `most` at most, each on its own
/// vector from `FIRST` on; how many those are.
pub fn each_its_own(device: &dyn Device, most: u32) -> (Msix, u32) {
    let msix = Msix::of(device.function());
    let sources = device.sources().min(most);
    for n in 0..sources {
        msix.program(n, Message::fixed(apic::id(), FIRST + n as u8));
    }
    msix.enable(true);
    (msix, sources)
}

/// Interrupts come and are counted, until the guest is ended from outside or one is missing: `Beat
/// N: M interrupts`.
pub fn beat(device: &dyn Device, sources: u32) {
    let mut came = 0;
    for beat in 1..=BEATS {
        time::during(BEAT_MS, || {
            for n in 0..sources {
                check::delivers("meanwhile", (device, n), 1, (0, FIRST + n as u8));
                came += total();
            }
        });
        if report::failed() {
            return;
        }
        say!("Beat {beat}: {came} interrupts");
    }
}

/// Messages are turned on and off without a pause while the device raises: no more arrives than was
/// raised, nothing elsewhere, and in the end all is as it should be.
pub fn storm(device: &dyn Device, turn: impl Fn(bool)) {
    device.function().disable_intx(true);
    forget();
    let raised = time::during(STORM_MS, || {
        turn(true);
        device.raise(0);
        turn(false);
        turn(true);
        device.acknowledge(0);
        turn(false);
    });
    time::wait(SETTLE_MS);
    // Being turned on may show what the device still has to say.
    let most = raised * 2 * u64::from(1 + device.surplus());
    let seen = total();
    let held = u64::from(seen) <= most && seen == count(0, VECTOR);
    check::that(format_args!("expected at most {most} interrupts of {raised}, saw {seen}"), held);
    check::delivers_nothing("off", device);
    turn(true);
    time::wait(SETTLE_MS);
    check::delivers("after the storm", device, TIMES, (0, VECTOR));
    turn(false);
}

/// Writes `count` times what must be refused or lost: bad messages in the capability and in the
/// table, accesses that no table serves, and pending bits.
pub fn flood(device: &dyn Device, count: usize) {
    flood_capability(device, count / 4);
    flood_table(device, count - count / 4);
}

fn flood_capability(device: &dyn Device, count: usize) {
    let msi = Msi::of(device.function());
    msi.program(invalid::elsewhere(message()));
    msi.enable(true);
    (0..count).for_each(|n| msi.write(msi.data(), n as u16));
    check::delivers_nothing("a flood of bad messages", device);
    msi.program(message());
    check::delivers("MSI after the flood", device, TIMES, (0, VECTOR));
    msi.enable(false);
}

fn flood_table(device: &dyn Device, count: usize) {
    let msix = Msix::of(device.function());
    msix.enable(true);
    msix.write_message(0, invalid::elsewhere(message()));
    // Each unmasking is a refusal.
    (0..count / 2).for_each(|n| msix.mask(0, n % 2 == 0));
    msix.program(1, invalid::valid());
    let lost = [msix.pba(), msix.register(1, 1), msix.register(1, msix::UPPER + 2)];
    (0..count / 2).for_each(|n| mmio::write(lost[n % lost.len()], !0u32));
    check::entry_reads_back("after the flood", (msix, 1), invalid::valid());
    check::delivers_nothing("an entry with a bad message", device);
    msix.program(0, message());
    check::after_pending();
    check::delivers("MSI-X after the flood", device, TIMES, (0, VECTOR));
    msix.enable(false);
}
