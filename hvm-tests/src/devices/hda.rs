// SPDX-License-Identifier: GPL-2.0-only
//! QEMU's `intel-hda` with a codec: MSI with one 64-bit vector and no mask bits.
//!
//! A codec that is there sets its wake status at reset; the wake enable bit makes an interrupt of
//! it.

use super::{Device, Driver, Registers};
use crate::pci::Function;

const GLOBAL_CONTROL: usize = 0x08;
const WAKE_ENABLE: usize = 0x0c;
const WAKE_STATUS: usize = 0x0e;
const INTERRUPT_CONTROL: usize = 0x20;

const OUT_OF_RESET: u32 = 1 << 0;
const GLOBAL_ENABLE: u32 = 1 << 31;
const CONTROLLER_ENABLE: u32 = 1 << 30;
const CODECS: u16 = 0x7fff;

/// A controller out of reset.
pub struct Hda(Registers);

impl Driver for Hda {
    const IDS: &[u32] = &[0x2668_8086, 0x293e_8086];

    fn set_up(function: Function) -> Option<Self> {
        let registers = Registers::of(function, 0);
        registers.write(GLOBAL_CONTROL, 0u32);
        registers.write(GLOBAL_CONTROL, OUT_OF_RESET);
        registers.wait("finding a codec", || registers.read::<u16>(WAKE_STATUS) & CODECS != 0)?;
        registers.write(INTERRUPT_CONTROL, GLOBAL_ENABLE | CONTROLLER_ENABLE);
        Some(Self(registers))
    }
}

impl Device for Hda {
    fn registers(&self) -> &Registers {
        &self.0
    }

    fn raise(&self, _: u32) {
        self.0.write(WAKE_ENABLE, CODECS);
    }

    fn acknowledge(&self, _: u32) {
        self.0.write(WAKE_ENABLE, 0u16);
    }
}
