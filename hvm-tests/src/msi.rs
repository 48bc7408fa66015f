// SPDX-License-Identifier: GPL-2.0-only
//! The MSI capability of a function.

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

/// The address range of interrupts.
const BASE: u32 = 0xfee0_0000;

/// What the device writes where, as the guest asks for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message {
    /// The address's low half.
    pub address: u32,
    /// The address's high half, for a device that has one.
    pub upper: u32,
    /// The data.
    pub data: u16,
}

impl Message {
    /// What the registers hold after a reset.
    pub const RESET: Self = Self {
        address: 0,
        upper: 0,
        data: 0,
    };

    /// Fixed delivery of `vector` to the vCPU with this physical APIC ID.
    pub const fn fixed(apic: u8, vector: u8) -> Self {
        Self {
            address: BASE | (apic as u32) << 12,
            upper: 0,
            data: vector as u16,
        }
    }

    /// The same in logical destination mode: `set` has one bit for each vCPU.
    pub const fn logical(set: u8, vector: u8) -> Self {
        let mut message = Self::fixed(set, vector);
        message.address |= 1 << 2;
        message
    }

    /// To that one vCPU of the logical `set` with the lowest priority.
    pub const fn lowest_priority(set: u8, vector: u8) -> Self {
        let mut message = Self::logical(set, vector);
        message.address |= 1 << 3;
        message.data |= 1 << 8;
        message
    }
}

/// The MSI capability of one function.
#[derive(Clone, Copy)]
pub struct Msi {
    function: Function,
    start: u8,
}

impl Msi {
    /// The capability of `function`; its absence ends the test.
    pub fn of(function: Function) -> Self {
        let Some(start) = function.capability(ID) else {
            report::error(format_args!("{function} has no MSI capability"));
            report::finish()
        };
        Self { function, start }
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
            data: self.read(self.data()),
        }
    }

    /// Writes a message, in the order of the registers.
    pub fn program(self, message: Message) {
        self.write(ADDRESS, message.address);
        if let Some(offset) = self.upper() {
            self.write(offset, message.upper);
        }
        self.write(self.data(), message.data);
    }

    /// Turns MSI on or off, with one vector.
    pub fn enable(self, on: bool) {
        let others = self.control() & !(ENABLE | MULTIPLE);
        self.write(CONTROL, others | if on { ENABLE } else { 0 });
    }
}
