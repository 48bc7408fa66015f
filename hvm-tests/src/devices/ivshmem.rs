// SPDX-License-Identifier: GPL-2.0-only
//! QEMU's `ivshmem-doorbell`: MSI-X with as many vectors as it was given. It rings its own
//! doorbell, which its server lets every peer do; a program on the host can fire the same vectors.

use super::{Device, Driver, Registers};
use crate::msix::Msix;
use crate::pci::Function;

const POSITION: usize = 0x08;
const DOORBELL: usize = 0x0c;
/// Until the server has told it who it is.
const NOBODY: u32 = 0xffff_ffff;

/// One peer of those that share the memory.
pub struct Ivshmem {
    registers: Registers,
    position: u32,
    vectors: u32,
}

impl Driver for Ivshmem {
    const IDS: &[u32] = &[0x1110_1af4];

    fn set_up(function: Function) -> Option<Self> {
        let registers = Registers::of(function, 0);
        registers.wait("the server's answer", || registers.read::<u32>(POSITION) != NOBODY)?;
        let position = registers.read(POSITION);
        let vectors = Msix::find(function)?.size();
        Some(Self { registers, position, vectors })
    }
}

impl Device for Ivshmem {
    fn registers(&self) -> &Registers {
        &self.registers
    }

    fn sources(&self) -> u32 {
        self.vectors
    }

    fn raise(&self, n: u32) {
        self.registers.write(DOORBELL, self.position << 16 | n);
    }

    fn acknowledge(&self, _: u32) {}
}
