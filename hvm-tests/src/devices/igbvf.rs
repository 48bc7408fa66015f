// SPDX-License-Identifier: GPL-2.0-only
//! A virtual function of QEMU's `igb`: MSI-X with three vectors that software can raise one by one,
//! once the physical function's driver has turned several vectors on.
//!
//! Under Xen that driver is dom0's. Without Xen this file plays its part, through the machine's
//! window into extended configuration space.

use core::sync::atomic::Ordering::Relaxed;

use super::{Device, Driver, Registers, igb};
use crate::mmio;
use crate::pci::{self, Function};

const SOURCES: u32 = 3;
const PHYSICAL: u32 = 0x10c9_8086;

// The q35 machine: the register of its host bridge that opens the window, and where it goes.
const BRIDGE: Function = Function::at(0, 0);
const WINDOW_REGISTER: u8 = 0x60;
const WINDOW: usize = 0xe000_0000;
const OPEN: u32 = 1;

// Registers of the SR-IOV capability, from its start.
const EXTENDED: usize = 0x100;
const SRIOV: u32 = 0x10;
const CONTROL: usize = 0x08;
const COUNT: usize = 0x10;
const BAR0: usize = 0x24;
const ENABLE: u16 = 1 << 0;
const MEMORY: u16 = 1 << 3;
/// Where BARs of virtual functions go: their own two BARs of 16 KiB, apart from those of other
/// functions.
const PLACES: [(usize, u32); 2] = [(0, 0xfa00_0000), (3, 0xfa10_0000)];

/// Turns one virtual function on where there is only a physical one.
pub fn enable() {
    let Some(physical) = pci::functions().find(|function| function.id() == PHYSICAL) else {
        return;
    };
    physical.place();
    igb::several_vectors(&Registers::of(physical, 0), true);
    BRIDGE.write(WINDOW_REGISTER, WINDOW as u32 | OPEN);
    let space = WINDOW + (physical.address(0) as usize & 0xff00) * 16;
    let Some(sriov) = extended(space, SRIOV) else { return };
    for (bar, place) in PLACES {
        mmio::write(sriov + BAR0 + 4 * bar, place);
        mmio::write(sriov + BAR0 + 4 * bar + 4, 0u32);
        pci::PLACED_ELSEWHERE[bar].store(place as usize, Relaxed);
    }
    mmio::write(sriov + COUNT, 1u16);
    mmio::write(sriov + CONTROL, ENABLE | MEMORY);
}

/// Where the extended capability `id` of the function with this configuration space is.
fn extended(space: usize, id: u32) -> Option<usize> {
    let mut place = EXTENDED;
    while place >= EXTENDED {
        let header = mmio::read::<u32>(space + place);
        if header & 0xffff == id {
            return Some(space + place);
        }
        place = (header >> 20) as usize;
    }
    None
}

/// A virtual function.
pub struct IgbVf(Registers);

impl Driver for IgbVf {
    const IDS: &[u32] = &[0x10ca_8086];

    fn set_up(function: Function) -> Option<Self> {
        let registers = Registers::of(function, 0);
        registers.write(igb::AUTO_CLEAR, (1 << SOURCES) - 1u32);
        Some(Self(registers))
    }
}

impl Device for IgbVf {
    fn registers(&self) -> &Registers {
        &self.0
    }

    fn sources(&self) -> u32 {
        SOURCES
    }

    fn raise(&self, n: u32) {
        self.0.write(igb::ENABLE, 1u32 << n);
        self.0.write(igb::SET, 1u32 << n);
    }

    fn acknowledge(&self, n: u32) {
        self.0.write(igb::STATUS, 1u32 << n);
    }
}
