// SPDX-License-Identifier: GPL-2.0-only
//! The test double of [`Hardware`]: writes down what is done to it, and fails when told to.
//!
//! The device it plays has one 1 MiB base address register and both capabilities: MSI at 0x40
//! with eight 64-bit vectors and mask bits, MSI-X at 0xa0 with four vectors, the table at 0x2000
//! and the pending bits at 0x3000.

use core::ffi::CStr;
use core::num::NonZeroI32;

use x86_64::PhysAddr;

use crate::core::address::Sbdf;
use crate::core::layout::Frames;
use crate::core::learn::HostBar;
use crate::core::message::{BoundMessage, GuestMessage};
use crate::core::spec::BAR_COUNT;
use crate::core::table::Entry;
use crate::host::hardware::{Errno, Hardware, Pirq, Positions, TableMemory, Window};
use crate::host::msix::Vector;

/// Where the device has its memory on the host.
pub const HOST_BAR: u64 = 0xfea0_0000;
/// The device, unless a test says otherwise.
pub const DEVICE: Sbdf = Sbdf(0x20);

/// See the top of this file.
#[derive(Debug)]
pub struct Recorder {
    /// The device's capabilities.
    pub positions: Positions,
    /// The device's Command register at assignment.
    pub command: u32,
    /// Whether the device was reset and has lost what it was told.
    pub lost: bool,
    /// What [`Hardware::decoded_by_physical_function`] says.
    pub physical_function: Option<bool>,
    /// From the call of this name on, all calls of it fail; and how many succeed before.
    pub failing: (&'static str, u32),
    /// Tables and windows that were not given back.
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
            positions: Positions { msi: Some(0x40), msix: Some(0xa0) },
            command: 0x2,
            lost: false,
            physical_function: None,
            failing: ("", 0),
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
    fn read_config(&mut self, _: Sbdf, register: u16) -> u32 {
        match register {
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

    fn write_config(&mut self, _: Sbdf, offset: u16, _: u8, value: u32) {
        self.done.push(format!("{offset:#x}={value:#x}"));
    }

    fn positions(&mut self, _: Sbdf) -> Positions {
        self.positions
    }

    fn bars(&mut self, _: Sbdf) -> [Option<HostBar>; BAR_COUNT] {
        let bar = HostBar { address: PhysAddr::new(HOST_BAR), size: 0x10_0000, is_64bit: false };
        [Some(bar), None, None, None, None, None]
    }

    fn decoded_by_physical_function(&mut self, _: Sbdf) -> Option<bool> {
        self.physical_function
    }

    fn set_intx_disable(&mut self, _: Sbdf, disable: bool) {
        self.done.push(format!("intx {}", if disable { "off" } else { "on" }));
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
        self.attempt("bind", format!(" {} {:#x}", pirq.0, message.vector()))
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

    fn allocate_table(&mut self, vectors: u16) -> Result<TableMemory, Errno> {
        self.attempt("allocate", format!(" {vectors}"))?;
        self.outstanding = self.outstanding.saturating_add(1);
        Ok(TableMemory {
            entries: vec![Entry::RESET; vectors.into()].leak(),
            vectors: vec![Vector::UNUSED; vectors.into()].leak(),
        })
    }

    fn free_table(&mut self, _: TableMemory) {
        self.outstanding = self.outstanding.saturating_sub(1);
    }

    fn open(&mut self, frames: Frames) -> Result<Window, Errno> {
        self.attempt("open", format!(" {:#x}", frames.first))?;
        self.outstanding = self.outstanding.saturating_add(1);
        Ok(Window { frames, mapping: 0 })
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

    fn log(&mut self, _: Sbdf, text: &'static CStr, number: u64) {
        self.log.push(format!("{}: {number}", text.to_string_lossy()));
    }
}
