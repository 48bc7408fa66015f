// SPDX-License-Identifier: GPL-2.0-only
//! QEMU's `igb`, a physical function: MSI with one 64-bit vector and mask bits, and MSI-X with ten
//! vectors that software can raise one by one.

use super::{Device, Driver, Registers};
use crate::msix::{self, Msix};
use crate::pci::Function;

// Without MSI-X, where older cards have them too: QEMU knows no other place.
const CAUSE: usize = 0xc0;
const SET_CAUSE: usize = 0xc8;
const ENABLE_CAUSE: usize = 0xd0;
// With MSI-X: a bit for each vector.
const MODE: usize = 0x1514;
pub(super) const SET: usize = 0x1520;
pub(super) const ENABLE: usize = 0x1524;
pub(super) const AUTO_CLEAR: usize = 0x152c;
pub(super) const STATUS: usize = 0x1580;
/// Time that has to pass between interrupts, for each vector; zero is none.
const THROTTLE: usize = 0x1680;

const SEVERAL_VECTORS: u32 = 1 << 4;
const SOURCES: u32 = 10;
/// Receive timer: any cause would do.
const CAUSE_0: u32 = 1 << 7;

/// A network card that neither sends nor receives.
pub struct Igb {
    registers: Registers,
    msix: Msix,
}

/// Has a physical function take part in MSI-X, itself or by its virtual functions.
pub(super) fn several_vectors(registers: &Registers, on: bool) {
    registers.write(MODE, if on { SEVERAL_VECTORS } else { 0 });
}

impl Driver for Igb {
    const IDS: &[u32] = &[0x10c9_8086];

    fn set_up(function: Function) -> Option<Self> {
        let device = Self { registers: Registers::of(function, 0), msix: Msix::find(function)? };
        device.set_up_again().then_some(device)
    }
}

impl Igb {
    fn in_msix_mode(&self) -> bool {
        self.msix.control() & msix::ENABLE != 0
    }

    fn set(&self, n: u32, several: bool) {
        if several {
            self.registers.write(ENABLE, 1u32 << n);
            self.registers.write(SET, 1u32 << n);
        } else {
            self.registers.write(ENABLE_CAUSE, CAUSE_0);
            self.registers.write(SET_CAUSE, CAUSE_0);
        }
    }
}

impl Device for Igb {
    fn registers(&self) -> &Registers {
        &self.registers
    }

    fn set_up_again(&self) -> bool {
        for n in 0..SOURCES as usize {
            self.registers.write(THROTTLE + 4 * n, 0u32);
        }
        self.registers.write(AUTO_CLEAR, (1 << SOURCES) - 1u32);
        true
    }

    fn sources(&self) -> u32 {
        SOURCES
    }

    fn raise(&self, n: u32) {
        let several = self.in_msix_mode();
        several_vectors(&self.registers, several);
        self.set(n, several);
    }

    fn again(&self, n: u32) {
        self.acknowledge(n);
        self.set(n, self.registers.read::<u32>(MODE) & SEVERAL_VECTORS != 0);
    }

    fn acknowledge(&self, n: u32) {
        self.registers.write(STATUS, 1u32 << n);
        self.registers.write(CAUSE, CAUSE_0);
        self.registers.read::<u32>(CAUSE);
    }
}
