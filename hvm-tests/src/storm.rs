// SPDX-License-Identifier: GPL-2.0-only
//! Both vCPUs at work on one device's interrupts at the same time, for a while.
//!
//! Each phase goes by the TSC. That a vCPU goes on is seen from what it did, however long that
//! takes.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::interrupts::{INTX, forget, seen, total};
use crate::msi::{self, ADDRESS};
use crate::pci::{self, BAR0, BARS, COMMAND, Function, Width};
use crate::vcpu::PATIENCE_MS;
use crate::{Device, Message, Msi, check, report, say, time, vcpu};

const BEAT_MS: u64 = 500;
/// How long a phase lasts.
pub const PHASE_MS: u64 = 2000;
const SETTLE_MS: u64 = 50;
/// How many times that, at most, until what is on its way has come.
const RESTS: u32 = 200;

/// A step in so many does what takes long.
pub const SELDOM: usize = 8;

/// How many messages take turns.
pub const TURNS: usize = 4;
/// The vectors of those messages, each the first of a block of sixteen.
const BLOCKS: [u8; TURNS] = [0x40, 0x50, 0x60, 0x70];
const BLOCK: u8 = 16;

/// A storm of several phases.
pub struct Storm {
    beat: u32,
}

impl Storm {
    /// One that begins. Without a second vCPU the test ends in an error.
    pub fn begin() -> Option<(Self, [u8; 2])> {
        vcpu::start().map(|ids| (Self { beat: 0 }, ids))
    }

    /// For `ms` milliseconds the first vCPU repeats `first` and the second `second`, each given the
    /// number of its step. Each beat is a line, and in each beat both go on; whether they did.
    pub fn phase(
        &mut self,
        what: &str,
        ms: u64,
        mut first: impl FnMut(usize),
        second: impl Fn(usize) + Sync,
    ) -> bool {
        let (mut mine, theirs) = (0, AtomicU64::new(0));
        let mut alive = false;
        let work = || {
            second(theirs.load(Relaxed) as usize);
            theirs.fetch_add(1, Relaxed);
        };
        forget();
        vcpu::beside(&work, || {
            alive = (0..ms.div_ceil(BEAT_MS)).all(|_| {
                let before = theirs.load(Relaxed);
                time::during(BEAT_MS, || {
                    first(mine);
                    mine += 1;
                });
                let alive = time::until(PATIENCE_MS, || theirs.load(Relaxed) != before);
                self.beat += 1;
                let (beat, theirs) = (self.beat, theirs.load(Relaxed));
                say!(
                    "Beat {beat}: {what}: {mine} steps on vCPU 0, {theirs} on vCPU 1, \
                    {} interrupts",
                    total()
                );
                alive
            });
        });
        check::that(format_args!("{what}: vCPU 1 goes on"), alive);
        expected(what);
        alive && !report::failed()
    }

    /// Both vCPUs write one of two values to the 16-bit register in turn, by an address port that
    /// stays: nothing in the guest keeps them apart. The second raises, and does what `beside`
    /// says.
    pub fn phase_of_writes(
        &mut self,
        device: &dyn Device,
        what: &str,
        register: u8,
        values: [u16; 2],
        beside: impl Fn(usize) + Sync,
    ) {
        let port = device.function().select(register);
        self.phase(
            what,
            PHASE_MS / 2,
            |n| u16::output(port, values[n % 2]),
            |n| {
                device.again(0);
                look();
                u16::output(port, values[n % 2]);
                beside(n);
            },
        );
    }
}

/// Message number `n` of those that take turns: vCPU and vector change with each.
pub fn message(ids: [u8; 2], n: usize) -> Message {
    Message::fixed(ids[n % 2], BLOCKS[n % TURNS])
}

/// The data of message number `n`, and the vCPU where it arrives.
pub fn target(n: usize) -> (usize, u8) {
    (n % 2, BLOCKS[n % TURNS])
}

/// Nothing arrived but the vectors of those messages, and INTx.
fn expected(what: &str) {
    for (vcpu, vector, times) in seen() {
        let known = BLOCKS.into_iter().any(|first| (first..first + BLOCK).contains(&vector));
        check::that(
            format_args!("{what}: {times} of vector {vector:#x} on vCPU {vcpu}"),
            known || vector == INTX,
        );
    }
}

/// Lets what the device raised arrive or not, until it has nothing more to say.
pub fn rest(device: &dyn Device) {
    let mut came = 0;
    let quiet = (0..RESTS).any(|_| {
        forget();
        (0..device.sources()).for_each(|n| device.acknowledge(n));
        time::wait(SETTLE_MS);
        came += total();
        total() == 0
    });
    check::that(format_args!("interrupts come to rest: {came} in {RESTS} looks"), quiet);
}

/// Reads the dword that another vCPU selected, whichever it is, a few times.
pub fn look() {
    for _ in 0..4 {
        u32::input(pci::DATA);
    }
}

/// In one of a few steps, writes what it reads to Command or to one of the base address registers,
/// in turn. These are the device model's, and take long.
pub fn rewrite_header(function: Function, n: usize) {
    if n % SELDOM != 0 {
        return;
    }
    match n / SELDOM % (usize::from(BARS) + 1) {
        0 => function.write(COMMAND, function.read::<u16>(COMMAND)),
        bar => {
            let register = BAR0 + 4 * (bar as u8 - 1);
            function.write(register, function.read::<u32>(register));
        }
    }
}

/// The message of 1 << `log2` vectors changes while MSI is on and the device raises all the time.
pub fn rewrite_message(device: &dyn Device, log2: u16) {
    let Some((mut storm, ids)) = Storm::begin() else { return };
    let function = device.function();
    let msi = Msi::of(function);
    let sources = 1 << log2;
    msi.program(message(ids, 0));
    msi.enable_several(log2);
    (0..sources)
        .for_each(|n| check::delivers("at first", (device, n), 1, (0, BLOCKS[0] + n as u8)));
    let raise = |n: usize| device.again(n as u32 % sources);
    // The address port stays: nothing in the guest keeps the vCPUs apart.
    for (what, register) in [("data", msi.data()), ("address", ADDRESS)] {
        let port = function.select(msi.start() + register);
        let write = |n: usize| match register {
            ADDRESS => u32::output(port, message(ids, n).address),
            _ => u16::output(port, message(ids, n).data as u16),
        };
        storm.phase(what, PHASE_MS, write, |n| {
            raise(n);
            look();
            if n % 4 == 0 {
                write(n / 4);
            }
        });
    }
    storm.phase(
        "all registers",
        PHASE_MS,
        |n| msi.program(message(ids, n)),
        |n| {
            raise(n);
            look();
            msi.write(msi.data(), msi.read::<u16>(msi.data()));
            msi.write(msi::CONTROL, msi.control());
            rewrite_header(function, n);
        },
    );
    for turn in 0..TURNS {
        let (vcpu, vector) = target(turn);
        msi.program(message(ids, turn));
        rest(device);
        check::reads_back("afterwards", msi, message(ids, turn));
        (0..sources)
            .for_each(|n| check::delivers("afterwards", (device, n), 2, (vcpu, vector + n as u8)));
    }
    msi.enable(false);
}
