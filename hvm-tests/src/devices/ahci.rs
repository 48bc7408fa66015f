// SPDX-License-Identifier: GPL-2.0-only
//! QEMU's `ich9-ahci` with a disk at its first port that has one: MSI with one 64-bit vector and no
//! mask bits.
//!
//! One command leaves its completion in the port's status; the port's interrupt enable makes an
//! interrupt of it.

use super::memory::Memory;
use super::{Device, Driver, Registers};
use crate::pci::Function;

// Registers of the controller.
const CONTROL: usize = 0x04;
const PORTS: usize = 0x0c;
const FIRST_PORT: usize = 0x100;
const PORT: usize = 0x80;
// Registers of a port.
const COMMAND_LIST: usize = 0x00;
const COMMAND_LIST_UPPER: usize = 0x04;
const RECEIVED: usize = 0x08;
const RECEIVED_UPPER: usize = 0x0c;
const STATUS: usize = 0x10;
const ENABLE: usize = 0x14;
const COMMAND: usize = 0x18;
const LINK: usize = 0x28;
const ISSUE: usize = 0x38;

const AHCI_ENABLE: u32 = 1 << 31;
const INTERRUPTS: u32 = 1 << 1;
const START: u32 = 1 << 0;
const RECEIVE: u32 = 1 << 4;
const LINK_UP: u32 = 3;
/// A register FIS arrived from the device.
const REGISTERS_ARRIVED: u32 = 1 << 0;

// The pages: command list, received FIS, command table.
static MEMORY: Memory<3> = Memory::new();
const TABLE: usize = 0x2000;
/// Length of the command FIS in dwords.
const FIS_DWORDS: u32 = 5;
/// A register FIS to the device that carries a command: flush cache, which moves no data.
const FLUSH: u32 = 0x27 | 0x80 << 8 | 0xe7 << 16;

/// A controller, with a completion in a port's status.
pub struct Ahci {
    registers: Registers,
    port: usize,
}

impl Driver for Ahci {
    const IDS: &[u32] = &[0x2922_8086];

    fn set_up(function: Function) -> Option<Self> {
        let registers = Registers::of(function, 5);
        registers.write(CONTROL, AHCI_ENABLE);
        let ports = registers.read::<u32>(PORTS);
        let with_disk = |&port: &usize| registers.read::<u32>(port + LINK) & 0xf == LINK_UP;
        let port = (0..32)
            .filter(|n| ports >> n & 1 != 0)
            .map(|n| FIRST_PORT + n * PORT)
            .find(with_disk)?;
        let device = Self { registers, port };
        device.complete_one()?;
        device.registers.write(CONTROL, AHCI_ENABLE | INTERRUPTS);
        Some(device)
    }
}

impl Ahci {
    fn complete_one(&self) -> Option<()> {
        MEMORY.write(0, FIS_DWORDS);
        MEMORY.write(8, MEMORY.page(2) as u32);
        MEMORY.write(TABLE, FLUSH);
        for (register, value) in [
            (ENABLE, 0),
            (COMMAND_LIST, MEMORY.page(0) as u32),
            (COMMAND_LIST_UPPER, 0),
            (RECEIVED, MEMORY.page(1) as u32),
            (RECEIVED_UPPER, 0),
            (COMMAND, RECEIVE),
            (COMMAND, RECEIVE | START),
            (STATUS, !0),
            (ISSUE, 1),
        ] {
            self.registers.write(self.port + register, value);
        }
        self.registers.wait("a command", || {
            self.registers.read::<u32>(self.port + STATUS) & REGISTERS_ARRIVED != 0
        })
    }
}

impl Device for Ahci {
    fn registers(&self) -> &Registers {
        &self.registers
    }

    fn raise(&self, _: u32) {
        self.registers.write(self.port + ENABLE, REGISTERS_ARRIVED);
    }

    fn acknowledge(&self, _: u32) {
        self.registers.write(self.port + ENABLE, 0u32);
    }
}
