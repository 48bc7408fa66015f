// SPDX-License-Identifier: GPL-2.0-only
//! QEMU's `nec-usb-xhci` with a USB device: MSI with 16 vectors and no mask bits, and MSI-X with 16
//! vectors, table, pending bits and registers in one 64-bit BAR. `qemu-xhci` is the same without
//! MSI.
//!
//! Each source is an interrupter: a request to the USB device's control endpoint names the one that
//! its completion is to go to. With fewer vectors than interrupters, interrupter n takes vector n
//! modulo their number.

use core::array;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::memory::Memory;
use super::{Device, Driver, Registers};
use crate::pci::Function;
use crate::report;

// Capability registers.
const LENGTH: usize = 0x00;
const PARAMETERS: usize = 0x04;
const DOORBELL_OFFSET: usize = 0x14;
const RUNTIME_OFFSET: usize = 0x18;
// Operational registers.
const COMMAND: usize = 0x00;
const STATUS: usize = 0x04;
const COMMAND_RING: usize = 0x18;
const CONTEXTS: usize = 0x30;
const SLOTS: usize = 0x38;
const PORTS: usize = 0x400;
const PORT: usize = 0x10;
// Registers of an interrupter, the first of which is at this offset of the runtime registers.
const INTERRUPTER: usize = 0x20;
const MANAGEMENT: usize = 0x00;
const SEGMENTS: usize = 0x08;
const SEGMENT_TABLE: usize = 0x10;
const DEQUEUE: usize = 0x18;

const RUN: u32 = 1 << 0;
const RESET: u32 = 1 << 1;
const INTERRUPTS: u32 = 1 << 2;
const CYCLE: u32 = 1;
const CONNECTED: u32 = 1 << 0;
const RESET_PORT: u32 = 1 << 4;
const POWER: u32 = 1 << 9;
const SPEED: u32 = 0xf << 10;
const PENDING: u32 = 1 << 0;
const ENABLE: u32 = 1 << 1;
const BUSY: u32 = 1 << 3;

// Types of ring entries, and their bits.
const SETUP: u32 = 2 << 10;
const STATUS_STAGE: u32 = 4 << 10;
const LINK: u32 = 6 << 10;
const ENABLE_SLOT: u32 = 9 << 10;
const ADDRESS_DEVICE: u32 = 11 << 10;
const TOGGLE: u32 = 1 << 1;
const ON_COMPLETION: u32 = 1 << 5;
const IMMEDIATE: u32 = 1 << 6;
const TO_HOST: u32 = 1 << 16;
const SUCCESS: u32 = 1;
/// Clear feature: remote wake-up. It moves no data and changes nothing that matters.
const REQUEST: [u32; 2] = [0x0001_0100, 0];

const MOST_INTERRUPTERS: usize = 16;
const ENTRY: usize = 16;
/// Entries of a ring before the link to its start.
const RING: u32 = 32;
const EVENTS: u32 = 16;

// Offsets in the memory, a page each.
const PAGE: usize = 4096;
const CONTEXT_TABLE: usize = 0;
const COMMANDS: usize = PAGE;
const TRANSFERS: usize = 2 * PAGE;
const EVENT_RINGS: usize = 3 * PAGE;
const SEGMENT_TABLES: usize = 4 * PAGE;
const INPUT: usize = 5 * PAGE;
const OUTPUT: usize = 6 * PAGE;
static MEMORY: Memory<7> = Memory::new();

fn address(offset: usize) -> u32 {
    (MEMORY.page(0) + offset) as u32
}

/// A ring that this driver fills.
struct Ring {
    start: usize,
    filled: AtomicU32,
}

impl Ring {
    fn at(start: usize) -> Self {
        let link = start + RING as usize * ENTRY;
        MEMORY.write(link, address(start));
        Self { start, filled: AtomicU32::new(0) }
    }

    /// Appends an entry; its cycle bit is added.
    fn push(&self, entry: [u32; 4]) {
        let n = self.filled.fetch_add(1, Relaxed);
        let cycle = u32::from(n / RING % 2 == 0);
        let place = self.start + (n % RING) as usize * ENTRY;
        for (offset, value) in (0..).step_by(4).zip(&entry[..3]) {
            MEMORY.write(place + offset, *value);
        }
        MEMORY.write(place + 12, entry[3] | cycle);
        if n % RING == RING - 1 {
            MEMORY.write(self.start + RING as usize * ENTRY + 12, LINK | TOGGLE | cycle);
        }
    }
}

/// A running controller with an addressed USB device.
pub struct Xhci {
    registers: Registers,
    operational: usize,
    runtime: usize,
    doorbells: usize,
    interrupters: u32,
    commands: Ring,
    transfers: Ring,
    /// Events taken so far from each interrupter.
    taken: [AtomicU32; MOST_INTERRUPTERS],
    slot: AtomicU32,
}

impl Driver for Xhci {
    const IDS: &[u32] = &[0x0194_1033, 0x000d_1b36];

    fn set_up(function: Function) -> Option<Self> {
        let registers = Registers::of(function, 0);
        let interrupters =
            (registers.read::<u32>(PARAMETERS) >> 8 & 0x7ff).min(MOST_INTERRUPTERS as u32);
        let device = Self {
            operational: registers.read::<u8>(LENGTH).into(),
            runtime: registers.read::<u32>(RUNTIME_OFFSET) as usize,
            doorbells: registers.read::<u32>(DOORBELL_OFFSET) as usize,
            registers,
            interrupters,
            commands: Ring::at(COMMANDS),
            transfers: Ring::at(TRANSFERS),
            taken: array::from_fn(|_| AtomicU32::new(0)),
            slot: AtomicU32::new(0),
        };
        device.start()?;
        device.address_device()?;
        Some(device)
    }
}

impl Xhci {
    fn start(&self) -> Option<()> {
        let (registers, operational) = (&self.registers, self.operational);
        registers.write(operational + COMMAND, RESET);
        registers.wait("a reset", || registers.read::<u32>(operational + COMMAND) & RESET == 0)?;
        MEMORY.write(CONTEXT_TABLE + 8, u64::from(address(OUTPUT)));
        registers.write(operational + SLOTS, 1u32);
        self.write_wide(operational + CONTEXTS, address(CONTEXT_TABLE));
        self.write_wide(operational + COMMAND_RING, address(COMMANDS) | CYCLE);
        (0..self.interrupters).for_each(|n| self.start_interrupter(n));
        registers.write(operational + COMMAND, RUN | INTERRUPTS);
        Some(())
    }

    fn write_wide(&self, register: usize, value: u32) {
        self.registers.write(register, value);
        self.registers.write(register + 4, 0u32);
    }

    fn interrupter(&self, n: u32) -> usize {
        self.runtime + INTERRUPTER + n as usize * 0x20
    }

    fn events(&self, n: u32) -> usize {
        EVENT_RINGS + n as usize * EVENTS as usize * ENTRY
    }

    fn start_interrupter(&self, n: u32) {
        let table = SEGMENT_TABLES + n as usize * 64;
        MEMORY.write(table, u64::from(address(self.events(n))));
        MEMORY.write(table + 8, EVENTS);
        self.registers.write(self.interrupter(n) + SEGMENTS, 1u32);
        self.write_wide(self.interrupter(n) + DEQUEUE, address(self.events(n)));
        self.write_wide(self.interrupter(n) + SEGMENT_TABLE, address(table));
    }

    /// The next event of an interrupter, once it is there: parameter, status and control.
    fn event(&self, n: u32) -> Option<[u32; 3]> {
        let taken = self.taken[n as usize].load(Relaxed);
        let place = self.events(n) + (taken % EVENTS) as usize * ENTRY;
        let control = MEMORY.read::<u32>(place + 12);
        let cycle = u32::from(taken / EVENTS % 2 == 0);
        (control & CYCLE == cycle).then(|| [MEMORY.read(place), MEMORY.read(place + 8), control])
    }

    /// Takes an event.
    fn take(&self, n: u32) {
        let taken = self.taken[n as usize].fetch_add(1, Relaxed) + 1;
        let place = address(self.events(n)) + taken % EVENTS * ENTRY as u32;
        self.write_wide(self.interrupter(n) + DEQUEUE, place | BUSY);
    }

    /// Gives a command; the slot that its completion names.
    fn command(&self, pointer: u32, control: u32) -> Option<u32> {
        let asked = address(COMMANDS) + self.commands.filled.load(Relaxed) % RING * ENTRY as u32;
        self.commands.push([pointer, 0, 0, control]);
        self.registers.write(self.doorbells, 0u32);
        let mut answer = None;
        self.registers.wait("a command", || {
            while let (None, Some([of, status, control])) = (answer, self.event(0)) {
                self.take(0);
                answer = (of == asked).then_some((status >> 24, control >> 24));
            }
            answer.is_some()
        })?;
        let (code, slot) = answer?;
        if code != SUCCESS {
            report::error(format_args!("the controller refuses command {control:#x}: code {code}"));
        }
        (code == SUCCESS).then_some(slot)
    }

    /// The first port with a USB device, from 1 on, and the device's speed.
    fn port(&self) -> Option<(u32, u32)> {
        let ports = self.registers.read::<u32>(PARAMETERS) >> 24;
        (0..ports).find_map(|n| {
            let register = self.operational + PORTS + n as usize * PORT;
            if self.registers.read::<u32>(register) & CONNECTED == 0 {
                return None;
            }
            self.registers.write(register, POWER | RESET_PORT);
            Some((n + 1, (self.registers.read::<u32>(register) & SPEED) >> 10))
        })
    }

    fn address_device(&self) -> Option<()> {
        let Some((port, speed)) = self.port() else {
            report::error(format_args!("no USB device is attached to the controller"));
            return None;
        };
        let slot = self.command(0, ENABLE_SLOT)?;
        self.slot.store(slot, Relaxed);
        MEMORY.write(CONTEXT_TABLE + 8 * slot as usize, u64::from(address(OUTPUT)));
        // Add the slot's context and that of its control endpoint.
        MEMORY.write(INPUT + 4, 3u32);
        MEMORY.write(INPUT + 0x20, 1 << 27 | speed << 20);
        MEMORY.write(INPUT + 0x24, port << 16);
        // Three errors at most, a control endpoint, packets of 64 bytes.
        MEMORY.write(INPUT + 0x44, 3u32 << 1 | 4 << 3 | 64 << 16);
        MEMORY.write(INPUT + 0x48, u64::from(address(TRANSFERS) | CYCLE));
        self.command(address(INPUT), ADDRESS_DEVICE | slot << 24)?;
        Some(())
    }
}

impl Device for Xhci {
    fn registers(&self) -> &Registers {
        &self.registers
    }

    fn sources(&self) -> u32 {
        self.interrupters
    }

    fn raise(&self, n: u32) {
        self.registers.write(self.interrupter(n) + MANAGEMENT, ENABLE | PENDING);
        self.transfers.push([REQUEST[0], REQUEST[1], 8, SETUP | IMMEDIATE]);
        self.transfers.push([0, 0, n << 22, STATUS_STAGE | TO_HOST | ON_COMPLETION]);
        let slot = self.slot.load(Relaxed) as usize;
        self.registers.write(self.doorbells + 4 * slot, 1u32);
    }

    fn acknowledge(&self, n: u32) {
        while self.event(n).is_some() {
            self.take(n);
        }
        self.registers.write(self.operational + STATUS, INTERRUPTS_SEEN);
        self.registers.write(self.interrupter(n) + MANAGEMENT, ENABLE | PENDING);
    }
}

/// Event interrupt, and port change, in the status register.
const INTERRUPTS_SEEN: u32 = 1 << 3 | 1 << 4;
