// SPDX-License-Identifier: GPL-2.0-only
//! QEMU's `edu`: MSI with one 64-bit vector and no mask bits, raised by a write to a register.

use core::ptr;

use super::Device;
use crate::pci::{self, Function};

const VENDOR: u16 = 0x1234;
const DEVICE: u16 = 0x11e8;

// Registers in BAR 0. The status has one bit for each reason to interrupt.
const RAISE: usize = 0x60;
const ACKNOWLEDGE: usize = 0x64;

/// A placed edu device.
pub struct Edu {
    function: Function,
    registers: usize,
}

impl Edu {
    /// The first one on bus 0, placed in memory.
    pub fn find() -> Option<Self> {
        let function = pci::find(VENDOR, DEVICE)?;
        let registers = function.place()?;
        Some(Self { function, registers })
    }

    fn write(&self, register: usize, value: u32) {
        // SAFETY: BAR 0 was placed there, uncached, and no RAM is in that range.
        unsafe { ptr::write_volatile((self.registers + register) as *mut u32, value) }
    }
}

impl Device for Edu {
    fn function(&self) -> Function {
        self.function
    }

    fn raise(&self, n: u32) {
        self.write(RAISE, 1 << n);
    }

    fn acknowledge(&self, n: u32) {
        self.write(ACKNOWLEDGE, 1 << n);
    }
}
