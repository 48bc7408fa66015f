// SPDX-License-Identifier: GPL-2.0-only
//! The I/O APIC: every pin that INTx of a PCI device can reach leads to one vector.

use core::ptr;

use crate::apic;
use crate::interrupts::INTX;

const SELECT: *mut u32 = 0xfec0_0000 as *mut u32;
const WINDOW: *mut u32 = 0xfec0_0010 as *mut u32;

const VERSION: u32 = 1;
const FIRST_PIN: u32 = 0x10;
const LEVEL: u32 = 1 << 15;
const ACTIVE_LOW: u32 = 1 << 13;
const MASKED: u32 = 1 << 16;
/// Where a PC's PCI bridge leads INTx unless the I/O APIC has pins of its own for it, from 16 on.
const SHARED_PINS: [u32; 3] = [5, 10, 11];

fn read(register: u32) -> u32 {
    // SAFETY: the I/O APIC is mapped there, uncached, and reading changes nothing.
    unsafe {
        ptr::write_volatile(SELECT, register);
        ptr::read_volatile(WINDOW)
    }
}

fn write(register: u32, value: u32) {
    // SAFETY: as above; all writers are in this file.
    unsafe {
        ptr::write_volatile(SELECT, register);
        ptr::write_volatile(WINDOW, value);
    }
}

fn pins() -> impl Iterator<Item = u32> {
    let last = read(VERSION) >> 16 & 0xff;
    SHARED_PINS.into_iter().chain(16..=last)
}

fn set_all(low: u32) {
    x86_64::instructions::interrupts::without_interrupts(|| {
        pins().for_each(|pin| write(FIRST_PIN + 2 * pin, low));
    });
}

/// Leads INTx of every device to `INTX` on the calling vCPU.
pub(crate) fn catch_intx() {
    let destination = u32::from(apic::id()) << 24;
    pins().for_each(|pin| write(FIRST_PIN + 2 * pin + 1, destination));
    unmask();
}

/// Lets INTx through.
pub(crate) fn unmask() {
    set_all(LEVEL | ACTIVE_LOW | u32::from(INTX));
}

/// Holds INTx back.
pub(crate) fn mask() {
    set_all(MASKED | LEVEL | ACTIVE_LOW | u32::from(INTX));
}
