// SPDX-License-Identifier: GPL-2.0-only
//! A benchmark: the 10th percentile of what one access costs, as a multiple of reading Xen's own PM
//! timer.

use crate::msi::{CONTROL, ENABLE};
use crate::pci::{self, Function, Width};
use crate::{Device, Message, Msi, apic, hypervisor, say, time};

const SAMPLES: usize = 400;
const VECTOR: u8 = 0x60;
/// Xen's port where no firmware moved it, and QEMU's where its firmware puts it.
const PM_TIMER: u16 = 0x1f48;
const PM_TIMER_BARE: u16 = 0x608;
/// Revision and class: QEMU answers.
const CLASS: u8 = 0x08;
const INTERRUPT_LINE: u8 = 0x3c;

pub fn run(device: &dyn Device) {
    let function = device.function();
    let msi = Msi::of(function);
    let valid = Message::fixed(apic::id(), VECTOR);
    msi.program(valid);
    let timer = if hypervisor::bare() { PM_TIMER_BARE } else { PM_TIMER };
    let unit = percentile(|_| {
        u32::input(timer);
    });
    let costs = Costs { unit: unit.max(1) };
    costs.show("write 0xCF8", |_| {
        function.select(CLASS);
    });
    emulated(&costs, function);
    own(&costs, msi, function);
    let off = msi.control() & !ENABLE;
    function.select(msi.start() + CONTROL);
    let control = pci::DATA + u16::from(CONTROL);
    costs.show("write MSI control, enable or disable in turn", |n| {
        u16::output(control, off | (n as u16 & ENABLE))
    });
    msi.enable(false);
}

/// Registers that QEMU emulates; the address port is set before, outside the measurement.
fn emulated(costs: &Costs, function: Function) {
    function.select(CLASS);
    costs.show("read 0xCFC, emulated register", |_| {
        u32::input(pci::DATA);
    });
    function.select(INTERRUPT_LINE);
    costs.show("write 0xCFC, emulated register", |n| u8::output(pci::DATA, n as u8));
}

/// Registers of the capability.
fn own(costs: &Costs, msi: Msi, function: Function) {
    function.select(msi.start() + msi.data());
    costs.show("read MSI data", |_| {
        u16::input(pci::DATA);
    });
    costs.show("write MSI data, MSI off", |n| {
        u16::output(pci::DATA, u16::from(VECTOR) + (n as u16 & 1))
    });
    msi.enable(true);
    function.select(msi.start() + msi.data());
    costs.show("write MSI data, MSI on, same value", |_| u16::output(pci::DATA, u16::from(VECTOR)));
    costs.show("write MSI data, MSI on, other value", |n| {
        u16::output(pci::DATA, u16::from(VECTOR) + (n as u16 & 1))
    });
}

struct Costs {
    /// Ticks of one PM timer read.
    unit: u64,
}

impl Costs {
    /// One line: the name and the multiple, with one digit after the point.
    fn show(&self, name: &str, access: impl FnMut(usize)) {
        let tenths = percentile(access) * 10 / self.unit;
        say!("cost: {name}: {}.{}", tenths / 10, tenths % 10);
    }
}

fn percentile(mut access: impl FnMut(usize)) -> u64 {
    let mut samples = [0; SAMPLES];
    for (n, sample) in samples.iter_mut().enumerate() {
        let begin = time::ticks();
        access(n);
        *sample = time::ticks() - begin;
    }
    samples.sort_unstable();
    samples[SAMPLES / 10]
}
