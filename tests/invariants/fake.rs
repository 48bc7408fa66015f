// SPDX-License-Identifier: GPL-2.0-only
//! A device, and Xen, that check the invariants of `docs/threat-model.md` at every single call.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::num::NonZeroI32;

use msitrap::core::address::Sbdf;
use msitrap::core::layout::Frames;
use msitrap::core::learn::HostBar;
use msitrap::core::message::{BoundMessage, DeliveryMode};
use msitrap::core::table::Entry;
use msitrap::host::hardware::{Errno, Hardware, Pirq, Positions, TableMemory, Window};
use msitrap::host::msix::Vector;
use x86_64::PhysAddr;

/// The device under test, 0000:00:04.0.
pub const DEVICE: Sbdf = Sbdf(0x20);
/// Where its MSI capability stands.
pub const MSI: u16 = 0x40;
/// Where its MSI-X capability stands.
pub const MSIX: u16 = 0x70;
/// Where its BARs 0 and 2 lie on the host, and how long they are.
pub const BARS: [(u64, u64); 2] = [(0xfea0_0000, 0x10_0000), (0x12_3400_0000, 0x1_0000)];

/// What kind of device it is.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub address_64: bool,
    pub masking: bool,
    /// log2 of the vectors that its MSI has.
    pub log2: u16,
    /// Vectors of its MSI-X, and where the table and the pending bits are, as in its registers.
    pub vectors: u16,
    pub table: u32,
    pub pending: u32,
}

impl Kind {
    pub const EVERY: [Self; 6] = [
        Self { address_64: false, masking: false, log2: 0, vectors: 1, table: 0x2000, pending: 0x3000 },
        Self { address_64: false, masking: true, log2: 3, vectors: 5, table: 0x0, pending: 0x2 },
        Self { address_64: true, masking: false, log2: 4, vectors: 8, table: 0x2, pending: 0x82 },
        Self { address_64: true, masking: true, log2: 5, vectors: 20, table: 0xff0, pending: 0x3ff8 },
        Self { address_64: true, masking: true, log2: 1, vectors: 70, table: 0x1002, pending: 0x8000 },
        Self { address_64: true, masking: false, log2: 7, vectors: 3, table: 0x800, pending: 0x0 },
    ];

    /// MSI's Message Control after reset.
    pub fn msi_control(self) -> u16 {
        self.log2 << 1 | u16::from(self.address_64) << 7 | u16::from(self.masking) << 8
    }

    fn table_address(self) -> u64 {
        BARS[self.table as usize % 8 / 2].0 + u64::from(self.table & !7)
    }

    fn pending_address(self) -> std::ops::Range<u64> {
        let start = BARS[self.pending as usize % 8 / 2].0 + u64::from(self.pending & !7);
        start..start + u64::from(self.vectors).div_ceil(64) * 8
    }
}

/// What Xen bound for the guest, as plain numbers: vector, destination, logical, hint, lowest
/// priority.
pub type Message = (u8, u8, bool, bool, bool);

fn plain(message: &BoundMessage) -> Message {
    (
        message.vector(),
        message.destination(),
        message.destination_logical(),
        message.redirection_hint(),
        message.delivery_mode() == DeliveryMode::LowestPriority,
    )
}

/// Which vector an interrupt belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Msi(u8),
    Msix(u16),
}

/// An interrupt that is mapped.
#[derive(Clone, Copy, Debug)]
struct Interrupt {
    source: Source,
    bound: Option<Message>,
    masked: bool,
    /// The device has Xen's message for it.
    programmed: bool,
}

/// What the device answers once it is the guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// Something else each time.
    Noise,
    /// What its registers hold.
    Truth,
    /// Nothing: it was pulled out, and no write reaches it any more.
    Gone,
}

/// A call that changes something: its name, and two numbers that belong to it.
pub type Event = (&'static str, u64, u64);

/// The hardware and Xen, as far as they matter.
#[derive(Debug)]
pub struct Fake {
    kind: Kind,
    /// The device is the guest's: from here on what it answers must not matter.
    pub assigned: bool,
    /// What the device answers once assigned.
    pub answers: Answers,
    noise: u32,
    /// All that was done to the device and asked of Xen.
    pub done: Vec<Event>,
    /// The Command register.
    pub command: u16,
    msi_control: u16,
    msix_control: u16,
    /// The mask bits of the MSI-X table, as a host driver left them.
    masked: Vec<bool>,
    mapped: BTreeMap<i32, Interrupt>,
    /// Calls that fail: how many more succeed before one does; and all after it, if so told.
    pub fail_after: Option<u32>,
    pub keeps_failing: bool,
    /// Calls that might have failed.
    pub fallible: u32,
    pub failures: u32,
    pub log: Vec<String>,
    /// Tables and windows that were not given back.
    pub outstanding: i32,
    /// Tables that were given back, for the next to use.
    tables: Vec<TableMemory>,
    /// A write of dom0's that the module makes on its behalf.
    pub on_behalf: Option<(u16, u8, u32)>,
    next_pirq: i32,
}

impl Fake {
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            assigned: false,
            answers: Answers::Noise,
            noise: 0x1234_5678,
            done: Vec::new(),
            command: 0x0402,
            // A host driver may have left them on.
            msi_control: kind.msi_control() | 1,
            msix_control: 0x8000,
            masked: vec![false; kind.vectors.into()],
            mapped: BTreeMap::new(),
            fail_after: None,
            keeps_failing: false,
            fallible: 0,
            failures: 0,
            log: Vec::new(),
            outstanding: 0,
            tables: Vec::new(),
            on_behalf: None,
            next_pirq: 55,
        }
    }

    pub fn msi_enabled(&self) -> bool {
        self.msi_control & 1 != 0
    }

    pub fn msix_enabled(&self) -> bool {
        self.msix_control & 0x8000 != 0
    }

    pub fn intx_disabled(&self) -> bool {
        self.command & 0x400 != 0
    }

    /// Whether its memory is decoded; of one that is gone nobody can tell.
    pub fn decoded(&self) -> bool {
        self.command & 2 != 0 || self.is_gone()
    }

    /// Whether an interrupt is mapped.
    pub fn holds_interrupts(&self) -> bool {
        !self.mapped.is_empty()
    }

    /// The message that reaches the guest when the device raises this interrupt now.
    pub fn live(&self, source: Source) -> Option<Message> {
        let on = match source {
            Source::Msi(nth) => self.msi_enabled() && u32::from(nth) < 1 << (self.msi_control >> 4 & 7),
            Source::Msix(index) => self.msix_delivers() && !self.masked[usize::from(index)],
        };
        let found = self.mapped.values().find(|interrupt| interrupt.source == source && interrupt.programmed)?;
        found.bound.filter(|_| on && (!found.masked || matches!(source, Source::Msi(_))))
    }

    /// Which MSI vectors the guest's mask holds back.
    pub fn msi_mask(&self) -> u32 {
        self.mapped.values().fold(0, |mask, interrupt| match interrupt.source {
            Source::Msi(nth) => mask | u32::from(interrupt.masked) << nth,
            Source::Msix(_) => mask,
        })
    }

    fn msix_delivers(&self) -> bool {
        self.msix_control & 0xc000 == 0x8000
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

    /// Invariants 2 and 3, which hold after every single write.
    fn check(&self) {
        if !self.assigned {
            return;
        }
        assert!(!(self.msi_enabled() && self.msix_enabled()), "MSI and MSI-X on at once");
        if self.msi_enabled() || self.msix_enabled() {
            assert!(self.intx_disabled(), "INTx deliverable beside messages");
        }
        if self.msi_enabled() {
            let vectors = 1u8 << (self.msi_control >> 4 & 7);
            for nth in 0..vectors {
                assert!(
                    self.live(Source::Msi(nth)).is_some(),
                    "MSI vector {nth} of {vectors} enabled with nothing bound"
                );
            }
        }
        for (index, masked) in (0..).zip(&self.masked) {
            let bound =
                self.mapped.values().any(|i| i.source == Source::Msix(index) && i.bound.is_some() && i.programmed);
            assert!(!self.msix_delivers() || *masked || bound, "MSI-X entry {index} unmasked with nothing bound");
        }
    }

    fn map(&mut self, sources: impl Iterator<Item = Source>) -> Result<Pirq, Errno> {
        self.fails()?;
        let first = self.next_pirq;
        for source in sources {
            self.did("map", source.number(), 0);
            assert!(self.mapped.values().all(|i| i.source != source), "an interrupt was forgotten: {:?}", self.mapped);
            self.mapped.insert(self.next_pirq, Interrupt { source, bound: None, masked: true, programmed: true });
            self.next_pirq += 1;
        }
        self.check();
        Ok(Pirq(NonZeroI32::new(first).unwrap()))
    }

    fn interrupt(&mut self, pirq: Pirq) -> &mut Interrupt {
        self.mapped.get_mut(&pirq.0.get()).expect("uses an interrupt that is not mapped")
    }

    /// Whether the device cannot raise this interrupt.
    fn silent(&self, source: Source) -> bool {
        match source {
            Source::Msi(_) => !self.msi_enabled(),
            Source::Msix(index) => !self.msix_delivers() || self.masked[usize::from(index)],
        }
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

impl Hardware for Fake {
    fn read_config(&mut self, device: Sbdf, register: u16) -> u32 {
        assert_eq!(device, DEVICE);
        match (self.assigned, self.answers) {
            (true, Answers::Noise) => self.noise(),
            (true, Answers::Gone) => u32::MAX,
            _ => self.register(register),
        }
    }

    fn write_config(&mut self, device: Sbdf, offset: u16, size: u8, value: u32) {
        // Invariant 1: addresses and data are Xen's to write, through `map`; only control is written.
        assert_eq!(device, DEVICE);
        self.did("write", offset.into(), value.into());
        match (offset, size) {
            _ if self.is_gone() => self.on_behalf = None,
            (0x42, 2) => {
                assert_eq!(value & !0x71, 0, "writes {value:#x} to MSI's control");
                self.msi_control = self.kind.msi_control() | value as u16;
            }
            (0x72, 2) => {
                assert_eq!(value & !0xc000, 0, "writes {value:#x} to MSI-X's control");
                self.msix_control = value as u16;
            }
            _ => {
                let (offset, size, value) = self.on_behalf.take().filter(|b| *b == (offset, size, value)).unwrap();
                self.host_wrote(offset, size, value);
            }
        }
        self.check();
    }

    fn positions(&mut self, _: Sbdf) -> Positions {
        Positions { msi: Some(MSI), msix: Some(MSIX) }
    }

    fn bars(&mut self, _: Sbdf) -> [Option<HostBar>; 6] {
        assert!(!self.assigned, "sizes base addresses of a device in use");
        let bar = |index: usize| {
            Some(HostBar { address: PhysAddr::new(BARS[index].0), size: BARS[index].1, is_64bit: index == 1 })
        };
        [bar(0), None, bar(1), None, None, None]
    }

    fn decoded_by_physical_function(&mut self, _: Sbdf) -> Option<bool> {
        None
    }

    fn set_intx_disable(&mut self, _: Sbdf, disable: bool) {
        self.did("intx", disable.into(), 0);
        if !self.is_gone() {
            self.command = self.command & !0x400 | u16::from(disable) << 10;
        }
        self.check();
    }

    fn map_msi(&mut self, _: Sbdf, vectors: u8) -> Result<Pirq, Errno> {
        assert!(!self.msi_enabled(), "programs a message while MSI is enabled");
        assert!(vectors.is_power_of_two() && u32::from(vectors) <= 1 << self.kind.log2.min(5), "{vectors} vectors");
        self.map((0..vectors).map(Source::Msi))
    }

    fn map_msix(&mut self, _: Sbdf, vector: u16) -> Result<Pirq, Errno> {
        assert!(self.decoded(), "programs an entry while memory is not decoded");
        let first = self.map(std::iter::once(Source::Msix(vector)))?;
        self.masked[usize::from(vector)] = true;
        Ok(first)
    }

    fn unmap(&mut self, pirq: Pirq) {
        let first = self.mapped.remove(&pirq.0.get()).expect("unmaps what is not mapped");
        self.did("unmap", first.source.number(), 0);
        assert!(self.silent(first.source), "takes the interrupt from under an enabled device");
        assert!(first.bound.is_none(), "unmaps what is bound");
        let mut next = pirq.0.get() + 1;
        while matches!(first.source, Source::Msi(_))
            && self.mapped.get(&next).is_some_and(|i| i.source != Source::Msi(0))
        {
            let other = self.mapped.remove(&next);
            assert!(other.is_none_or(|other| other.bound.is_none()), "unmaps what is bound");
            next += 1;
        }
    }

    fn bind(&mut self, pirq: Pirq, message: &BoundMessage) -> Result<(), Errno> {
        self.fails()?;
        let interrupt = self.interrupt(pirq);
        interrupt.masked |= interrupt.bound.is_none();
        interrupt.bound = Some(plain(message));
        let source = interrupt.source;
        self.did("bind", source.number(), message.vector().into());
        self.check();
        Ok(())
    }

    fn unbind(&mut self, pirq: Pirq) {
        let source = self.interrupt(pirq).source;
        self.did("unbind", source.number(), 0);
        assert!(self.silent(source), "unbinds under an enabled device");
        assert!(self.interrupt(pirq).bound.take().is_some(), "unbinds twice");
    }

    fn set_masked(&mut self, pirq: Pirq, masked: bool) {
        let interrupt = self.interrupt(pirq);
        assert!(interrupt.bound.is_some(), "masks what is not bound");
        interrupt.masked = masked;
        let source = interrupt.source;
        self.did("mask", source.number(), masked.into());
        if let Source::Msix(index) = source {
            assert!(self.decoded(), "reaches for an entry while memory is not decoded");
            self.masked[usize::from(index)] = masked;
        }
        self.check();
    }

    fn reprogram(&mut self, pirq: Pirq) -> Result<(), Errno> {
        let Interrupt { source, masked, .. } = *self.interrupt(pirq);
        match source {
            Source::Msi(_) => assert!(!self.msi_enabled(), "programs a message while MSI is enabled"),
            Source::Msix(_) => assert!(!self.msix_delivers(), "programs an entry while it may deliver"),
        }
        self.fails()?;
        if matches!(source, Source::Msix(_)) && !self.decoded() {
            // As Xen answers, which looks for itself.
            return Err(Errno(6));
        }
        self.did("again", source.number(), 0);
        if let Source::Msix(index) = source {
            self.masked[usize::from(index)] = masked && !self.is_gone();
        }
        self.interrupt(pirq).programmed = true;
        Ok(())
    }

    fn allocate_table(&mut self, vectors: u16) -> Result<TableMemory, Errno> {
        assert_eq!(vectors, self.kind.vectors);
        self.fails()?;
        self.outstanding += 1;
        Ok(self.tables.pop().unwrap_or_else(|| TableMemory {
            entries: vec![Entry::RESET; vectors.into()].leak(),
            vectors: vec![Vector::UNUSED; vectors.into()].leak(),
        }))
    }

    fn free_table(&mut self, memory: TableMemory) {
        self.outstanding -= 1;
        self.tables.push(memory);
    }

    fn open(&mut self, frames: Frames) -> Result<Window, Errno> {
        self.fails()?;
        self.outstanding += 1;
        Ok(Window { frames, mapping: 0 })
    }

    fn close(&mut self, _: Window) {
        self.outstanding -= 1;
    }

    fn read_memory(&mut self, window: &Window, address: u64, size: u8) -> u64 {
        assert!(self.decoded(), "reads memory that is not decoded");
        assert!(window.locate(address, size).is_some(), "reads {address:#x} outside of its window");
        let table = self.kind.table_address()..self.kind.table_address() + u64::from(self.kind.vectors) * 16;
        assert!(!table.contains(&address), "asks the device for its table");
        match self.answers {
            Answers::Noise => u64::from(self.noise()),
            Answers::Truth => 0,
            Answers::Gone => u64::MAX,
        }
    }

    fn write_memory(&mut self, window: &Window, address: u64, size: u8, value: u64) {
        assert!(self.decoded(), "writes memory that is not decoded");
        assert!(window.locate(address, size).is_some(), "writes {address:#x} outside of its window");
        assert!(!self.kind.pending_address().contains(&address), "writes pending bits");
        let offset = address.wrapping_sub(self.kind.table_address());
        self.did("memory", address, value);
        if let Some(masked) = self.masked.get_mut((offset / 16) as usize) {
            // Invariant 1 again: Xen's own messages come with `map_msix`.
            assert_eq!((offset % 16, size, value), (12, 4, 1), "writes the table");
            *masked = true;
        }
        self.check();
    }

    fn log(&mut self, _: Sbdf, text: &'static CStr, _: u64) {
        self.log.push(text.to_string_lossy().into_owned());
    }
}

impl Fake {
    fn did(&mut self, name: &'static str, first: u64, second: u64) {
        self.done.push((name, first, second));
    }

    fn noise(&mut self) -> u32 {
        self.noise = self.noise.rotate_left(7) ^ 0x9e37_79b9;
        self.noise
    }

    fn register(&self, register: u16) -> u32 {
        match register {
            0x04 => self.command.into(),
            MSI => u32::from(self.msi_control) << 16 | 0x7005,
            MSIX => u32::from(self.msix_control | (self.kind.vectors - 1)) << 16 | 0x0011,
            0x74 => self.kind.table,
            0x78 => self.kind.pending,
            _ if self.assigned => 0,
            _ => panic!("reads register {register:#x} at assignment"),
        }
    }

    fn is_gone(&self) -> bool {
        self.assigned && self.answers == Answers::Gone
    }

    /// Somebody pulls it out: it raises nothing any more.
    pub fn pull_out(&mut self) {
        self.answers = Answers::Gone;
        (self.msi_control, self.msix_control) = (0, 0);
    }

    /// It forgets everything, as after a reset (PCI Express Base Specification 6.0, section 6.6).
    pub fn reset(&mut self) {
        (self.command, self.msi_control, self.msix_control) = (0, self.kind.msi_control(), 0);
        self.masked.fill(true);
        self.mapped.values_mut().for_each(|interrupt| interrupt.programmed = false);
        self.check();
    }

    /// A write of dom0's, as it reaches the device.
    pub fn host_wrote(&mut self, offset: u16, size: u8, value: u32) {
        for (at, byte) in (offset..offset + u16::from(size)).zip(value.to_le_bytes()) {
            match at {
                4 => self.command = self.command & 0xff00 | u16::from(byte),
                5 => self.command = self.command & 0x00ff | u16::from(byte) << 8,
                _ => {}
            }
        }
        self.check();
    }
}
