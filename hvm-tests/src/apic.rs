// SPDX-License-Identifier: GPL-2.0-only
//! The local APIC of the calling vCPU, through its page in memory.

use core::ptr;

use crate::interrupts::{SPURIOUS, TICK};

const BASE: usize = 0xfee0_0000;

const ID: usize = 0x20;
const TASK_PRIORITY: usize = 0x80;
const END_OF_INTERRUPT: usize = 0xb0;
const LOGICAL_DESTINATION: usize = 0xd0;
const DESTINATION_FORMAT: usize = 0xe0;
const SPURIOUS_VECTOR: usize = 0xf0;
const COMMAND: usize = 0x300;
const TIMER: usize = 0x320;
const LINT0: usize = 0x350;
const LINT1: usize = 0x360;
const TIMER_INITIAL: usize = 0x380;
const TIMER_DIVIDE: usize = 0x3e0;

const SOFTWARE_ENABLE: u32 = 1 << 8;
const MASKED: u32 = 1 << 16;
const PERIODIC: u32 = 1 << 17;
const DIVIDE_BY_1: u32 = 0xb;
/// 1 ms at QEMU's timer clock, 10 ms at Xen's.
const TICK_COUNT: u32 = 1_000_000;
const FLAT: u32 = 0xffff_ffff;

const ALL_BUT_SELF: u32 = 3 << 18;
const ASSERT: u32 = 1 << 14;
const INIT: u32 = 5 << 8;
const START_UP: u32 = 6 << 8;

fn read(register: usize) -> u32 {
    // SAFETY: the local APIC is mapped there, uncached, and reading these registers changes
    // nothing.
    unsafe { ptr::read_volatile((BASE + register) as *const u32) }
}

fn write(register: usize, value: u32) {
    // SAFETY: as above; every writer in this file keeps the APIC in a defined state.
    unsafe { ptr::write_volatile((BASE + register) as *mut u32, value) }
}

/// Takes interrupts at every priority and starts the tick that ends `hlt`.
///
/// In logical mode, vCPU n answers to bit n of the flat destination.
pub(crate) fn enable() {
    write(SPURIOUS_VECTOR, SOFTWARE_ENABLE | u32::from(SPURIOUS));
    write(TASK_PRIORITY, 0);
    write(LINT0, MASKED);
    write(LINT1, MASKED);
    write(TIMER_DIVIDE, DIVIDE_BY_1);
    write(TIMER, PERIODIC | u32::from(TICK));
    write(TIMER_INITIAL, TICK_COUNT);
}

/// Sets the logical ID, in the flat model: one bit for each vCPU.
pub fn set_logical_id(id: u8) {
    write(DESTINATION_FORMAT, FLAT);
    write(LOGICAL_DESTINATION, u32::from(id) << 24);
}

/// The physical ID of the calling vCPU.
pub fn id() -> u8 {
    (read(ID) >> 24) as u8
}

pub(crate) fn end_of_interrupt() {
    write(END_OF_INTERRUPT, 0);
}

/// Resets all other vCPUs.
pub(crate) fn send_init() {
    write(COMMAND, ALL_BUT_SELF | ASSERT | INIT);
}

/// Starts all other vCPUs in real mode at the start of `page`.
pub(crate) fn send_start_up(page: u8) {
    write(COMMAND, ALL_BUT_SELF | ASSERT | START_UP | u32::from(page));
}
