// SPDX-License-Identifier: GPL-2.0-only
//! The MSI-X capability of a function, its table and its pending bits.

use crate::message::Message;
use crate::mmio::{self, Value};
use crate::pci::{Function, Width};
use crate::report;

const ID: u8 = 0x11;

// Registers of the capability.
/// Where the control register stands.
pub const CONTROL: u8 = 2;
/// Where the table's place stands: the BAR in the low three bits, the offset in it above.
pub const TABLE: u8 = 4;
/// Where the pending bits' place stands, in the same form.
pub const PBA: u8 = 8;
const BAR: u32 = 7;

// Bits of the control register.
/// MSI-X enable.
pub const ENABLE: u16 = 1 << 15;
/// Function mask: every vector is masked.
pub const FUNCTION_MASK: u16 = 1 << 14;
/// Entries of the table, less one.
const SIZE: u16 = 0x7ff;

/// Bytes of one entry.
pub const ENTRY: usize = 16;
// Registers of one entry.
/// The address's high half.
pub const UPPER: usize = 4;
/// The data.
pub const DATA: usize = 8;
/// Vector control.
pub const VECTOR_CONTROL: usize = 12;
/// The one bit of vector control that is defined.
pub const MASKED: u32 = 1;

/// Entries that `clear_table` writes at once.
const CHUNK: usize = 32;

/// The MSI-X capability of one function.
#[derive(Clone, Copy)]
pub struct Msix {
    function: Function,
    start: u8,
    table: usize,
    pba: usize,
}

impl Msix {
    /// The capability of `function`; its absence ends the test.
    pub fn of(function: Function) -> Self {
        Self::find(function).unwrap_or_else(|| {
            report::error(format_args!("{function} has no MSI-X capability"));
            report::finish()
        })
    }

    /// The capability of `function`, if it has one.
    pub fn find(function: Function) -> Option<Self> {
        let start = function.capability(ID)?;
        let place = |register: u8| {
            let place = function.read::<u32>(start + register);
            function.bar((place & BAR) as u8) + (place & !BAR) as usize
        };
        Some(Self { function, start, table: place(TABLE), pba: place(PBA) })
    }

    /// Reads at `offset` from the start of the capability.
    pub fn read<W: Width>(self, offset: u8) -> W {
        self.function.read(self.start + offset)
    }

    /// Writes at `offset` from the start of the capability.
    pub fn write<W: Width>(self, offset: u8, value: W) {
        self.function.write(self.start + offset, value);
    }

    /// The register where the capability starts.
    pub fn start(self) -> u8 {
        self.start
    }

    /// The control register.
    pub fn control(self) -> u16 {
        self.read(CONTROL)
    }

    /// Writes enable and function mask.
    pub fn set(self, bits: u16) {
        self.write(CONTROL, bits);
    }

    /// Turns MSI-X on, with the function mask clear, or off.
    pub fn enable(self, on: bool) {
        self.set(if on { ENABLE } else { 0 });
    }

    /// Entries of the table.
    pub fn size(self) -> u32 {
        u32::from(self.control() & SIZE) + 1
    }

    /// The BAR with the table.
    pub fn table_bar(self) -> u8 {
        (self.read::<u32>(TABLE) & BAR) as u8
    }

    /// Where the table was in memory when this was made.
    pub fn table(self) -> usize {
        self.table
    }

    /// Where the pending bits were in memory when this was made.
    pub fn pba(self) -> usize {
        self.pba
    }

    /// Where a register of an entry is in memory.
    pub fn register(self, entry: u32, register: usize) -> usize {
        self.table() + entry as usize * ENTRY + register
    }

    /// Reads a register of an entry.
    pub fn entry<V: Value>(self, entry: u32, register: usize) -> V {
        mmio::read(self.register(entry, register))
    }

    /// Writes a register of an entry.
    pub fn set_entry<V: Value>(self, entry: u32, register: usize, value: V) {
        mmio::write(self.register(entry, register), value);
    }

    /// The message of an entry as it reads back.
    pub fn message(self, entry: u32) -> Message {
        Message {
            address: self.entry(entry, 0),
            upper: self.entry(entry, UPPER),
            data: self.entry(entry, DATA),
        }
    }

    /// Writes the message of an entry, in the order of its registers; its mask stays as it is.
    pub fn write_message(self, entry: u32, message: Message) {
        self.set_entry(entry, 0, message.address);
        self.set_entry(entry, UPPER, message.upper);
        self.set_entry(entry, DATA, message.data);
    }

    /// Masks or unmasks an entry.
    pub fn mask(self, entry: u32, masked: bool) {
        self.set_entry(entry, VECTOR_CONTROL, u32::from(masked));
    }

    /// Masks an entry, writes its message, and unmasks it: the way that always takes effect.
    pub fn program(self, entry: u32, message: Message) {
        self.mask(entry, true);
        self.write_message(entry, message);
        self.mask(entry, false);
    }

    /// Whether an entry's pending bit is set.
    pub fn pending(self, entry: u32) -> bool {
        let place = self.pba() + entry as usize / 32 * 4;
        mmio::read::<u32>(place) >> (entry % 32) & 1 != 0
    }

    /// Entries with their pending bit set.
    pub fn all_pending(self) -> impl Iterator<Item = u32> {
        let size = self.size();
        (0..size).step_by(32).flat_map(move |first| {
            let bits = mmio::read::<u32>(self.pba() + first as usize / 8);
            (first..size.min(first + 32)).filter(move |entry| bits >> (entry % 32) & 1 != 0)
        })
    }

    /// Masks every entry and takes its message away, as a reset does.
    pub fn clear_table(self) {
        // A string instruction takes one exit for all it moves.
        const EMPTY: [u32; 4] = [0, 0, 0, MASKED];
        let several = [EMPTY; CHUNK];
        let size = self.size();
        for first in (0..size).step_by(CHUNK) {
            let count = CHUNK.min((size - first) as usize);
            mmio::copy_to(self.register(first, 0), several[..count].as_flattened());
        }
    }
}
