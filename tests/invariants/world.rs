// SPDX-License-Identifier: GPL-2.0-only
//! One guest with its devices: what it does, and what the specification lets it expect.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use msitrap::core::access::ConfigAccess;
use msitrap::core::learn::Mapping;
use msitrap::host::guest::{Guest, GuestAccess};
use msitrap::host::hardware::Errno;
use msitrap::host::managed::{Known, Outcome};
use msitrap::host::refusals::Attempt;

use crate::endpoint::{Answers, Power};
use crate::fake::{tables, Fake, Hand, Message, Source};
use crate::kind::{
    function, guest_bars, host_bars, known, sbdf, Kind, EXPRESS, FEATURES, MSI, MSIX, POWER,
};
use crate::lock::{unlocked, Watched};
use crate::model::Model;
use crate::steps::{take, Memory, Step};

/// The first of the ports through which configuration space is reached.
pub const DATA_PORT: i32 = 0xcfc;
/// How often an access may have to be made again. A table of 2048 vectors takes 64 holds to be
/// bound, and each vector may have to wait a few times.
const RETRIES: u32 = 40_000;

/// Whose a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Unassigned,
    Assigned,
    /// Off for good.
    Quiesced,
}

/// One of the guest's devices.
pub struct Slot {
    pub kind: Kind,
    pub model: Model,
    pub stage: Stage,
    /// Xen failed, or its physical function moved: delivery may be missing until all is applied
    /// anew.
    pub excused: bool,
}

/// A guest with devices, and what the specification says about them.
pub struct World {
    pub guest: Guest<Watched>,
    fake: Mutex<Fake>,
    pub slots: Vec<Slot>,
    /// What others do between an access and its next try.
    pub interludes: VecDeque<(usize, Step)>,
    /// How often an access was made again.
    pub retries: u32,
    /// How many failures of Xen's were looked at.
    failures: u32,
    /// The timer is late: an access may find work unfinished.
    pub lazy: bool,
}

impl World {
    /// One device, assigned and learned.
    pub fn new(kind: Kind) -> Self {
        Self::with(&[kind])
    }

    /// Devices assigned, their base addresses set and mapped, so that they are learned.
    pub fn with(kinds: &[Kind]) -> Self {
        let mut world = Self::unassigned(kinds);
        for n in 0..kinds.len() {
            world.assign(n);
        }
        world
    }

    /// The same before anything is assigned.
    pub fn unassigned(kinds: &[Kind]) -> Self {
        let slot = |kind: &Kind| Slot {
            kind: *kind,
            model: Model::new(*kind),
            stage: Stage::Unassigned,
            excused: false,
        };
        Self {
            guest: Guest::empty(),
            fake: Mutex::new(Fake::new(kinds)),
            slots: kinds.iter().map(slot).collect(),
            interludes: VecDeque::new(),
            retries: 0,
            failures: 0,
            lazy: false,
        }
    }

    /// Xen and the devices, between two entries.
    pub fn fake(&self) -> MutexGuard<'_, Fake> {
        self.fake.try_lock().expect("one at a time")
    }

    fn hand(&self) -> Hand<'_> {
        Hand::new(&self.fake)
    }

    /// One entry, as it is.
    pub fn enter<T>(&self, act: impl FnOnce(&Guest<Watched>, &mut Hand<'_>) -> T) -> T {
        act(&self.guest, &mut self.hand())
    }

    /// What the device answers from now on.
    pub fn answer(&self, answers: Answers) {
        for device in &mut self.fake().devices {
            device.answers = answers;
        }
    }

    pub fn assign(&mut self, n: usize) {
        assert!(self.try_assign(n), "Xen has all that it takes");
        self.place(n);
    }

    /// Manages a device of which this is known: Ok as [`Guest::manage`] says, Err with nothing left
    /// behind.
    pub fn manage(&mut self, n: usize, known: &Known) -> Result<bool, Errno> {
        let fake = self.fake();
        let before = (fake.windows, tables(), fake.log.len(), fake.done.len());
        drop(fake);
        let result = unlocked(|| self.guest.manage(known, &mut self.hand()));
        let mut fake = self.fake();
        if result == Ok(true) {
            (fake.devices[n].assigned, fake.devices[n].away) = (true, true);
            let device = &fake.devices[n];
            assert!(
                !device.msi_enabled() && !device.msix_enabled(),
                "the host's messages outlive assignment"
            );
            fake.check(n);
        } else {
            assert_eq!((fake.windows, tables()), (before.0, before.1), "leaves something behind");
            assert!(!fake.holds_interrupts(n), "holds interrupts of a device that is not managed");
            assert!(fake.log.len() <= before.2 + 1, "says more than one thing");
            let touched = |done: &&(_, u64, u64)| !matches!(**done, ("write", 0x42 | 0x72, 0));
            assert_eq!(fake.done[before.3..].iter().find(touched), None, "does something to it");
        }
        drop(fake);
        if result == Ok(true) {
            self.slots[n].stage = Stage::Assigned;
        }
        result
    }

    /// Assigns it; false, with nothing left behind, where Xen lacked something.
    pub fn try_assign(&mut self, n: usize) -> bool {
        let failures = self.fake().failures;
        let managed = self.manage(n, &known(n, self.slots[n].kind));
        assert!(
            managed.is_ok() || self.fake().failures > failures,
            "manages no device without a reason"
        );
        if managed == Ok(true) {
            return true;
        }
        assert!(managed.is_err(), "there is something to manage");
        false
    }

    /// Base addresses are set, and the device model maps them.
    pub fn place(&mut self, n: usize) {
        let [low, high] = guest_bars(n, 0);
        for (register, value) in [(0x10, low), (0x18, high), (0x1c, high >> 32)] {
            self.write(n, register, DATA_PORT, 4, value as u32);
        }
        self.write(n, 0x04, DATA_PORT, 2, 0x0006);
        self.map(n, 0, low);
    }

    /// The guest turns MSI and MSI-X off.
    pub fn turn_off(&mut self, n: usize) {
        self.write(n, MSI, DATA_PORT + 2, 2, 0);
        self.write(n, MSIX, DATA_PORT + 2, 2, 0);
    }

    /// Dom0 resets the device as Linux does, with what it had saved put back afterwards.
    pub fn reset(&mut self, n: usize) {
        self.host_write(n, 4, 2, 0x0400);
        self.host_write(n, EXPRESS + 8, 2, 0x8000);
        self.advance(100_000_000);
        self.host_write(n, 0x10, 4, host_bars(n)[0].0 as u32);
        self.host_write(n, 4, 2, 0x0006);
    }

    /// It was reset through its bus, of which nobody told, and dom0 writes Command.
    pub fn reset_in_secret(&mut self, n: usize) {
        self.host_write(n, 4, 2, 0x0400);
        self.fake().forget(n);
        self.host_write(n, 4, 2, 0x0006);
    }

    /// The device was reset and dom0, having put back the Command register, asks Xen for the rest.
    pub fn restore(&mut self, n: usize) {
        {
            let mut fake = self.fake();
            let kept = fake.devices[n].command & 2 | 4;
            fake.forget(n);
            fake.devices[n].command = kept;
        }
        self.guest.restore(sbdf(n), &mut self.hand());
        self.settle(n);
    }

    /// The host slept. Bridges wake up later: only when dom0 writes Command the devices are there
    /// again.
    pub fn sleep(&mut self) {
        let decoded: Vec<bool> =
            self.fake().devices.iter().map(|device| device.command & 2 != 0).collect();
        for n in 0..self.slots.len() {
            if !matches!(self.fake().devices[n].power, Power::Returning(_)) {
                self.fake().forget(n);
            }
        }
        self.guest.resume(&mut Hand::resuming(&self.fake));
        for (n, decoded) in decoded.into_iter().enumerate() {
            if self.slots[n].stage == Stage::Unassigned {
                continue;
            }
            if !matches!(self.fake().devices[n].power, Power::Returning(_)) {
                self.fake().forget(n);
            }
            self.host_write(n, 4, 2, if decoded { 6 } else { 4 });
        }
    }

    /// The host slept, and firmware brought the devices back with memory decoded.
    pub fn nap(&mut self) {
        for n in 0..self.slots.len() {
            self.fake().forget(n);
            self.fake().devices[n].command = 6;
        }
        self.guest.resume(&mut Hand::resuming(&self.fake));
    }

    /// Time passes.
    pub fn advance(&mut self, nanoseconds: u64) {
        self.fake().advance(nanoseconds);
        (0..self.slots.len()).for_each(|n| self.settle(n));
    }

    /// The physical function of a virtual one starts or stops decoding memory.
    pub fn decode_physically(&mut self, n: usize, decodes: bool) {
        self.fake().devices[n].physical_decodes = decodes;
        self.slots[n].excused |= self.slots[n].kind.virtual_function;
    }

    /// The device model maps a base address, 0 or 1 for the registers 0 and 2.
    pub fn map(&mut self, n: usize, bar: usize, address: u64) {
        let (start, size) = host_bars(n)[bar];
        let mapping =
            Mapping { guest_frame: address >> 12, machine_frame: start >> 12, count: size >> 12 };
        self.guest.mapped(&mapping, &mut self.hand());
        let slot = &mut self.slots[n];
        if slot.stage == Stage::Assigned && slot.model.bar(bar, size) == Some(address & !0xfff) {
            slot.model.learned = true;
        }
        self.settle(n);
    }

    /// Others have their turn before an access is made again.
    fn again(&mut self, tries: &mut u32) {
        *tries += 1;
        self.retries += 1;
        assert!(*tries < RETRIES, "no end");
        if let Some((n, step)) = self.interludes.pop_front() {
            take(self, n, &step);
        }
    }

    /// What was left unfinished goes on by its timer until it is done.
    pub fn settle(&mut self, n: usize) {
        let mut tries = 0;
        while self.fire(n) {
            self.guest.settle(sbdf(n), &mut self.hand());
            self.again(&mut tries);
        }
    }

    /// Whether the timer fires, within a millisecond.
    fn is_due(&self, n: usize) -> bool {
        let fake = self.fake();
        fake.devices[n].timer.is_some_and(|time| time <= fake.time + 1_000_000)
    }

    fn fire(&self, n: usize) -> bool {
        let due = self.is_due(n);
        if due {
            let mut fake = self.fake();
            let left =
                fake.devices[n].timer.take().map_or(0, |time| time.saturating_sub(fake.time));
            fake.advance(left);
        }
        due
    }

    /// The same, unless the timer is late.
    fn settle_unless_late(&mut self, n: usize) {
        if !self.lazy {
            self.settle(n);
        }
    }

    pub fn access(n: usize, register: u16, port: i32, size: u8) -> Option<GuestAccess> {
        let access = ConfigAccess::from_data_port(register, port as u16, size)?;
        Some(GuestAccess { function: function(n), access })
    }

    /// The offsets in configuration space of an access's bytes that lie in the selected dword.
    pub fn offsets(register: u16, port: i32, size: u8) -> impl Iterator<Item = (usize, i32)> {
        let register = i32::from(register & !3);
        (0..usize::from(size)).filter_map(move |byte| {
            let lane = port - DATA_PORT + byte as i32;
            (0..4).contains(&lane).then_some((byte, register + lane))
        })
    }

    /// After an access the module knows that the device is back.
    fn check_back(&self, n: usize) {
        if self.slots[n].stage == Stage::Assigned && self.slots[n].model.learned {
            let fake = self.fake();
            let device = &fake.devices[n];
            let unseen = device.unseen && device.power == Power::On;
            assert!(!unseen || device.is_gone(), "the device is back, and nobody looks");
        }
    }

    pub fn write(&mut self, n: usize, register: u16, port: i32, size: u8, value: u32) {
        let Some(access) = Self::access(n, register, port, size) else { return };
        let (failures, mut tries) = (self.fake().failures, 0);
        let outcome = loop {
            let owned = Self::offsets(register, port, size)
                .any(|(_, offset)| self.slots[n].model.owns(offset));
            let outcome = self.guest.write(access, value, &mut self.hand());
            self.check_back(n);
            if outcome == Outcome::Retry {
                assert!(self.slots[n].model.learned, "has a write made again that is not Xen's");
                // The guest's header is watched, whoever takes the write.
                self.observe(n, register, port, size, value);
                self.again(&mut tries);
                continue;
            }
            let model = &mut self.slots[n].model;
            for (byte, offset) in Self::offsets(register, port, size) {
                model.write(offset, value.to_le_bytes()[byte]);
            }
            model.settle();
            match outcome {
                Outcome::Done => assert!(owned, "takes a write of the device model's"),
                Outcome::Forward => assert!(!owned, "leaves a write to the device model"),
                other => panic!("{other:?}"),
            }
            break self.slots[n].model.learned && (owned || register & !3 == 4);
        };
        self.settle_unless_late(n);
        self.judge_failures(n, failures, outcome);
    }

    /// What a write puts into the guest's header shows in where the device answers, and in nothing
    /// else yet.
    fn observe(&mut self, n: usize, register: u16, port: i32, size: u8, value: u32) {
        for (byte, offset) in
            Self::offsets(register, port, size).filter(|(_, offset)| *offset < 0x40)
        {
            self.slots[n].model.write_header(offset, value.to_le_bytes()[byte]);
        }
    }

    /// Where all was applied and nothing failed, all has to deliver.
    fn judge_failures(&mut self, n: usize, before: u32, all: bool) {
        let failures = self.fake().failures;
        self.failures = failures;
        if self.failures != before {
            self.slots.iter_mut().for_each(|slot| slot.excused = true);
        } else if all {
            self.slots[n].excused = false;
        }
    }

    pub fn check_read(&mut self, n: usize, register: u16, port: i32, size: u8, mergeable: bool) {
        let Some(access) = Self::access(n, register, port, size) else { return };
        let answer = self.guest.read(access, mergeable, &mut self.hand());
        self.check_back(n);
        self.settle_unless_late(n);
        let model = &self.slots[n].model;
        for byte in 0..usize::from(size) {
            let value = answer.value.to_le_bytes()[byte];
            let mask = answer.mask.to_le_bytes()[byte];
            match Self::offsets(register, port, size)
                .find(|(at, _)| *at == byte)
                .map(|(_, offset)| offset)
            {
                None if answer.mask == 0 => {}
                None => assert_eq!((value, mask), (0xff, 0xff), "a byte beside the dword"),
                Some(offset) if !model.owns(offset) => {
                    assert_eq!(mask, 0, "a byte of the device model's")
                }
                Some(offset) if Model::is_header(offset) && mergeable => {
                    assert_eq!(mask, 0, "ID and next pointer")
                }
                Some(offset) => {
                    assert_eq!(mask, 0xff);
                    assert!(
                        model.read(offset).is_none_or(|seen| seen == value),
                        "offset {offset:#x}: {value:#x}"
                    );
                }
            }
        }
    }

    /// Where the guest has the base address, or would have it.
    fn bar(&self, n: usize, bar: usize) -> u64 {
        self.slots[n].model.bar(bar, host_bars(n)[bar].1).unwrap_or(guest_bars(n, 0)[bar])
    }

    /// The guest's address of a byte of the table's, of the pending bits', or somewhere on their
    /// pages.
    pub fn address(&self, n: usize, place: Memory) -> u64 {
        let kind = self.slots[n].kind;
        let (table, pending) = (kind.table_place(), kind.pending_place());
        let ((bar, start), offset) = match place {
            Memory::Table(offset) => (table, u64::from(offset) % (kind.table_length() + 32)),
            Memory::Pending(offset) => (pending, u64::from(offset) % kind.pending_length()),
            Memory::Beside(offset) => ((table.0, table.1 & !0xfff), u64::from(offset) % 0x1000),
        };
        self.bar(n, bar) + start + offset
    }

    /// Whether Xen answers there: on the pages of table and pending bits, while the guest decodes
    /// memory.
    pub fn traps(&self, n: usize, address: u64) -> bool {
        let Slot { kind, model, stage, .. } = &self.slots[n];
        let within = |(bar, start): (usize, u64), length: u64| {
            let Some(base) = model.bar(bar, host_bars(n)[bar].1) else { return false };
            let pages = (base + start) >> 12..=(base + start + length - 1) >> 12;
            pages.contains(&(address >> 12))
                && (base..base + host_bars(n)[bar].1).contains(&address)
        };
        let places = [
            (kind.table_place(), kind.table_length()),
            (kind.pending_place(), kind.pending_length()),
        ];
        *stage != Stage::Unassigned
            && model.learned
            && kind.gives_msix()
            && places.into_iter().any(|(place, length)| within(place, length))
    }

    /// Where the guest's address lies in the table, if it does.
    pub fn in_table(&self, n: usize, address: u64) -> Option<u64> {
        let (bar, start) = self.slots[n].kind.table_place();
        let base = self.slots[n].model.bar(bar, host_bars(n)[bar].1)?;
        address
            .checked_sub(base + start)
            .filter(|offset| *offset < self.slots[n].kind.table_length())
    }

    pub fn write_memory(&mut self, n: usize, address: u64, size: u8, value: u64) {
        let (failures, mut tries) = (self.fake().failures, 0);
        loop {
            let traps = self.traps(n, address);
            let outcome = self.guest.write_memory(address, size, value, &mut self.hand());
            assert_eq!(outcome != Outcome::Forward, traps, "who gets the write to {address:#x}");
            if !traps {
                break;
            }
            self.check_back(n);
            if outcome == Outcome::Retry {
                self.again(&mut tries);
                continue;
            }
            assert_eq!(outcome, Outcome::Done);
            if let Some(offset) = self.in_table(n, address) {
                self.slots[n].model.write_table(offset, size, value);
            }
            self.slots[n].model.settle();
            break;
        }
        self.settle_unless_late(n);
        self.judge_failures(n, failures, false);
    }

    pub fn check_memory(&mut self, n: usize, address: u64, size: u8) {
        let value = self.guest.read_memory(address, size, &mut self.hand());
        assert_eq!(value.is_some(), self.traps(n, address), "who answers for {address:#x}");
        assert_eq!(value.is_some(), self.guest.answers(address));
        if let (Some(offset), Some(value)) = (self.in_table(n, address), value) {
            assert_eq!(
                value,
                self.slots[n].model.read_table(offset, size),
                "table {offset:#x}, {size} bytes"
            );
            self.check_back(n);
        }
        self.settle_unless_late(n);
    }

    /// Nothing is unfinished here, and the hardware does what the specification lets the guest
    /// expect, unless Xen failed.
    pub fn check_delivery(&mut self) {
        // What others do while one is settled may leave another unsettled.
        while let Some(n) = (0..self.slots.len()).find(|n| self.is_due(*n)) {
            self.settle(n);
        }
        if self.fake().failures != self.failures {
            self.judge_failures(0, self.failures, false);
        }
        (0..self.slots.len()).for_each(|n| self.check_device(n));
    }

    fn check_device(&self, n: usize) {
        let fake = self.fake();
        let (slot, device) = (&self.slots[n], &fake.devices[n]);
        if slot.stage == Stage::Quiesced {
            assert!(!device.msi_enabled() && !device.msix_enabled(), "comes on again");
            return;
        }
        if slot.stage == Stage::Unassigned || !slot.model.learned {
            assert!(!fake.holds_interrupts(n), "delivers before it is known");
            return;
        }
        // On its way back nobody can say, and nobody looked yet.
        if matches!(device.power, Power::Returning(_)) || device.unseen || device.left_again {
            assert!(!device.msix_delivers(), "delivers while nobody reaches its table");
            return;
        }
        assert_eq!(device.intx_disabled(), slot.model.intx_disable(), "INTx");
        let expected = slot.model.last_valid.clone().unwrap_or_default();
        for nth in 0..32 {
            self.check_source(&fake, n, Source::Msi(nth), expected.get(usize::from(nth)).copied());
        }
        if !expected.is_empty() && !slot.excused {
            let vectors = u32::MAX >> (32 - expected.len());
            assert_eq!(
                fake.msi_mask(n) & vectors,
                slot.model.msi_mask() & vectors,
                "the guest's mask"
            );
        }
        for index in 0..slot.kind.vectors {
            let latched = slot.model.latched(index).filter(|_| device.decoded() || slot.excused);
            self.check_source(&fake, n, Source::Msix(index), latched);
        }
    }

    fn check_source(&self, fake: &Fake, n: usize, source: Source, expected: Option<Message>) {
        let live = fake.live(n, source);
        let excused = self.slots[n].excused && live.is_none();
        assert!(
            live == expected || excused,
            "{source:?}: {live:?} arrives at the guest, not {expected:?}"
        );
    }

    /// Whether a write of dom0's takes the device away or brings it back.
    fn is_transition(offset: u16, size: u8) -> bool {
        [POWER + 4, EXPRESS + 9, FEATURES + 4]
            .into_iter()
            .any(|at| (offset..offset + u16::from(size)).contains(&at))
    }

    /// A write of dom0's never changes a byte of the capabilities, nor INTx-disable, and everything
    /// else.
    pub fn host_write(&mut self, n: usize, offset: u16, size: u8, value: u32) {
        let answers = self.fake().devices[n].answers;
        if answers == Answers::Noise && Self::is_transition(offset, size) {
            // Whether such a device is there, nobody can say.
            return;
        }
        let (failures, value) =
            (self.fake().failures, value & u32::MAX >> (32 - 8 * u32::from(size)));
        let access = ConfigAccess::at(offset, size).expect("a width that exists");
        let bytes = (offset..offset + u16::from(size))
            .zip(value.to_le_bytes())
            .filter(|(at, _)| at & !3 == offset & !3);
        let tests_itself = |at: u16, byte: u8| at == 0x0f && byte & 0x40 != 0;
        let owned = bytes
            .clone()
            .any(|(at, byte)| self.slots[n].model.guards(at.into()) || tests_itself(at, byte));
        self.fake().devices[n].on_behalf = bytes.collect();
        let outcome = self.guest.host_write(sbdf(n), access, value, &mut self.hand());
        let left = self.fake().devices[n].end_of_behalf();
        match outcome {
            Outcome::Done => {
                assert!(!owned && left.is_empty(), "a write to {offset:#x} is not made: {left:x?}")
            }
            Outcome::Refused => {
                assert!(owned && !left.is_empty(), "refuses a write to {offset:#x}")
            }
            Outcome::Gone => assert_eq!(self.slots[n].stage, Stage::Unassigned),
            other => panic!("{other:?}"),
        }
        self.check_back(n);
        self.settle(n);
        let applied =
            outcome == Outcome::Done && offset & !3 == 4 && !self.slots[n].kind.virtual_function;
        self.judge_failures(n, failures, applied);
    }

    /// The fault path stops the device's DMA.
    pub fn stop_dma(&mut self, n: usize) {
        let before = std::mem::replace(&mut self.fake().devices[n].stopped, true);
        let managed = self.guest.stop_dma(sbdf(n), &mut self.hand());
        let mut fake = self.fake();
        let device = &mut fake.devices[n];
        device.stopped = before || managed;
        assert_eq!(managed, self.slots[n].stage != Stage::Unassigned);
        assert!(
            !managed
                || device.command & 4 == 0
                || device.answers != Answers::Truth
                || device.power != Power::On
        );
    }

    /// Somebody else tries to change its interrupts.
    pub fn refuse(&mut self, n: usize, attempt: u8) {
        if let Some(attempt) = Attempt::from_number(attempt % 3) {
            self.guest.refuse(sbdf(n), attempt, 17, &mut self.hand());
        }
    }

    /// One step towards its release; whether there is more to do.
    pub fn quiesce_once(&mut self, n: usize) -> bool {
        let more = self.guest.quiesce(sbdf(n), &mut self.hand());
        if self.slots[n].stage == Stage::Assigned {
            self.slots[n].stage = Stage::Quiesced;
        }
        let fake = self.fake();
        let device = &fake.devices[n];
        let silent = !device.msi_enabled() && !device.msix_delivers();
        assert!(
            self.slots[n].stage == Stage::Unassigned || silent,
            "delivers after it was quiesced"
        );
        more
    }

    pub fn release(&mut self, n: usize) {
        let mut tries = 0;
        while self.quiesce_once(n) {
            self.again(&mut tries);
        }
        let fake = self.fake();
        let device = &fake.devices[n];
        assert!(!device.msi_enabled() && !device.msix_enabled(), "is on after it was quiesced");
        assert!(!fake.holds_interrupts(n), "holds interrupts after it was quiesced");
        drop(fake);
        self.release_quiesced(n);
    }

    fn release_quiesced(&mut self, n: usize) {
        let (windows, before) = (self.fake().windows, tables());
        unlocked(|| self.guest.release(sbdf(n), &mut self.hand()));
        let slot = &mut self.slots[n];
        let (opened, allocated) =
            if slot.kind.gives_msix() && slot.stage != Stage::Unassigned { (2, 2) } else { (0, 0) };
        let mut fake = self.fake.lock().unwrap();
        assert_eq!(fake.windows, windows - opened, "windows");
        assert_eq!(tables(), before - allocated, "tables");
        slot.stage = Stage::Unassigned;
        slot.excused = false;
        if slot.model.learned {
            slot.model = Model::new(slot.kind);
        }
        let device = &mut fake.devices[n];
        device.come_free();
    }

    /// All of them, until nothing is left.
    pub fn end(&mut self) {
        for n in 0..self.slots.len() {
            self.release(n);
        }
        let fake = self.fake();
        assert_eq!((fake.windows, tables()), (0, 0), "leaves something behind");
        assert!((0..self.slots.len()).all(|n| !fake.holds_interrupts(n)));
    }

    /// Released, the device is as it was before, and comes again.
    pub fn assign_again(&mut self, n: usize) {
        self.release(n);
        self.assign(n);
    }

    /// No line is logged twice for an assignment.
    pub fn check_log(&self) {
        let fake = self.fake();
        let mut seen = std::collections::BTreeSet::new();
        for (device, line) in &fake.log {
            if line.starts_with("released") {
                seen.retain(|(owner, _): &(u32, String)| *owner != device.0);
            } else {
                let counts = line.starts_with("attempts of") || line.starts_with("times that");
                assert!(
                    counts || seen.insert((device.0, line.clone())),
                    "'{line}' is logged twice"
                );
            }
        }
    }
}
