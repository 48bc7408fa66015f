// SPDX-License-Identifier: GPL-2.0-only
//! The MSI capability of a function.

use crate::message::Message;
use crate::pci::{Function, Width};
use crate::report;

const ID: u8 = 0x05;

// Bits of the control register.
/// MSI enable.
pub const ENABLE: u16 = 1 << 0;
/// Multiple message capable: log2 of the vectors the device has.
pub const CAPABLE: u16 = 7 << 1;
/// Multiple message enable: log2 of the vectors in use.
pub const MULTIPLE: u16 = 7 << 4;
/// The address has 64 bits.
pub const WIDE: u16 = 1 << 7;
/// The capability has mask bits.
pub const MASKABLE: u16 = 1 << 8;

/// Where the control register stands in the capability.
pub const CONTROL: u8 = 2;
/// Where the address stands in the capability.
pub const ADDRESS: u8 = 4;
const UPPER: u8 = 8;
/// From the mask bits to the pending bits.
pub const PENDING: u8 = 4;

/// The MSI capability of one function.
#[derive(Clone, Copy)]
pub struct Msi {
    function: Function,
    start: u8,
}

impl Msi {
    /// The capability of `function`; its absence ends the test.
    pub fn of(function: Function) -> Self {
        Self::find(function).unwrap_or_else(|| {
            report::error(format_args!("{function} has no MSI capability"));
            report::finish()
        })
    }

    /// The capability of `function`, if it has one.
    pub fn find(function: Function) -> Option<Self> {
        function.capability(ID).map(|start| Self { function, start })
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

    /// Whether the address has 64 bits.
    pub fn is_wide(self) -> bool {
        self.control() & WIDE != 0
    }

    /// Where the address's high half is, on a device that has one.
    pub fn upper(self) -> Option<u8> {
        self.is_wide().then_some(UPPER)
    }

    /// Where the data is.
    pub fn data(self) -> u8 {
        if self.is_wide() { UPPER + 4 } else { UPPER }
    }

    /// The message as it reads back.
    pub fn message(self) -> Message {
        Message {
            address: self.read(ADDRESS),
            upper: self.upper().map_or(0, |offset| self.read(offset)),
            data: self.read::<u16>(self.data()).into(),
        }
    }

    /// Writes a message, in the order of the registers.
    pub fn program(self, message: Message) {
        self.write(ADDRESS, message.address);
        if let Some(offset) = self.upper() {
            self.write(offset, message.upper);
        }
        self.write(self.data(), message.data as u16);
    }

    /// Turns MSI on or off, with one vector.
    pub fn enable(self, on: bool) {
        self.set(on, 0);
    }

    /// Turns MSI on with 1 << `log2` vectors, or with fewer if the device has fewer.
    pub fn enable_several(self, log2: u16) {
        self.set(true, log2);
    }

    fn set(self, on: bool, log2: u16) {
        let others = self.control() & !(ENABLE | MULTIPLE);
        self.write(CONTROL, others | log2 << 4 | if on { ENABLE } else { 0 });
    }

    /// log2 of the vectors that the device has.
    pub fn capable(self) -> u16 {
        (self.control() & CAPABLE) >> 1
    }

    /// log2 of the vectors in use.
    pub fn multiple(self) -> u16 {
        (self.control() & MULTIPLE) >> 4
    }

    /// Where the mask bits are, on a device that has them.
    pub fn mask(self) -> Option<u8> {
        (self.control() & MASKABLE != 0).then(|| self.data() + 4)
    }
}
