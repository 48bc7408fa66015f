// SPDX-License-Identifier: GPL-2.0-only
//! One device: its registers, and whether it is there at all.

use std::collections::{BTreeMap, BTreeSet};

use crate::fake::Source;
use crate::kind::{host_bars, Kind, EXPRESS, FEATURES, MSI, MSIX, POWER};

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

/// Whether it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    On,
    /// In D3hot.
    Asleep,
    /// It answers from this time on.
    Returning(u64),
}

/// A device.
#[derive(Debug)]
pub struct Endpoint {
    pub n: usize,
    pub kind: Kind,
    /// It is the guest's: from here on what it answers must not matter.
    pub assigned: bool,
    pub answers: Answers,
    /// Registers that it lies about at its assignment, with what it says.
    pub lies: BTreeMap<u16, u32>,
    /// The same of its base addresses 0 and 2: address and size.
    pub bars: [Option<(u64, u64)>; 2],
    /// It lied: where its table is, nobody knows.
    pub lied: bool,
    pub power: Power,
    /// Xen's own code keeps away from its memory.
    pub away: bool,
    /// The Command register.
    pub command: u16,
    /// What was read of it last.
    command_read: u16,
    /// Its physical function decodes memory.
    pub physical_decodes: bool,
    /// Its DMA was stopped, and dom0 has not written Command since.
    pub stopped: bool,
    /// A bit of Command other than INTx-disable was set that it did not have.
    pub clobbered: bool,
    msi_control: u16,
    msix_control: u16,
    /// The mask bits of the MSI-X table, as a host driver left them.
    pub masked: Vec<bool>,
    /// The interrupt of each vector.
    pub msi: [Option<i32>; 32],
    pub msix: Vec<Option<i32>>,
    /// Bytes of dom0's write that the module has to make on its behalf.
    pub on_behalf: BTreeMap<u16, u8>,
    /// Bytes of it that were.
    made: BTreeSet<u16>,
    /// It left again before it was back: what it lost is not programmed before it is.
    pub left_again: bool,
    /// It left, and the module has not looked since it can be back.
    pub unseen: bool,
    /// When the module is called for it.
    pub timer: Option<u64>,
    /// How often it forgot all registers.
    pub resets: u32,
}

impl Endpoint {
    pub fn new(n: usize, kind: Kind) -> Self {
        Self {
            n,
            kind,
            assigned: false,
            answers: Answers::Truth,
            lies: BTreeMap::new(),
            bars: host_bars(n).map(Some),
            lied: false,
            power: Power::On,
            away: false,
            command: if kind.virtual_function { 0x0400 } else { 0x0402 },
            command_read: 0,
            physical_decodes: true,
            stopped: false,
            clobbered: false,
            // A host driver may have left them on.
            msi_control: kind.msi_control() | 1,
            msix_control: 0x8000,
            masked: vec![false; kind.vectors.into()],
            msi: [None; 32],
            msix: vec![None; kind.vectors.into()],
            on_behalf: BTreeMap::new(),
            made: BTreeSet::new(),
            left_again: false,
            unseen: false,
            timer: None,
            resets: 0,
        }
    }

    pub fn msi_enabled(&self) -> bool {
        self.kind.msi && self.msi_control & 1 != 0
    }

    pub fn msix_enabled(&self) -> bool {
        self.kind.msix && self.msix_control & 0x8000 != 0
    }

    pub fn msix_delivers(&self) -> bool {
        self.kind.msix && self.msix_control & 0xc000 == 0x8000
    }

    /// The vectors that its MSI was granted.
    pub fn msi_vectors(&self) -> u32 {
        1 << (self.msi_control >> 4 & 7)
    }

    pub fn intx_disabled(&self) -> bool {
        self.command & 0x400 != 0
    }

    /// Whether its memory answers; of one that is gone nobody can tell.
    pub fn decoded(&self) -> bool {
        let decodes = !self.kind.virtual_function || self.physical_decodes;
        self.is_there() && decodes || self.is_gone()
    }

    /// Whether its memory answers, for all that it says itself.
    pub fn is_there(&self) -> bool {
        self.power == Power::On && (self.kind.virtual_function || self.command & 2 != 0)
    }

    pub fn is_gone(&self) -> bool {
        self.assigned && self.answers == Answers::Gone
    }

    /// The interrupt of a vector.
    pub fn interrupt(&self, source: Source) -> Option<i32> {
        match source {
            Source::Msi(nth) => self.msi[usize::from(nth)],
            Source::Msix(index) => self.msix[usize::from(index)],
        }
    }

    pub fn set_interrupt(&mut self, source: Source, pirq: Option<i32>) {
        match source {
            Source::Msi(nth) => self.msi[usize::from(nth)] = pirq,
            Source::Msix(index) => self.msix[usize::from(index)] = pirq,
        }
    }

    /// Whether it cannot raise this interrupt.
    pub fn silent(&self, source: Source) -> bool {
        match source {
            Source::Msi(_) => !self.msi_enabled(),
            Source::Msix(index) => !self.msix_delivers() || self.masked[usize::from(index)],
        }
    }

    pub fn table_address(&self) -> u64 {
        let (bar, offset) = self.kind.table_place();
        host_bars(self.n)[bar].0 + offset
    }

    pub fn pending_addresses(&self) -> std::ops::Range<u64> {
        let (bar, offset) = self.kind.pending_place();
        let start = host_bars(self.n)[bar].0 + offset;
        start..start + self.kind.pending_length()
    }

    /// Whether all these frames are the device's own.
    pub fn has_frames(&self, first: u64, last: u64) -> bool {
        host_bars(self.n)
            .into_iter()
            .any(|(start, size)| start >> 12 <= first && last <= (start + size - 1) >> 12)
    }

    /// What it answers for a register; `noise` is a number that means nothing.
    pub fn read(&mut self, register: u16, noise: u32) -> u32 {
        let value = match (self.assigned, self.answers) {
            (true, Answers::Noise) => noise,
            (true, Answers::Gone) => u32::MAX,
            _ if matches!(self.power, Power::Returning(_)) => u32::MAX,
            (false, _) if self.lies.contains_key(&register) => self.lies[&register],
            _ => self.register(register),
        };
        if register == 4 {
            self.command_read = value as u16;
            if self.power == Power::On {
                (self.unseen, self.left_again) = (false, false);
            }
        }
        value
    }

    fn register(&self, register: u16) -> u32 {
        match register {
            0x00 if self.kind.virtual_function => u32::MAX,
            0x00 => 0x10d3_8086,
            0x04 => self.command.into(),
            0x0c => 0x80_0000,
            MSI => u32::from(self.msi_control) << 16 | 0x7005,
            MSIX => u32::from(self.msix_control | (self.kind.vectors - 1)) << 16 | 0x0011,
            0x74 => self.kind.table,
            0x78 => self.kind.pending,
            _ if register == POWER + 4 => 3 * u32::from(self.power == Power::Asleep),
            _ if self.assigned => 0,
            _ => panic!("reads register {register:#x} at assignment"),
        }
    }

    /// A write to configuration space, which the module makes.
    pub fn write(&mut self, offset: u16, size: u8, value: u32, time: u64) {
        assert!(
            matches!(size, 1 | 2 | 4) && offset % u16::from(size) == 0,
            "writes {size} bytes at {offset:#x}"
        );
        assert!(u64::from(value) < 1 << (8 * u32::from(size)), "writes more than {size} bytes");
        match (offset, size) {
            _ if self.is_gone() => {
                self.take_on_behalf(offset, size, value);
            }
            (0x42, 2) if self.kind.msi => {
                // Invariant 1: addresses and data are Xen's to write; only control is written here.
                assert_eq!(value & !0x71, 0, "writes {value:#x} to MSI's control");
                self.msi_control = self.kind.msi_control() | value as u16;
            }
            (0x72, 2) if self.kind.msix => {
                assert_eq!(value & !0xc000, 0, "writes {value:#x} to MSI-X's control");
                self.msix_control = value as u16;
            }
            _ if self.take_on_behalf(offset, size, value) => {
                self.host_wrote(offset, size, value, time)
            }
            (4, 2) => self.change_command(value as u16),
            (4 | 5, 1) => self.change_command_unseen(offset, value as u8),
            _ => panic!("writes {value:#x} to {offset:#x}"),
        }
    }

    /// A read-modify-write of Command: of INTx-disable, and of Bus Master once DMA was stopped.
    fn change_command(&mut self, value: u16) {
        let changed = value ^ self.command_read;
        let may = if self.stopped { 0x404 } else { 0x400 };
        let answers = !self.away && !matches!(self.power, Power::Returning(_));
        assert!(!answers || changed & !may == 0, "changes {changed:#x} of Command");
        assert!(!self.stopped || value & 4 == 0, "Bus Master comes back");
        let before = self.command;
        self.command = match self.answers {
            // It chose the other bits itself.
            Answers::Noise => self.command & !may | value & may,
            _ => value,
        };
        self.clobbered |= self.command & !before & !may != 0;
    }

    /// A write of one half of Command, where nothing answers that says what the other bits are: to
    /// INTx-disable, or to stop DMA, and nothing is on in that half afterwards.
    fn change_command_unseen(&mut self, offset: u16, value: u8) {
        let intx_disable = if offset == 5 { 0x4 } else { 0 };
        assert_eq!(self.command_read, u16::MAX, "overwrites half of Command");
        assert!(offset == 5 || self.stopped, "stops DMA by itself");
        assert_eq!(value & !intx_disable, 0, "sets bits that it does not know");
        self.command = if offset == 5 {
            self.command & 0x00ff | u16::from(value) << 8
        } else {
            self.command & 0xff00
        };
    }

    /// Whether the write is dom0's, or a part of one that lies across. INTx-disable may differ: it
    /// is as Xen has it.
    fn take_on_behalf(&mut self, offset: u16, size: u8, value: u32) -> bool {
        let bytes = || (offset..offset + u16::from(size)).zip(value.to_le_bytes());
        let same = |at: u16, byte: u8| {
            let free = if at == 5 { 0x04 } else { 0 };
            self.on_behalf.get(&at).is_some_and(|wanted| (wanted ^ byte) & !free == 0)
        };
        let length = self.on_behalf.len() as u16;
        let across = self.on_behalf.keys().next().is_some_and(|first| first % length != 0);
        let dom0s = bytes().all(|(at, byte)| same(at, byte));
        let dom0s = dom0s && (across || length == 3 || length == u16::from(size));
        if dom0s {
            self.made.extend(offset..offset + u16::from(size));
        }
        dom0s
    }

    /// What of dom0's write was not made; there is none any more.
    pub fn end_of_behalf(&mut self) -> BTreeMap<u16, u8> {
        let made = std::mem::take(&mut self.made);
        let mut left = std::mem::take(&mut self.on_behalf);
        left.retain(|at, _| !made.contains(at));
        left
    }

    /// A write of dom0's, as it reaches the device.
    fn host_wrote(&mut self, offset: u16, size: u8, value: u32, time: u64) {
        self.stopped &= offset != 4;
        for (at, byte) in (offset..offset + u16::from(size)).zip(value.to_le_bytes()) {
            match at {
                4 if self.kind.virtual_function => {
                    self.command = self.command & 0xff00 | u16::from(byte & !2)
                }
                4 => {
                    // Invariant 6 again: silent before its memory goes.
                    assert!(
                        byte & 2 != 0 || !self.msix_delivers(),
                        "memory goes with MSI-X delivering"
                    );
                    self.command = self.command & 0xff00 | u16::from(byte);
                }
                5 => self.command = self.command & 0x00ff | u16::from(byte) << 8,
                _ if at == POWER + 4 => self.change_power(byte & 3, time),
                _ if at == EXPRESS + 9 && byte & 0x80 != 0 => self.reset_function(time),
                _ if at == FEATURES + 4 && byte & 1 != 0 => self.reset_function(time),
                _ => {}
            }
        }
    }

    fn change_power(&mut self, state: u8, time: u64) {
        if state != 0 {
            self.check_left();
            self.left_again |= matches!(self.power, Power::Returning(_));
            self.power = Power::Asleep;
        } else if self.power == Power::Asleep {
            // The time a function may take (PCI Express Base Specification 6.0, section 5.9), or
            // what is left of a reset's.
            let takes = if self.left_again { 100_000_000 } else { 10_000_000 };
            self.power = Power::Returning(time + takes);
            self.unseen = true;
            if !self.kind.keeps {
                self.forget();
            }
        } else if let Power::Returning(until) = &mut self.power {
            *until = (*until).max(time + 10_000_000);
        }
    }

    fn reset_function(&mut self, time: u64) {
        self.check_left();
        // As above, section 6.6.2.
        self.power = Power::Returning(time + 100_000_000);
        self.unseen = true;
        self.forget();
    }

    /// Invariant 6: before it leaves its vectors are silent, and Xen keeps away from its memory.
    fn check_left(&self) {
        assert!(!self.msix_delivers(), "leaves with MSI-X delivering");
        assert!(self.away, "leaves without a word to Xen");
    }

    /// All registers are as after reset (PCI Express Base Specification 6.0, section 6.6).
    pub fn forget(&mut self) {
        (self.command, self.msi_control, self.msix_control) = (0, self.kind.msi_control(), 0);
        self.masked.fill(true);
        self.resets += 1;
    }

    /// No guest has it any more, and it works as at first.
    pub fn come_free(&mut self) {
        (self.assigned, self.away, self.left_again, self.unseen, self.timer) =
            (false, false, false, false, None);
        (self.power, self.stopped) = (Power::On, false);
        self.command = if self.kind.virtual_function { 0 } else { 0x2 };
    }

    /// Somebody pulls it out: it raises nothing any more.
    pub fn pull_out(&mut self) {
        self.answers = Answers::Gone;
        (self.msi_control, self.msix_control) = (0, 0);
    }
}
