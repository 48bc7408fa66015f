// SPDX-License-Identifier: GPL-2.0-only
//! QEMU's `e1000e`: MSI with one 64-bit vector and no mask bits, and MSI-X with five vectors, each
//! with a cause of its own that software can set.

use super::{Device, Driver, Registers};
use crate::pci::Function;
use crate::time;

const CONTROL_EXTENDED: usize = 0x18;
const CAUSE: usize = 0xc0;
const SET_CAUSE: usize = 0xc8;
const ENABLE_CAUSE: usize = 0xd0;
const AUTO_CLEAR: usize = 0xdc;
const VECTORS: usize = 0xe4;

/// Of the causes, only auto-clear follows from an interrupt.
const KEEP_ENABLED: u32 = 1 << 24 | 1 << 27;
/// Two receive queues, two transmit queues, and all else.
const SOURCES: u32 = 5;
const FIRST_CAUSE: u32 = 20;
/// Source n on vector n: four bits each, the highest says that it is valid.
const ONE_TO_ONE: u32 = 0xc_ba98;
/// QEMU's throttle at its least: a message is followed by another when it ends.
const THROTTLE_MS: u64 = 1;

/// A network card that neither sends nor receives.
pub struct E1000e(Registers);

impl Driver for E1000e {
    const IDS: &[u32] = &[0x10d3_8086];

    fn set_up(function: Function) -> Option<Self> {
        let device = Self(Registers::of(function, 0));
        device.set_up_again().then_some(device)
    }
}

impl Device for E1000e {
    fn registers(&self) -> &Registers {
        &self.0
    }

    fn set_up_again(&self) -> bool {
        let registers = &self.0;
        registers.write(CONTROL_EXTENDED, registers.read::<u32>(CONTROL_EXTENDED) | KEEP_ENABLED);
        registers.write(VECTORS, ONE_TO_ONE);
        registers.write(AUTO_CLEAR, ((1 << SOURCES) - 1u32) << FIRST_CAUSE);
        registers.write(CAUSE, !0u32);
        true
    }

    fn sources(&self) -> u32 {
        SOURCES
    }

    fn raise(&self, n: u32) {
        let cause = 1u32 << (FIRST_CAUSE + n);
        self.0.write(ENABLE_CAUSE, cause);
        self.0.write(SET_CAUSE, cause);
    }

    fn surplus(&self) -> u32 {
        1
    }

    fn again(&self, n: u32) {
        self.0.write(CAUSE, 1u32 << (FIRST_CAUSE + n));
        self.raise(n);
    }

    fn acknowledge(&self, n: u32) {
        time::spin(THROTTLE_MS);
        self.0.write(CAUSE, 1u32 << (FIRST_CAUSE + n));
    }
}
