// SPDX-License-Identifier: GPL-2.0-only
//! PCI through ports 0xCF8 and 0xCFC: functions, capabilities, and placing memory without firmware.

use core::arch::asm;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, Ordering::Relaxed};

use x86_64::instructions::port::Port;

use crate::{hypervisor, mmio, vcpu};

/// The address port.
pub const ADDRESS: u16 = 0xcf8;
/// The data port.
pub const DATA: u16 = 0xcfc;
/// The bit of the address that makes the data port reach configuration space.
pub const ENABLE: u32 = 1 << 31;

// Registers of every function.
const ID: u8 = 0x00;
/// The command register.
pub const COMMAND: u8 = 0x04;
const STATUS: u8 = 0x06;
const HEADER_TYPE: u8 = 0x0e;
/// The first base address register.
pub const BAR0: u8 = 0x10;
const CAPABILITIES: u8 = 0x34;

// Bits of the command register.
const MEMORY: u16 = 1 << 1;
/// Bus master.
pub const BUS_MASTER: u16 = 1 << 2;
/// INTx disable.
pub const INTX_DISABLE: u16 = 1 << 10;

const CAPABILITY_LIST: u16 = 1 << 4;
const MULTIFUNCTION: u8 = 1 << 7;
const ABSENT: u32 = 0xffff_ffff;
/// Upper bound on the capabilities that fit, against a list with a loop.
const MOST_CAPABILITIES: usize = 48;

/// How many base address registers a function has at most.
pub const BARS: u8 = 6;
const BAR_ADDRESS: u32 = !0xf;
const BAR_TYPE: u32 = 0b110;
const BAR_WIDE: u32 = 0b100;

/// The memory below 4 GiB that tests may give to devices starts here; the BARs of a few devices do
/// not fill it.
const MEMORY_START: u32 = 0xf200_0000;
/// Memory for a BAR that a test moves.
pub const SPARE: usize = 0xf800_0000;
/// The same above 4 GiB, for a 64-bit BAR.
pub const SPARE_HIGH: usize = 0x1_0800_0000;

/// Where the BARs of a virtual function are that say nothing themselves: its physical function's
/// rule.
pub static PLACED_ELSEWHERE: [AtomicUsize; BARS as usize] =
    [const { AtomicUsize::new(0) }; BARS as usize];

static NEXT: AtomicU32 = AtomicU32::new(MEMORY_START);

/// Whether a vCPU is between the address port and the data port, and how many want to be.
static SELECTING: AtomicBool = AtomicBool::new(false);
static WAITING: AtomicU32 = AtomicU32::new(0);

/// Does `access` while no other vCPU is in here: there is one address port for all.
fn locked<T>(access: impl FnOnce() -> T) -> T {
    if SELECTING.swap(true, Ordering::Acquire) {
        WAITING.fetch_add(1, Relaxed);
        while SELECTING.swap(true, Ordering::Acquire) {
            hypervisor::give_way();
        }
        WAITING.fetch_sub(1, Relaxed);
    }
    let result = access();
    SELECTING.store(false, Ordering::Release);
    // Not in strict turn: that takes long where the next one does not run.
    if WAITING.load(Relaxed) != 0 {
        hypervisor::give_way();
    }
    result
}

/// A value of 1, 2 or 4 bytes, as one access to configuration space moves it.
pub trait Width: Copy {
    /// Bytes of one access.
    const BYTES: u8;
    /// Reads the data port at `port`.
    fn input(port: u16) -> Self;
    /// Writes the data port at `port`.
    fn output(port: u16, value: Self);
    /// The low bytes of `value`.
    fn of(value: u32) -> Self;
    /// Zero-extended.
    fn wide(self) -> u32;
}

macro_rules! width {
    ($($type:ty),*) => {$(
        impl Width for $type {
            const BYTES: u8 = size_of::<$type>() as u8;
            fn input(port: u16) -> Self {
                // SAFETY: the ports of PCI configuration do not touch the image's memory.
                unsafe { Port::new(port).read() }
            }
            fn output(port: u16, value: Self) {
                // SAFETY: as above; a device gets no address to write to but those of a test.
                unsafe { Port::new(port).write(value) }
            }
            fn of(value: u32) -> Self {
                value as Self
            }
            fn wide(self) -> u32 {
                self.into()
            }
        }
    )*};
}
width!(u8, u16, u32);

/// Reads dwords from a port by one string instruction.
pub fn input_string(port: u16, into: &mut [u32]) {
    // SAFETY: the ports of PCI configuration do not touch the image's memory but this slice.
    unsafe {
        asm!("rep insd", in("dx") port, inout("rcx") into.len() => _,
            inout("rdi") into.as_mut_ptr() => _,
            options(nostack));
    }
}

/// Writes dwords to a port by one string instruction.
pub fn output_string(port: u16, from: &[u32]) {
    // SAFETY: as above; a device gets no address to write to but those of a test.
    unsafe {
        asm!("rep outsd", in("dx") port, inout("rcx") from.len() => _,
            inout("rsi") from.as_ptr() => _,
            options(nostack));
    }
}

/// One function on bus 0.
#[derive(Clone, Copy)]
pub struct Function(u8);

impl fmt::Display for Function {
    fn fmt(&self, output: &mut fmt::Formatter) -> fmt::Result {
        write!(output, "00:{:02x}.{}", self.0 >> 3, self.0 & 7)
    }
}

impl Function {
    /// The function on bus 0 at `device` and `function`, which need not exist.
    pub const fn at(device: u8, function: u8) -> Self {
        Self(device << 3 | function)
    }

    /// What the address port takes to reach the dword with `register`.
    pub fn address(self, register: u8) -> u32 {
        ENABLE | u32::from(self.0) << 8 | u32::from(register & !3)
    }

    /// Points the data port at the dword with `register`; the port of that register. As long as no
    /// vCPU reads or writes another register, all may use the data port at once.
    pub fn select(self, register: u8) -> u16 {
        u32::output(ADDRESS, self.address(register));
        DATA + u16::from(register & 3)
    }

    /// Reads a register; it must not cross a dword.
    pub fn read<W: Width>(self, register: u8) -> W {
        locked(|| W::input(self.select(register)))
    }

    /// Writes a register; it must not cross a dword.
    pub fn write<W: Width>(self, register: u8, value: W) {
        locked(|| W::output(self.select(register), value));
    }

    /// Changes bits of the command register, and no other vCPU between reading and writing.
    fn command(self, bits: u16, set: bool) {
        locked(|| {
            let port = self.select(COMMAND);
            let others = u16::input(port) & !bits;
            u16::output(port, others | if set { bits } else { 0 });
        });
    }

    /// Sets or clears INTx-disable.
    pub fn disable_intx(self, disable: bool) {
        self.command(INTX_DISABLE, disable);
    }

    /// The register where the capability `id` starts.
    pub fn capability(self, id: u8) -> Option<u8> {
        if self.read::<u16>(STATUS) & CAPABILITY_LIST == 0 {
            return None;
        }
        let mut register = self.read::<u8>(CAPABILITIES) & !3;
        for _ in 0..MOST_CAPABILITIES {
            match self.read::<u8>(register) {
                _ if register == 0 => return None,
                found if found == id => return Some(register),
                _ => register = self.read::<u8>(register + 1) & !3,
            }
        }
        None
    }

    /// Vendor in the low half, device in the high half.
    pub fn id(self) -> u32 {
        self.read(ID)
    }

    /// Lets the function master the bus, which its messages take, or not.
    pub fn master(self, on: bool) {
        self.command(BUS_MASTER, on);
    }

    /// Gives each memory BAR an address, and the function the right to decode it and to master the
    /// bus.
    pub fn place(self) {
        self.decode(false);
        let mut index = 0;
        while index < BARS {
            index += self.place_bar(index);
        }
        let command = self.read::<u16>(COMMAND);
        self.write(COMMAND, command | MEMORY | BUS_MASTER);
    }

    /// Places one BAR with decoding off; how many registers it takes.
    fn place_bar(self, index: u8) -> u8 {
        let register = BAR0 + 4 * index;
        self.write(register, !0u32);
        let size = self.read::<u32>(register);
        let in_memory = size != 0 && size & 1 == 0;
        let place = if in_memory { memory(size & BAR_ADDRESS) } else { 0 };
        self.write(register, place);
        if !in_memory || !self.is_wide(index) {
            return 1;
        }
        self.write(register + 4, 0u32);
        2
    }

    /// Whether a BAR has 64 bits.
    pub fn is_wide(self, index: u8) -> bool {
        self.read::<u32>(BAR0 + 4 * index) & BAR_TYPE == BAR_WIDE
    }

    /// Whether a BAR is one for memory, and none or half of one.
    pub fn is_memory(self, index: u8) -> bool {
        let upper = index > 0 && self.is_memory(index - 1) && self.is_wide(index - 1);
        !upper && self.read::<u32>(BAR0 + 4 * index) & 1 == 0
    }

    /// Where a memory BAR is.
    pub fn bar(self, index: u8) -> usize {
        let low = self.read::<u32>(BAR0 + 4 * index) & BAR_ADDRESS;
        if low == 0 {
            return PLACED_ELSEWHERE[usize::from(index)].load(Relaxed);
        }
        let high = if self.is_wide(index) { self.read::<u32>(BAR0 + 4 * index + 4) } else { 0 };
        (u64::from(high) << 32 | u64::from(low)) as usize
    }

    /// Moves a memory BAR, with decoding off meanwhile, as drivers and systems do.
    pub fn move_bar(self, index: u8, place: usize) {
        vcpu::while_memory_moves(|| {
            self.command(MEMORY, false);
            self.set_bar(index, place);
            self.command(MEMORY, true);
        });
    }

    /// Writes a memory BAR, decoded or not.
    pub fn write_bar(self, index: u8, place: usize) {
        vcpu::while_memory_moves(|| self.set_bar(index, place));
    }

    fn set_bar(self, index: u8, place: usize) {
        self.write(BAR0 + 4 * index, place as u32);
        if self.is_wide(index) {
            self.write(BAR0 + 4 * index + 4, (place >> 32) as u32);
        }
    }

    /// Turns memory decoding on or off.
    pub fn decode(self, on: bool) {
        vcpu::while_memory_moves(|| self.command(MEMORY, on));
    }
}

/// Memory that no BAR has yet, aligned to its size. `mask` is what a BAR reads after all ones were
/// written: the ones below its lowest are its size.
fn memory(mask: u32) -> u32 {
    // A page at least: none is shared by two BARs.
    let size = (1u32 << mask.trailing_zeros()).max(0x1000);
    let place = NEXT.load(Relaxed).next_multiple_of(size);
    NEXT.store(place + size, Relaxed);
    place
}

/// Puts the first BAR of each of `functions` at one place and has them decode it, all at once; then
/// none does.
pub fn overlap(functions: impl Iterator<Item = Function> + Clone) {
    functions.clone().for_each(|function| function.move_bar(0, SPARE));
    // Reads of registers do no harm; who answers is open.
    mmio::read::<u32>(SPARE);
    functions.for_each(|function| function.decode(false));
}

/// Every function on bus 0.
pub fn functions() -> impl Iterator<Item = Function> + Clone {
    (0..32)
        .flat_map(|device| {
            let several = Function::at(device, 0).read::<u8>(HEADER_TYPE) & MULTIFUNCTION != 0;
            let absent = Function::at(device, 0).read::<u32>(ID) == ABSENT;
            let last = if several && !absent { 8 } else { 1 };
            (0..last).map(move |function| Function::at(device, function))
        })
        .filter(|function| function.id() != ABSENT)
}
