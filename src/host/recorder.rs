// SPDX-License-Identifier: GPL-2.0-only
//! The test double of [`Hardware`]: writes down what is done to it, and fails when told to.
//!
//! The device it plays has one 1 MiB base address register and both capabilities: MSI at 0x40
//! with eight 64-bit vectors and mask bits, MSI-X at 0xa0 with four vectors, the table at 0x2000
//! and the pending bits at 0x3000.

use core::num::NonZeroI32;

use x86_64::PhysAddr;

use crate::core::address::Sbdf;
use crate::core::layout::Frames;
use crate::core::learn::HostBar;
use crate::core::message::{BoundMessage, GuestMessage};
use crate::core::power::PowerRegisters;
use crate::core::spec::BAR_COUNT;
use crate::core::table::Entry;
use crate::core::trust::Distrust;
use crate::host::budget::Budget;
use crate::host::hardware::{Detail, Errno, Hardware, Line, Pirq, TableMemory};
use crate::host::managed::{Known, KnownMsi, KnownMsix};
use crate::host::msix::Vector;
use crate::memory::{Owned, Window};

/// Where the device has its memory on the host.
pub const HOST_BAR: u64 = 0xfea0_0000;
/// The device, unless a test says otherwise.
pub const DEVICE: Sbdf = Sbdf(0x20);
/// The physical function, where the device is a virtual one.
pub const PHYSICAL: Sbdf = Sbdf(0x1_0000);
/// Where its Power Management capability is.
pub const POWER: u16 = 0xc8;
/// Where its PCI Express capability is.
pub const EXPRESS: u16 = 0xe0;

/// When the timer goes on with what was left over, in nanoseconds.
const SOON: u64 = 1_000_000;

/// What Xen knows of the device.
pub const KNOWN: Known = Known {
    sbdf: DEVICE,
    physical: None,
    msi: Some(KnownMsi { position: 0x40, vectors: 8, mappable: 32 }),
    msix: Some(KnownMsix {
        position: 0xa0,
        vectors: 4,
        table: 0x2000,
        frames: Some([
            Frames { first: 0xfea02, last: 0xfea02 },
            Frames { first: 0xfea03, last: 0xfea03 },
        ]),
    }),
    power: PowerRegisters { power: POWER, express: EXPRESS, features: 0 },
    function: None,
};

/// See the top of this file.
#[derive(Debug)]
pub struct Recorder {
    /// The device's Command register.
    pub command: u32,
    /// Whether the device was reset and has lost what it was programmed with.
    pub lost: bool,
    /// Registers that do not answer as they should, with what they answer.
    pub lies: Vec<(u16, u32)>,
    /// Frames that are not what they should be, with what they are.
    pub strange: Vec<(u64, Distrust)>,
    /// Whether Xen does not find the device among its owner's.
    pub unlisted: bool,
    /// Whether the physical function decodes memory.
    pub physical_function: bool,
    /// From the call of this name on, all calls of it fail; and how many succeed before.
    pub failing: (&'static str, u32),
    /// The number of the `bind` that would have to wait, counted from zero.
    pub waits: u32,
    /// What is left of the present hold's work.
    pub budget: Budget,
    /// Whether the budget lasts until the next [`Recorder::told`]; else it is never spent.
    pub bounded: bool,
    /// Nanoseconds.
    pub time: u64,
    /// When the timer fires.
    pub timer: Option<u64>,
    /// Windows that were not given back.
    pub outstanding: i32,
    /// What was done; [`Recorder::told`] tells it.
    pub done: Vec<String>,
    /// What was logged; [`Recorder::said`] tells it.
    pub log: Vec<String>,
    /// The interrupt that is mapped next.
    pub next_pirq: i32,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            command: 0x2,
            lost: false,
            lies: Vec::new(),
            strange: Vec::new(),
            unlisted: false,
            physical_function: false,
            failing: ("", 0),
            waits: u32::MAX,
            budget: Budget::access(),
            bounded: false,
            time: 0,
            timer: None,
            outstanding: 0,
            done: Vec::new(),
            log: Vec::new(),
            next_pirq: 50,
        }
    }
}

/// A message that passes.
pub fn message(vector: u32) -> Option<BoundMessage> {
    GuestMessage { address: 0xfee0_0000, data: vector }.validate().ok()
}

impl Recorder {
    /// What was done since the last time.
    pub fn told(&mut self) -> String {
        self.budget = Budget::access();
        std::mem::take(&mut self.done).join(", ")
    }

    /// What was logged since the last time.
    pub fn said(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }

    fn attempt(&mut self, call: &str, detail: String) -> Result<(), Errno> {
        self.done.push(format!("{call}{detail}"));
        match self.failing {
            (name, 0) if name == call => Err(Errno::NO_SPACE),
            (name, more) if name == call => {
                self.failing = (name, more.saturating_sub(1));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn map(&mut self, detail: String, count: u8) -> Result<Pirq, Errno> {
        self.attempt("map", detail)?;
        let first = self.next_pirq;
        self.next_pirq = first.saturating_add(count.into());
        NonZeroI32::new(first).map(Pirq).ok_or(Errno::INVALID)
    }
}

impl Hardware for Recorder {
    fn budget(&mut self) -> &mut Budget {
        if !self.bounded {
            self.budget = Budget::access();
        }
        &mut self.budget
    }

    fn read_config(&mut self, device: Sbdf, register: u16) -> u32 {
        if device == PHYSICAL {
            return u32::from(self.physical_function) << 1;
        }
        if let Some((_, lie)) = self.lies.iter().find(|(at, _)| *at == register) {
            return *lie;
        }
        match register {
            0x00 => 0x10d3_8086,
            0x04 => self.command,
            // Enabled, unless a reset is played.
            0x40 if self.lost => 0x0186_0005,
            0x40 => 0x0187_0005,
            0xa0 if self.lost => 0x0003_0011,
            0xa0 => 0x8003_0011,
            0xa4 => 0x2000,
            0xa8 => 0x3000,
            _ => 0,
        }
    }

    fn write_config(&mut self, _: Sbdf, offset: u16, size: u8, value: u32) {
        // A read-modify-write of INTx-disable, and of nothing else.
        let intx = if value & 0x400 != 0 { "off" } else { "on" };
        let done = match (offset, size, value ^ self.command & 0xffff) {
            (4, 2, 0 | 0x400) => format!("intx {intx}"),
            _ => format!("{offset:#x}={value:#x}"),
        };
        match (offset, size) {
            (5, 1) => self.command = self.command & 0xff | value << 8,
            (4, 1) => self.command = self.command & 0xff00 | value,
            (4, _) => self.command = value & 0xffff,
            _ => {}
        }
        self.done.push(done);
    }

    fn bars(&mut self, _: Sbdf) -> [Option<HostBar>; BAR_COUNT] {
        let bar = HostBar { address: PhysAddr::new(HOST_BAR), size: 0x10_0000, is_64bit: false };
        [Some(bar), None, None, None, None, None]
    }

    fn check_frames(&mut self, _: Sbdf, frames: Frames) -> Result<(), Distrust> {
        let found = self.strange.iter().find(|(frame, _)| frames.contains(*frame));
        found.map_or(Ok(()), |(_, distrust)| Err(*distrust))
    }

    fn map_msi(&mut self, _: Sbdf, vectors: u8) -> Result<Pirq, Errno> {
        self.map(format!(" {vectors} vectors"), vectors)
    }

    fn map_msix(&mut self, _: Sbdf, vector: u16) -> Result<Pirq, Errno> {
        self.map(format!(" entry {vector}"), 1)
    }

    fn unmap(&mut self, pirq: Pirq) {
        self.done.push(format!("unmap {}", pirq.0));
    }

    fn bind(&mut self, pirq: Pirq, message: &BoundMessage) -> Result<(), Errno> {
        self.attempt("bind", format!(" {} {:#x}", pirq.0, message.vector()))?;
        let waits = self.waits == 0;
        self.waits = self.waits.wrapping_sub(u32::from(self.waits != u32::MAX));
        if waits {
            Err(Errno::RESTART)
        } else {
            Ok(())
        }
    }

    fn unbind(&mut self, pirq: Pirq) {
        self.done.push(format!("unbind {}", pirq.0));
    }

    fn set_masked(&mut self, pirq: Pirq, masked: bool) {
        self.done.push(format!("{} {}", if masked { "mask" } else { "unmask" }, pirq.0));
    }

    fn reprogram(&mut self, pirq: Pirq) -> Result<(), Errno> {
        self.attempt("again", format!(" {}", pirq.0))
    }

    fn set_away(&mut self, _: Sbdf, away: bool) -> bool {
        self.done.push(if away { "away" } else { "here" }.into());
        !self.unlisted
    }

    fn allocate_table(&mut self, vectors: u16) -> Result<TableMemory, Errno> {
        self.attempt("allocate", format!(" {vectors}"))?;
        let vectors = usize::from(vectors);
        Ok(TableMemory {
            entries: Owned::of(vec![Entry::RESET; vectors]),
            vectors: Owned::of(vec![Vector::UNUSED; vectors]),
        })
    }

    fn open(&mut self, frames: Frames) -> Result<Window, Errno> {
        self.attempt("open", format!(" {:#x}", frames.first))?;
        self.outstanding = self.outstanding.saturating_add(1);
        Ok(Window::closed(frames))
    }

    fn close(&mut self, _: Window) {
        self.outstanding = self.outstanding.saturating_sub(1);
    }

    fn read_memory(&mut self, _: &Window, address: u64, size: u8) -> u64 {
        self.done.push(format!("read {address:#x}/{size}"));
        0x5a
    }

    fn write_memory(&mut self, _: &Window, address: u64, size: u8, value: u64) {
        self.done.push(format!("[{address:#x}/{size}]={value:#x}"));
    }

    fn now(&mut self) -> u64 {
        self.time
    }

    fn settle_at(&mut self, _: Sbdf, time: u64) {
        self.timer = Some(time);
    }

    fn settle_soon(&mut self, device: Sbdf) {
        self.settle_at(device, self.time.saturating_add(SOON));
    }

    fn log(&mut self, _: Sbdf, line: Line) {
        let text = line.text.to_string_lossy();
        self.log.push(match line.detail {
            Detail::None => text.into(),
            Detail::Value(value) => format!("{text}: {value:#x}"),
            Detail::Number(number) => format!("{text}: {number}"),
            Detail::Domain(domain) => format!("{text} d{domain}"),
        });
    }
}
