// SPDX-License-Identifier: GPL-2.0-only
//! Accesses to memory of devices, of one exact width each, aligned or not.

use core::arch::asm;

/// A value that one access moves: 1, 2, 4 or 8 bytes.
pub trait Value: Copy + Into<u64> {
    /// Bytes of one access.
    const BYTES: usize;
    /// Reads it with one instruction.
    ///
    /// # Safety
    /// Reading there must do no harm.
    unsafe fn load(address: usize) -> Self;
    /// Writes it with one instruction.
    ///
    /// # Safety
    /// Writing there must do no harm.
    unsafe fn store(address: usize, value: Self);
    /// The low bytes of `value`.
    fn of(value: u64) -> Self;
}

macro_rules! value {
    ($($type:ty, $class:ident, $load:literal, $store:literal;)*) => {$(
        impl Value for $type {
            const BYTES: usize = size_of::<$type>();
            unsafe fn load(address: usize) -> Self {
                let value;
                // SAFETY: promised by the caller.
                unsafe { asm!($load, value = out($class) value, address = in(reg) address, options(nostack)) };
                value
            }
            unsafe fn store(address: usize, value: Self) {
                // SAFETY: promised by the caller.
                unsafe { asm!($store, value = in($class) value, address = in(reg) address, options(nostack)) };
            }
            fn of(value: u64) -> Self {
                value as Self
            }
        }
    )*};
}
value! {
    u8, reg_byte, "mov {value}, byte ptr [{address}]", "mov byte ptr [{address}], {value}";
    u16, reg, "mov {value:x}, word ptr [{address}]", "mov word ptr [{address}], {value:x}";
    u32, reg, "mov {value:e}, dword ptr [{address}]", "mov dword ptr [{address}], {value:e}";
    u64, reg, "mov {value:r}, qword ptr [{address}]", "mov qword ptr [{address}], {value:r}";
}

/// Reads memory of a device.
pub fn read<V: Value>(address: usize) -> V {
    // SAFETY: tests and drivers read what was placed, uncached, and no RAM is there.
    unsafe { V::load(address) }
}

/// Writes memory of a device.
pub fn write<V: Value>(address: usize, value: V) {
    // SAFETY: as above; a device gets no address to write to but those of a test or driver.
    unsafe { V::store(address, value) }
}

/// Copies dwords out of a device's memory by one string instruction.
pub fn copy_from(address: usize, into: &mut [u32]) {
    // SAFETY: as `read`; the slice is written to its length.
    unsafe {
        asm!("rep movsd", inout("rcx") into.len() => _, inout("rsi") address => _,
            inout("rdi") into.as_mut_ptr() => _, options(nostack));
    }
}

/// Copies dwords into a device's memory by one string instruction.
pub fn copy_to(address: usize, from: &[u32]) {
    // SAFETY: as `write`; the slice is read to its length.
    unsafe {
        asm!("rep movsd", inout("rcx") from.len() => _, inout("rsi") from.as_ptr() => _,
            inout("rdi") address => _, options(nostack));
    }
}

/// Fills `count` dwords of a device's memory by one string instruction.
pub fn fill(address: usize, count: usize, value: u32) {
    // SAFETY: as `write`.
    unsafe {
        asm!("rep stosd", inout("rcx") count => _, in("eax") value, inout("rdi") address => _, options(nostack));
    }
}
