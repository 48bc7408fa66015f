// SPDX-License-Identifier: GPL-2.0-only
//! Devices, and Xen, that check the invariants of `docs/threat-model.md` at every single call.
//!
//! The devices lie, sleep, are reset and vanish; Xen fails, has a processor to wait for, spends a
//! budget per entry as the boundary does, and may be called by several threads at once.
//!
//! What this cannot do: it plays no processor that runs beside a call of Xen's, so nothing happens
//! *within* a call; it has no locks but the module's own, so it sees no order of locks (Xen's debug
//! build does); a device loses registers at one instant, not bit by bit; dom0 writes to it through
//! the module only, never past it; no message is raised, only what one would do is looked at.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::num::NonZeroI32;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard};

use msitrap::core::address::Sbdf;
use msitrap::core::layout::Frames;
use msitrap::core::learn::HostBar;
use msitrap::core::message::{BoundMessage, DeliveryMode};
use msitrap::core::table::Entry;
use msitrap::core::trust::Distrust;
use msitrap::host::budget::Budget;
use msitrap::host::hardware::{Detail, Errno, Hardware, Line, Pirq, TableMemory};
use msitrap::host::msix::Vector;
use msitrap::memory::{Owned, Window};
use x86_64::PhysAddr;

use crate::endpoint::{Answers, Endpoint, Power};
use crate::kind::{physical, Kind};
use crate::lock;

/// What Xen bound for the guest, as plain numbers: vector, destination, logical, hint, lowest
/// priority.
pub type Message = (u8, u8, bool, bool, bool);

/// The calls that one entry may make beyond its budget: a block of MSI is given back at once,
/// before and after another one could not be set up.
pub const BEYOND_BUDGET: u32 = 66;
/// Accesses to configuration space of one entry.
pub const CONFIGS: u32 = 16;

/// Which vector an interrupt belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Msi(u8),
    Msix(u16),
}

/// An interrupt that is mapped.
#[derive(Clone, Copy, Debug)]
struct Interrupt {
    device: usize,
    source: Source,
    bound: Option<Message>,
    masked: bool,
    /// Since which of the device's resets it has Xen's message.
    programmed: u32,
}

/// A call that changes something: its name, and two numbers that belong to it.
pub type Event = (&'static str, u64, u64);

/// Xen and the devices, as far as they matter.
#[derive(Debug)]
pub struct Fake {
    pub devices: Vec<Endpoint>,
    noise: u32,
    /// All that was done to the devices and asked of Xen.
    pub done: Vec<Event>,
    mapped: BTreeMap<i32, Interrupt>,
    /// Calls that fail: how many more succeed before one does; and all after it, if so told.
    pub fail_after: Option<u32>,
    pub keeps_failing: bool,
    /// Calls that might have failed.
    pub fallible: u32,
    pub failures: u32,
    /// One in so many first binds would have to wait for another processor.
    pub waits: Option<u32>,
    /// How many did.
    pub waited: u32,
    /// Nanoseconds, and how many each call of Xen's takes.
    pub time: u64,
    pub slow: u64,
    pub log: Vec<(Sbdf, String)>,
    /// Windows that were not closed.
    pub windows: i32,
    next_pirq: i32,
    /// The most that one entry did: calls of Xen's, stores to a table, accesses to configuration
    /// space.
    pub most: [u32; 3],
}

thread_local! {
    /// Memory of tables that was not freed.
    static TABLES: Cell<i32> = const { Cell::new(0) };
}

/// Slices that this thread allocated and did not free.
pub fn tables() -> i32 {
    TABLES.get()
}

impl Fake {
    pub fn new(kinds: &[Kind]) -> Self {
        Self {
            devices: (0..).zip(kinds).map(|(n, kind)| Endpoint::new(n, *kind)).collect(),
            noise: 0x1234_5678,
            done: Vec::new(),
            mapped: BTreeMap::new(),
            fail_after: None,
            keeps_failing: false,
            fallible: 0,
            failures: 0,
            waits: None,
            waited: 0,
            time: 0,
            slow: 0,
            log: Vec::new(),
            windows: 0,
            next_pirq: 55,
            most: [0; 3],
        }
    }

    /// Whether interrupts of the device are mapped.
    pub fn holds_interrupts(&self, n: usize) -> bool {
        self.mapped.values().any(|interrupt| interrupt.device == n)
    }

    fn found(&self, n: usize, source: Source) -> Option<&Interrupt> {
        let device = &self.devices[n];
        let found = device.interrupt(source).map(|pirq| &self.mapped[&pirq])?;
        (found.programmed == device.resets).then_some(found)
    }

    /// The message that reaches the guest when the device raises this interrupt now.
    pub fn live(&self, n: usize, source: Source) -> Option<Message> {
        let device = &self.devices[n];
        let found = self.found(n, source)?;
        match source {
            Source::Msi(nth) => found
                .bound
                .filter(|_| device.msi_enabled() && u32::from(nth) < device.msi_vectors()),
            Source::Msix(_) => found.bound.filter(|_| !device.silent(source) && !found.masked),
        }
    }

    /// Which MSI vectors the guest's mask holds back.
    pub fn msi_mask(&self, n: usize) -> u32 {
        (0..32).fold(0, |mask, nth| {
            let masked = self.devices[n].msi[nth].is_some_and(|pirq| self.mapped[&pirq].masked);
            mask | u32::from(masked) << nth
        })
    }

    /// Time passes.
    pub fn advance(&mut self, nanoseconds: u64) {
        self.time += nanoseconds;
        for device in &mut self.devices {
            if matches!(device.power, Power::Returning(until) if until <= self.time) {
                device.power = Power::On;
            }
        }
    }

    fn fails(&mut self) -> Result<(), Errno> {
        self.fallible += 1;
        match self.fail_after {
            Some(0) => {
                self.fail_after = self.keeps_failing.then_some(0);
                self.failures += 1;
                Err(Errno(28))
            }
            Some(more) => {
                self.fail_after = Some(more - 1);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn noise(&mut self) -> u32 {
        self.noise = self.noise.rotate_left(7).wrapping_mul(0x9e37_79b1) ^ 0x7f4a_7c15;
        self.noise
    }

    fn did(&mut self, name: &'static str, first: u64, second: u64) {
        self.done.push((name, first, second));
    }

    /// Invariants 2 and 3, which hold after every single call.
    pub fn check(&self, n: usize) {
        let device = &self.devices[n];
        if !device.assigned {
            return;
        }
        assert!(!(device.msi_enabled() && device.msix_enabled()), "MSI and MSI-X on at once");
        if device.msi_enabled() || device.msix_enabled() {
            assert!(device.intx_disabled(), "INTx deliverable beside messages");
        }
        if device.msi_enabled() {
            for nth in 0..device.msi_vectors() as u8 {
                assert!(
                    self.live(n, Source::Msi(nth)).is_some(),
                    "MSI vector {nth} enabled with nothing bound"
                );
            }
        }
        if !device.msix_delivers() || device.lied {
            return;
        }
        for (index, masked) in (0..).zip(&device.masked) {
            let bound =
                || self.found(n, Source::Msix(index)).is_some_and(|found| found.bound.is_some());
            assert!(*masked || bound(), "MSI-X entry {index} unmasked with nothing bound");
        }
    }

    fn map(&mut self, n: usize, sources: impl Iterator<Item = Source>) -> Result<Pirq, Errno> {
        self.fails()?;
        let first = self.next_pirq;
        for source in sources {
            self.did("map", source.number(), 0);
            let device = &mut self.devices[n];
            assert!(device.interrupt(source).is_none(), "an interrupt was forgotten: {source:?}");
            device.set_interrupt(source, Some(self.next_pirq));
            let interrupt = Interrupt {
                device: n,
                source,
                bound: None,
                masked: true,
                programmed: device.resets,
            };
            self.mapped.insert(self.next_pirq, interrupt);
            self.next_pirq += 1;
        }
        self.check(n);
        Ok(Pirq(NonZeroI32::new(first).unwrap()))
    }

    fn interrupt(&mut self, pirq: Pirq) -> &mut Interrupt {
        self.mapped.get_mut(&pirq.0.get()).expect("uses an interrupt that is not mapped")
    }

    fn remove(&mut self, pirq: i32) -> Option<Interrupt> {
        let interrupt = self.mapped.remove(&pirq)?;
        assert!(interrupt.bound.is_none(), "unmaps what is bound");
        self.devices[interrupt.device].set_interrupt(interrupt.source, None);
        Some(interrupt)
    }

    /// Invariant 6: whether anything, Xen's own code too, may reach for the device's memory.
    fn reachable(&self, n: usize) -> bool {
        self.devices[n].decoded() && !self.devices[n].away
    }
}

impl Source {
    fn number(self) -> u64 {
        match self {
            Self::Msi(nth) => 0x1_0000 | u64::from(nth),
            Self::Msix(index) => index.into(),
        }
    }
}

fn plain(message: &BoundMessage) -> Message {
    (
        message.vector(),
        message.destination(),
        message.destination_logical(),
        message.redirection_hint(),
        message.delivery_mode() == DeliveryMode::LowestPriority,
    )
}

/// What one entry into the module has in hand: Xen, with the budget of that entry.
#[derive(Debug)]
pub struct Hand<'a> {
    fake: &'a Mutex<Fake>,
    budget: Budget,
    begin: u64,
    bounded: bool,
    spent: [u32; 3],
}

impl<'a> Hand<'a> {
    /// For one entry.
    pub fn new(fake: &'a Mutex<Fake>) -> Self {
        let begin = fake.lock().unwrap().time;
        Self { fake, budget: Budget::access(), begin, bounded: true, spent: [0; 3] }
    }

    /// For the time in which no domain runs.
    pub fn resuming(fake: &'a Mutex<Fake>) -> Self {
        Self { budget: Budget::resume(), bounded: false, ..Self::new(fake) }
    }

    /// A call that changes what the lock protects.
    fn locked(&mut self) -> MutexGuard<'a, Fake> {
        assert!(lock::held(), "acts without the lock");
        self.fake.lock().unwrap()
    }

    /// A call that takes long, or waits.
    fn unlocked(&mut self) -> MutexGuard<'a, Fake> {
        assert!(!lock::held() && lock::may_be_free(), "waits with the lock held");
        self.fake.lock().unwrap()
    }

    fn call(&mut self) -> MutexGuard<'a, Fake> {
        self.spent[0] += 1;
        let mut fake = self.locked();
        fake.time += fake.slow;
        fake
    }

    fn config(&mut self) -> MutexGuard<'a, Fake> {
        self.spent[2] += 1;
        assert!(
            lock::held() || lock::may_be_free(),
            "reaches for configuration space without the lock"
        );
        self.fake.lock().unwrap()
    }
}

impl Drop for Hand<'_> {
    /// Invariant 7: what one entry does is bounded.
    fn drop(&mut self) {
        if std::thread::panicking() || !self.bounded {
            return;
        }
        let [calls, stores, configs] = self.spent;
        let mut fake = self.fake.lock().unwrap();
        for (most, spent) in fake.most.iter_mut().zip(self.spent) {
            *most = spent.max(*most);
        }
        drop(fake);
        assert!(calls <= Budget::CALLS + BEYOND_BUDGET, "{calls} calls at one entry");
        // One of the guest's own beside the table.
        assert!(stores <= Budget::STORES + 1, "{stores} stores at one entry");
        assert!(configs <= CONFIGS, "{configs} accesses to configuration space at one entry");
    }
}

fn number(device: Sbdf) -> usize {
    (device.0 as usize - 0x20) / 8
}

/// Memory of a table, counted.
fn owned<T: Clone>(element: T, length: u16) -> Owned<T> {
    unsafe fn free<T>(start: NonNull<T>, length: usize) {
        TABLES.set(TABLES.get() - 1);
        // SAFETY: leaked below, with this length, and freed once.
        drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(start.as_ptr(), length)) });
    }
    TABLES.set(TABLES.get() + 1);
    let elements = Box::leak(vec![element; length.into()].into_boxed_slice());
    // SAFETY: a leaked box is initialised and nobody else's; `free` makes the box again.
    unsafe { Owned::new(NonNull::from(&mut *elements).cast(), elements.len(), free) }
}

/// As the shim has it, in nanoseconds.
const SOON: u64 = 1_000_000;

impl Hardware for Hand<'_> {
    fn budget(&mut self) -> &mut Budget {
        if self.bounded {
            let time = self.fake.lock().unwrap().time;
            self.budget.pass(time - self.begin);
        }
        &mut self.budget
    }

    fn read_config(&mut self, device: Sbdf, register: u16) -> u32 {
        let mut fake = self.config();
        if device.0 >= physical(0).0 {
            assert_eq!(register, 4, "reads of the physical function");
            let n = (device.0 - physical(0).0) as usize / 8;
            return u32::from(fake.devices[n].physical_decodes) << 1;
        }
        let noise = fake.noise();
        fake.devices[number(device)].read(register, noise)
    }

    fn write_config(&mut self, device: Sbdf, offset: u16, size: u8, value: u32) {
        let mut fake = self.config();
        let (n, time) = (number(device), fake.time);
        // The other bits of Command are what the device said of them.
        let known = match (offset, size) {
            (4, 2) if fake.devices[n].stopped => value & 0x404,
            (4, 2) => value & 0x400,
            _ => value,
        };
        fake.did("write", offset.into(), known.into());
        fake.devices[n].write(offset, size, value, time);
        fake.check(n);
    }

    fn bars(&mut self, device: Sbdf) -> [Option<HostBar>; 6] {
        let fake = self.unlocked();
        let device = &fake.devices[number(device)];
        assert!(!device.assigned, "sizes base addresses of a device in use");
        let bar = |index: usize| {
            device.bars[index].map(|(address, size)| HostBar {
                address: PhysAddr::new_truncate(address),
                size,
                is_64bit: index == 1,
            })
        };
        [bar(0), None, bar(1), None, None, None]
    }

    fn check_frames(&mut self, device: Sbdf, frames: Frames) -> Result<(), Distrust> {
        let fake = self.unlocked();
        if fake.devices[number(device)].has_frames(frames.first, frames.last) {
            Ok(())
        } else if frames.first < 0x8_0000 {
            Err(Distrust::Ram)
        } else if fake.devices.iter().any(|other| other.has_frames(frames.first, frames.last)) {
            Err(Distrust::OthersTable)
        } else {
            Err(Distrust::NotGranted)
        }
    }

    fn map_msi(&mut self, device: Sbdf, vectors: u8) -> Result<Pirq, Errno> {
        let mut fake = self.call();
        let n = number(device);
        assert!(!fake.devices[n].msi_enabled(), "programs a message while MSI is enabled");
        let most = 1 << fake.devices[n].kind.offered();
        assert!(vectors.is_power_of_two() && u32::from(vectors) <= most, "{vectors} vectors");
        fake.map(n, (0..vectors).map(Source::Msi))
    }

    fn map_msix(&mut self, device: Sbdf, vector: u16) -> Result<Pirq, Errno> {
        let mut fake = self.call();
        let n = number(device);
        assert!(fake.reachable(n), "programs an entry that cannot be reached");
        let first = fake.map(n, std::iter::once(Source::Msix(vector)))?;
        fake.devices[n].masked[usize::from(vector)] = true;
        Ok(first)
    }

    fn unmap(&mut self, pirq: Pirq) {
        let mut fake = self.call();
        let first = fake.remove(pirq.0.get()).expect("unmaps what is not mapped");
        fake.did("unmap", first.source.number(), 0);
        assert!(
            fake.devices[first.device].silent(first.source),
            "takes the interrupt from under an enabled device"
        );
        let Source::Msi(_) = first.source else { return };
        // All of a block, as they were mapped at once.
        while let Some(other) = fake.devices[first.device].msi.into_iter().flatten().next() {
            fake.remove(other);
        }
    }

    fn bind(&mut self, pirq: Pirq, message: &BoundMessage) -> Result<(), Errno> {
        let mut fake = self.call();
        fake.fails()?;
        let is_first = fake.interrupt(pirq).bound.is_none();
        let chance = fake.noise() >> 8;
        if is_first && fake.waits.is_some_and(|waits| chance % waits == 0) {
            fake.waited += 1;
            return Err(Errno::RESTART);
        }
        let interrupt = fake.interrupt(pirq);
        interrupt.masked |= is_first;
        interrupt.bound = Some(plain(message));
        let (source, n) = (interrupt.source, interrupt.device);
        fake.did("bind", source.number(), message.vector().into());
        fake.check(n);
        Ok(())
    }

    fn unbind(&mut self, pirq: Pirq) {
        let mut fake = self.call();
        let Interrupt { source, device, .. } = *fake.interrupt(pirq);
        fake.did("unbind", source.number(), 0);
        assert!(fake.devices[device].silent(source), "unbinds under an enabled device");
        assert!(fake.interrupt(pirq).bound.take().is_some(), "unbinds twice");
        if let Source::Msix(index) = source {
            // Xen masks it on its way out, where it reaches it.
            fake.devices[device].masked[usize::from(index)] |= fake.reachable(device);
        }
    }

    fn set_masked(&mut self, pirq: Pirq, masked: bool) {
        let mut fake = self.call();
        let interrupt = fake.interrupt(pirq);
        assert!(interrupt.bound.is_some(), "masks what is not bound");
        interrupt.masked = masked;
        let (source, n) = (interrupt.source, interrupt.device);
        fake.did("mask", source.number(), masked.into());
        if let Source::Msix(index) = source {
            assert!(fake.reachable(n), "masks an entry that cannot be reached");
            fake.devices[n].masked[usize::from(index)] = masked;
        }
        fake.check(n);
    }

    fn reprogram(&mut self, pirq: Pirq) -> Result<(), Errno> {
        let mut fake = self.call();
        let Interrupt { source, masked, device: n, .. } = *fake.interrupt(pirq);
        match source {
            Source::Msi(_) => {
                assert!(!fake.devices[n].msi_enabled(), "programs a message while MSI is enabled")
            }
            Source::Msix(_) => {
                assert!(!fake.devices[n].msix_delivers(), "programs an entry while it may deliver")
            }
        }
        fake.fails()?;
        if matches!(source, Source::Msix(_)) && !fake.reachable(n) {
            // As Xen answers, which looks for itself.
            return Err(Errno(6));
        }
        fake.did("again", source.number(), 0);
        let resets = fake.devices[n].resets;
        if let Source::Msix(index) = source {
            fake.devices[n].masked[usize::from(index)] = masked && !fake.devices[n].is_gone();
        }
        fake.interrupt(pirq).programmed = resets;
        Ok(())
    }

    fn set_away(&mut self, device: Sbdf, away: bool) -> bool {
        let mut fake = self.locked();
        let device = &mut fake.devices[number(device)];
        if !device.assigned {
            return false;
        }
        let there = device.is_there() || device.answers != Answers::Truth;
        assert!(away || there, "lets Xen reach for what is not there");
        assert_ne!(device.away, away, "says it twice");
        device.away = away;
        true
    }

    fn settle_at(&mut self, device: Sbdf, time: u64) {
        let mut fake = self.locked();
        fake.devices[number(device)].timer = Some(time);
    }

    fn settle_soon(&mut self, device: Sbdf) {
        let soon = self.fake.lock().unwrap().time + SOON;
        self.settle_at(device, soon);
    }

    fn allocate_table(&mut self, vectors: u16) -> Result<TableMemory, Errno> {
        self.unlocked().fails()?;
        Ok(TableMemory {
            entries: owned(Entry::RESET, vectors),
            vectors: owned(Vector::UNUSED, vectors),
        })
    }

    fn open(&mut self, frames: Frames) -> Result<Window, Errno> {
        let mut fake = self.unlocked();
        let owner = fake.devices.iter().any(|device| device.has_frames(frames.first, frames.last));
        assert!(owner, "opens memory that is no device's: {frames:x?}");
        fake.fails()?;
        fake.windows += 1;
        // SAFETY: nothing is ever reached through it.
        Ok(unsafe { Window::new(frames, 0x1000) })
    }

    fn close(&mut self, _: Window) {
        self.unlocked().windows -= 1;
    }

    fn read_memory(&mut self, window: &Window, address: u64, size: u8) -> u64 {
        let mut fake = self.locked();
        let n = fake.whose(address);
        assert!(fake.reachable(n), "reads memory that cannot be reached");
        assert!(window.locate(address, size).is_some(), "reads {address:#x} outside of its window");
        let table = fake.devices[n].table_address();
        let within = (table..table + fake.devices[n].kind.table_length()).contains(&address);
        assert!(!within || fake.devices[n].lied, "asks the device for its table");
        match fake.devices[n].answers {
            Answers::Noise => u64::from(fake.noise()),
            Answers::Truth => 0,
            Answers::Gone => u64::MAX,
        }
    }

    fn write_memory(&mut self, window: &Window, address: u64, size: u8, value: u64) {
        self.spent[1] += 1;
        let mut fake = self.locked();
        let n = fake.whose(address);
        assert!(fake.reachable(n), "writes memory that cannot be reached");
        assert!(
            window.locate(address, size).is_some(),
            "writes {address:#x} outside of its window"
        );
        fake.did("memory", address, value);
        if !fake.devices[n].lied {
            let device = &mut fake.devices[n];
            assert!(!device.pending_addresses().contains(&address), "writes pending bits");
            let offset = address.wrapping_sub(device.table_address());
            if let Some(masked) = device.masked.get_mut((offset / 16) as usize) {
                // Invariant 1 again: Xen's own messages come with `map_msix`.
                assert_eq!((offset % 16, size, value), (12, 4, 1), "writes the table");
                *masked = true;
            }
        }
        fake.check(n);
    }

    fn now(&mut self) -> u64 {
        self.fake.lock().unwrap().time
    }

    fn log(&mut self, device: Sbdf, line: Line) {
        let text = line.text.to_string_lossy().into_owned();
        assert!(!matches!(line.detail, Detail::Domain(_)) || text.ends_with(" for"), "{text}");
        self.fake.lock().unwrap().log.push((device, text));
    }
}

impl Fake {
    /// Whose memory this is.
    fn whose(&self, address: u64) -> usize {
        let frame = address >> 12;
        self.devices
            .iter()
            .position(|device| device.has_frames(frame, frame))
            .expect("reaches for no device's memory")
    }

    /// Every register is as after reset, without a word to the module.
    pub fn forget(&mut self, n: usize) {
        self.devices[n].forget();
        self.check(n);
    }
}
