// SPDX-License-Identifier: GPL-2.0-only
//! QEMU's `edu`: MSI with one 64-bit vector and no mask bits, raised by a write to a register.

use super::{Device, Driver, Registers};
use crate::pci::Function;

// The status has one bit for each reason to interrupt.
const RAISE: usize = 0x60;
const ACKNOWLEDGE: usize = 0x64;

/// A placed edu device.
pub struct Edu(Registers);

impl Driver for Edu {
    const IDS: &[u32] = &[0x11e8_1234];

    fn set_up(function: Function) -> Option<Self> {
        Some(Self(Registers::of(function, 0)))
    }
}

impl Device for Edu {
    fn registers(&self) -> &Registers {
        &self.0
    }

    fn raise(&self, n: u32) {
        self.0.write(RAISE, 1u32 << n);
    }

    fn acknowledge(&self, n: u32) {
        self.0.write(ACKNOWLEDGE, 1u32 << n);
    }
}
