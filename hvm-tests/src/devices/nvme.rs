// SPDX-License-Identifier: GPL-2.0-only
//! QEMU's `nvme`: MSI-X with 65 vectors, table, pending bits and registers in one 64-bit BAR.
//!
//! Source 0 is the admin queue, source n the I/O queue n, whose completions interrupt on vector n.

use core::array;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::memory::Memory;
use super::{Device, Driver, Registers};
use crate::msix::{self, Msix};
use crate::pci::Function;
use crate::report;

const CONFIGURATION: usize = 0x14;
const STATUS: usize = 0x1c;
const ADMIN_SIZES: usize = 0x24;
const ADMIN_SUBMISSION: usize = 0x28;
const ADMIN_COMPLETION: usize = 0x30;
const DOORBELLS: usize = 0x1000;

/// Entries of 64 bytes in submission queues, of 16 bytes in completion queues.
const ENABLE: u32 = 1 | 6 << 16 | 4 << 20;
const READY: u32 = 1;

// Commands.
const CREATE_SUBMISSION: u32 = 0x01;
const CREATE_COMPLETION: u32 = 0x05;
const GET_FEATURES: u32 = 0x0a;
const FLUSH: u32 = 0x00;
const NUMBER_OF_QUEUES: u32 = 7;
const NAMESPACE: u32 = 1;
const CONTIGUOUS: u32 = 1;
const INTERRUPT: u32 = 1 << 1;

/// With the admin queue.
const MOST_QUEUES: usize = 65;
const ENTRIES: u32 = 8;
const PAGE: usize = 4096;
/// Page 2n is submission queue n, the page after it completion queue n.
static QUEUES: Memory<{ 2 * MOST_QUEUES }> = Memory::new();

/// One submission queue and its completion queue.
struct Queue {
    number: u32,
    /// Commands submitted and completions taken so far.
    submitted: AtomicU32,
    taken: AtomicU32,
}

impl Queue {
    fn submission(&self) -> usize {
        2 * self.number as usize * PAGE
    }

    fn doorbell(&self, completion: u32) -> usize {
        DOORBELLS + (2 * self.number + completion) as usize * 4
    }

    /// Submits a command: its opcode, the first data pointer, and dwords 10 and 11.
    fn submit(&self, registers: &Registers, opcode: u32, (pointer, details): (usize, [u32; 2])) {
        let n = self.submitted.fetch_add(1, Relaxed);
        let entry = self.submission() + (n % ENTRIES) as usize * 64;
        (0..64).step_by(4).for_each(|offset| QUEUES.write(entry + offset, 0u32));
        QUEUES.write(entry, opcode);
        QUEUES.write(entry + 4, NAMESPACE);
        QUEUES.write(entry + 24, pointer as u64);
        QUEUES.write(entry + 40, details[0]);
        QUEUES.write(entry + 44, details[1]);
        registers.write(self.doorbell(0), (n + 1) % ENTRIES);
    }

    /// The status of the next completion, once there is one.
    fn completed(&self) -> Option<u32> {
        let n = self.taken.load(Relaxed);
        let entry = self.submission() + PAGE + (n % ENTRIES) as usize * 16;
        let last = QUEUES.read::<u32>(entry + 12);
        // The phase bit changes with each time around.
        let phase = n / ENTRIES % 2 == 0;
        ((last >> 16 & 1 != 0) == phase).then_some(last >> 17)
    }

    /// Whether a command can be submitted before another completes.
    fn has_room(&self) -> bool {
        self.submitted.load(Relaxed) - self.taken.load(Relaxed) < ENTRIES - 1
    }

    /// Takes a completion.
    fn take(&self, registers: &Registers) {
        let n = self.taken.fetch_add(1, Relaxed) + 1;
        registers.write(self.doorbell(1), n % ENTRIES);
    }
}

/// A controller with as many queues as vectors.
pub struct Nvme {
    registers: Registers,
    queues: [Queue; MOST_QUEUES],
    sources: u32,
}

impl Driver for Nvme {
    const IDS: &[u32] = &[0x0010_1b36];

    fn set_up(function: Function) -> Option<Self> {
        let msix = Msix::find(function)?;
        let queues = array::from_fn(|number| Queue {
            number: number as u32,
            submitted: AtomicU32::new(0),
            taken: AtomicU32::new(0),
        });
        let sources = msix.size().min(MOST_QUEUES as u32);
        let device = Self { registers: Registers::of(function, 0), queues, sources };
        // It refuses queues with a vector unless MSI-X is on; and meanwhile it shall not interrupt.
        msix.set(msix::ENABLE | msix::FUNCTION_MASK);
        let ready = device.start().and_then(|()| (1..sources).try_for_each(|n| device.create(n)));
        msix.set(0);
        ready.map(|()| device)
    }
}

impl Nvme {
    fn start(&self) -> Option<()> {
        let registers = &self.registers;
        let ready = || registers.read::<u32>(STATUS) & READY != 0;
        registers.write(CONFIGURATION, 0u32);
        registers.wait("stopping", || !ready())?;
        registers.write(ADMIN_SIZES, (ENTRIES - 1) << 16 | (ENTRIES - 1));
        for (register, page) in [(ADMIN_SUBMISSION, 0), (ADMIN_COMPLETION, 1)] {
            registers.write(register, QUEUES.page(page) as u32);
            registers.write(register + 4, 0u32);
        }
        registers.write(CONFIGURATION, ENABLE);
        registers.wait("starting", ready)
    }

    /// Makes I/O queue `n`, with interrupts on vector `n`.
    fn create(&self, n: u32) -> Option<()> {
        let size = (ENTRIES - 1) << 16;
        let page = 2 * n as usize;
        let completion = CONTIGUOUS | INTERRUPT | n << 16;
        self.admin(CREATE_COMPLETION, QUEUES.page(page + 1), [n | size, completion])?;
        self.admin(CREATE_SUBMISSION, QUEUES.page(page), [n | size, CONTIGUOUS | n << 16])
    }

    fn admin(&self, opcode: u32, pointer: usize, details: [u32; 2]) -> Option<()> {
        let (registers, queue) = (&self.registers, &self.queues[0]);
        queue.submit(registers, opcode, (pointer, details));
        registers.wait("an admin command", || queue.completed().is_some())?;
        let status = queue.completed()?;
        queue.take(registers);
        if status != 0 {
            report::error(format_args!(
                "the controller refuses admin command {opcode:#x}: status {status:#x}"
            ));
        }
        (status == 0).then_some(())
    }
}

impl Device for Nvme {
    fn registers(&self) -> &Registers {
        &self.registers
    }

    fn sources(&self) -> u32 {
        self.sources
    }

    fn raise(&self, n: u32) {
        let command = if n == 0 { GET_FEATURES } else { FLUSH };
        self.queues[n as usize].submit(&self.registers, command, (0, [NUMBER_OF_QUEUES, 0]));
    }

    fn again(&self, n: u32) {
        self.acknowledge(n);
        if self.queues[n as usize].has_room() {
            self.raise(n);
        }
    }

    fn acknowledge(&self, n: u32) {
        let queue = &self.queues[n as usize];
        while queue.completed().is_some() {
            queue.take(&self.registers);
        }
    }
}
