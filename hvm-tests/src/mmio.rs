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
                unsafe {
                    asm!($load, value = out($class) value, address = in(reg) address,
                        options(nostack))
                };
                value
            }
            unsafe fn store(address: usize, value: Self) {
                // SAFETY: promised by the caller.
                unsafe {
                    asm!($store, value = in($class) value, address = in(reg) address,
                        options(nostack))
                };
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

/// Reads 16 bytes by one instruction.
pub fn read_wide(address: usize) -> [u64; 2] {
    let mut value = [0; 2];
    // SAFETY: as `read`; no other code uses vector registers.
    unsafe {
        asm!("movdqu xmm0, [{from}]", "movdqu [{into}], xmm0",
            from = in(reg) address, into = in(reg) &mut value,
            options(nostack));
    }
    value
}

/// Writes 16 bytes by one instruction.
pub fn write_wide(address: usize, value: [u64; 2]) {
    // SAFETY: as `write`; no other code uses vector registers.
    unsafe {
        asm!("movdqu xmm0, [{from}]", "movdqu [{into}], xmm0",
            from = in(reg) &value, into = in(reg) address,
            options(nostack));
    }
}

/// The same, for addresses that are aligned to 16 bytes, and past every cache.
pub fn stream_wide(address: usize, value: [u64; 2]) {
    // SAFETY: as `write_wide`.
    unsafe {
        asm!("movdqu xmm0, [{from}]", "movntdq [{into}], xmm0",
            from = in(reg) &value, into = in(reg) address,
            options(nostack));
    }
}

/// Sets `bits`, locked.
pub fn set_locked(address: usize, bits: u32) {
    // SAFETY: as `write`.
    unsafe {
        asm!("lock or dword ptr [{}], {:e}", in(reg) address, in(reg) bits, options(nostack))
    };
}

/// Clears all bits but `bits`, locked.
pub fn keep_locked(address: usize, bits: u32) {
    // SAFETY: as `write`.
    unsafe {
        asm!("lock and dword ptr [{}], {:e}", in(reg) address, in(reg) bits, options(nostack))
    };
}

/// Puts `value` in place of what it returns; an exchange is always locked.
pub fn exchange(address: usize, value: u32) -> u32 {
    let mut value = value;
    // SAFETY: as `write`.
    unsafe {
        asm!("xchg dword ptr [{}], {:e}", in(reg) address, inout(reg) value, options(nostack))
    };
    value
}

/// Writes `new` where `old` is, locked; what was there.
pub fn compare_exchange(address: usize, old: u64, new: u64) -> u64 {
    let seen;
    // SAFETY: as `write`.
    unsafe {
        asm!("lock cmpxchg qword ptr [{}], {}", in(reg) address, in(reg) new,
            inlateout("rax") old => seen,
            options(nostack));
    }
    seen
}

/// The same with 16 bytes, at an address that is aligned to them.
pub fn compare_exchange_wide(address: usize, old: [u64; 2], new: [u64; 2]) -> [u64; 2] {
    let (low, high);
    // SAFETY: as `write`; rbx, which is not to be named, is put back.
    unsafe {
        asm!("xchg {low}, rbx", "lock cmpxchg16b [{into}]", "mov rbx, {low}",
            low = inout(reg) new[0] => _, into = in(reg) address, in("rcx") new[1],
            inlateout("rax") old[0] => low, inlateout("rdx") old[1] => high, options(nostack));
    }
    [low, high]
}

/// Copies `count` dwords of memory by one string instruction, from the last to the first if
/// `backwards`.
pub fn copy(from: usize, to: usize, count: usize, backwards: bool) {
    let last = if backwards { 4 * (count - 1) } else { 0 };
    // SAFETY: as `read` and `write`; the direction is put back.
    unsafe {
        asm!("pushfq", "test {back}, {back}", "jz 2f", "std", "2:", "rep movsd", "popfq",
            back = in(reg) last,
            inout("rcx") count => _, inout("rsi") from + last => _, inout("rdi") to + last => _);
    }
}

/// Copies `count` bytes of memory by one string instruction that moves `width` at a time: 1, 2, 4
/// or 8.
pub fn copy_by(width: usize, from: usize, to: usize, count: usize) {
    macro_rules! moved {
        ($instruction:literal) => {
            // SAFETY: as `read` and `write`.
            unsafe {
                asm!($instruction, inout("rcx") count / width => _,
                    inout("rsi") from => _, inout("rdi") to => _,
                    options(nostack));
            }
        };
    }
    match width {
        1 => moved!("rep movsb"),
        2 => moved!("rep movsw"),
        4 => moved!("rep movsd"),
        _ => moved!("rep movsq"),
    }
}

/// Copies dwords out of a device's memory by one string instruction.
pub fn copy_from(address: usize, into: &mut [u32]) {
    copy(address, into.as_mut_ptr() as usize, into.len(), false);
}

/// Copies dwords into a device's memory by one string instruction.
pub fn copy_to(address: usize, from: &[u32]) {
    copy(from.as_ptr() as usize, address, from.len(), false);
}

/// Fills `count` dwords of a device's memory by one string instruction.
pub fn fill(address: usize, count: usize, value: u32) {
    // SAFETY: as `write`.
    unsafe {
        asm!("rep stosd", inout("rcx") count => _, in("eax") value, inout("rdi") address => _,
            options(nostack));
    }
}
