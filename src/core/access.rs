// SPDX-License-Identifier: GPL-2.0-only
//! One guest access to configuration space, as an aligned dword with byte enables.
//!
//! This is how the access travels on the bus, whatever its width and offset, so every rule
//! about partial and straddling accesses is here and nowhere else. The I/O ports are one front
//! end ([`ConfigAccess::from_data_port`]); memory-mapped configuration would be another.

use crate::core::spec::DWORD;

/// The first configuration data port (PCI Local Bus Specification 3.0, section 3.2.2.3.2).
const DATA_PORT: u16 = 0xcfc;

/// Which bytes of an aligned dword an access touches: bit `n` for byte `n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteEnables(u8);

impl ByteEnables {
    /// All four bytes.
    pub const ALL: Self = Self(0xf);

    /// The enables as a mask over the dword's 32 bits.
    pub fn mask(self) -> u32 {
        (0..DWORD)
            .filter(|byte| self.0 & 1 << byte != 0)
            .fold(0, |mask, byte| mask | shift(0xff, i32::from(byte)))
    }

    /// Whether the first byte is one of them.
    pub fn touches_first(self) -> bool {
        self.0 & 1 != 0
    }

    /// `old` with the enabled bytes of `new` written over it.
    pub fn merge(self, old: u32, new: u32) -> u32 {
        (old & !self.mask()) | (new & self.mask())
    }
}

/// One access to an aligned dword of a function's configuration space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigAccess {
    /// Byte offset of the dword, a multiple of four.
    pub register: u16,
    /// The bytes touched.
    pub enables: ByteEnables,
    /// Where the access begins, in bytes from the dword's start; negative when it begins before.
    lane: i8,
    /// Width of the access as the guest made it, in bytes: 1, 2 or 4.
    size: u8,
}

impl ConfigAccess {
    /// An access of `size` bytes at `offset` into configuration space, as a host makes it.
    pub fn at(offset: u16, size: u8) -> Option<Self> {
        Self::from_data_port(offset, DATA_PORT.saturating_add(offset % DWORD), size)
    }

    /// An access of `size` bytes at I/O port `port`, while the latch selects `register`.
    ///
    /// None when the access touches no byte of the data port, or has no width that exists.
    pub fn from_data_port(register: u16, port: u16, size: u8) -> Option<Self> {
        if !matches!(size, 1 | 2 | 4) {
            return None;
        }
        let lane = i8::try_from(i32::from(port).wrapping_sub(i32::from(DATA_PORT))).ok()?;
        let enables = lanes(lane, size);
        (enables.0 != 0).then_some(Self { register: register & !(DWORD - 1), enables, lane, size })
    }

    /// Where the access begins, in bytes; for one that begins in its dword.
    pub fn offset(self) -> u16 {
        self.register.saturating_add_signed(self.lane.into())
    }

    /// Width of the access, in bytes: 1, 2 or 4.
    pub fn size(self) -> u8 {
        self.size
    }

    /// What the guest writes, moved to its place in the dword.
    pub fn to_dword(self, value: u32) -> u32 {
        shift(value, i32::from(self.lane))
    }

    /// A dword's value, or a mask over it, moved to where this access carries it.
    pub fn from_dword(self, value: u32) -> u32 {
        shift(value & self.enables.mask(), i32::from(self.lane).wrapping_neg())
    }

    /// The bits of the access that lie beside the dword: nothing answers there.
    pub fn beside(self) -> u32 {
        self.width_mask() & !self.from_dword(u32::MAX)
    }

    /// Every bit the access carries.
    fn width_mask(self) -> u32 {
        u32::MAX >> 32u32.saturating_sub(u32::from(self.size).saturating_mul(8))
    }
}

/// The bytes of the dword that an access of `size` bytes at `lane` touches.
fn lanes(lane: i8, size: u8) -> ByteEnables {
    let touched =
        (0..DWORD as i8).filter(|byte| (lane..lane.saturating_add(size as i8)).contains(byte));
    ByteEnables(touched.fold(0, |enables, byte| enables | 1 << byte))
}

/// `value` moved up by `bytes` (down when negative); what leaves the dword is gone.
fn shift(value: u32, bytes: i32) -> u32 {
    let bits = bytes.unsigned_abs().saturating_mul(8);
    let moved = if bytes < 0 { value.checked_shr(bits) } else { value.checked_shl(bits) };
    moved.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DWORD_VALUE: u32 = 0x4433_2211;

    /// An access of `size` bytes, `lane` bytes from the data port.
    fn access(lane: i32, size: u8) -> Option<ConfigAccess> {
        ConfigAccess::from_data_port(0x41, DATA_PORT.saturating_add_signed(lane as i16), size)
    }

    /// What byte `at` of an access carries when the dword is `DWORD_VALUE`, worked out byte by
    /// byte.
    fn expected_byte(lane: i32, at: i32) -> Option<u8> {
        let byte = usize::try_from(lane.saturating_add(at)).ok()?;
        DWORD_VALUE.to_le_bytes().get(byte).copied()
    }

    #[test]
    fn every_lane_and_width_reads_its_bytes() {
        for size in [1u8, 2, 4] {
            for lane in -4..8 {
                let bytes: Vec<_> =
                    (0..i32::from(size)).map(|at| expected_byte(lane, at)).collect();
                let Some(access) = access(lane, size) else {
                    assert!(bytes.iter().all(Option::is_none), "lane {lane}, {size} bytes");
                    continue;
                };
                assert_eq!(access.register, 0x40);
                let value = access.from_dword(DWORD_VALUE).to_le_bytes();
                let beside = access.beside().to_le_bytes();
                for (at, byte) in bytes.iter().enumerate() {
                    assert_eq!(
                        value.get(at).copied(),
                        Some(byte.unwrap_or(0)),
                        "lane {lane}, {size} bytes, byte {at}"
                    );
                    assert_eq!(
                        beside.get(at).copied(),
                        Some(if byte.is_none() { 0xff } else { 0 })
                    );
                }
            }
        }
    }

    #[test]
    fn every_lane_and_width_writes_its_bytes() {
        for size in [1u8, 2, 4] {
            for lane in -3..4 {
                let Some(access) = access(lane, size) else { continue };
                let merged =
                    access.enables.merge(0, access.to_dword(access.from_dword(DWORD_VALUE)));
                assert_eq!(
                    merged,
                    DWORD_VALUE & access.enables.mask(),
                    "lane {lane}, {size} bytes"
                );
            }
        }
    }

    #[test]
    fn widths_that_do_not_exist() {
        for size in [0, 3, 5, 8, 255] {
            assert_eq!(access(0, size), None);
        }
    }

    #[test]
    fn ports_beside_the_data_port() {
        for port in [0, 0xcf7, 0xcf8, 0xd00, 0xffff] {
            assert_eq!(ConfigAccess::from_data_port(0x40, port, 4), None, "port {port:#x}");
        }
        assert!(ConfigAccess::from_data_port(0x40, 0xcf9, 4).is_some());
    }

    #[test]
    fn host_accesses_start_in_their_dword() {
        let access = ConfigAccess::at(0x42, 2);
        assert_eq!(access.map(|a| (a.register, a.enables.mask())), Some((0x40, 0xffff_0000)));
        assert_eq!(access.map(|a| a.to_dword(0x81)), Some(0x81_0000));
        assert_eq!(access.map(|a| (a.offset(), a.size())), Some((0x42, 2)));
    }

    #[test]
    fn merge_touches_enabled_bytes_alone() {
        assert_eq!(ByteEnables::ALL.merge(0, DWORD_VALUE), DWORD_VALUE);
        assert_eq!(ByteEnables(0b0101).merge(0xffff_ffff, DWORD_VALUE), 0xff33_ff11);
        assert_eq!(ByteEnables(0).merge(7, DWORD_VALUE), 7);
    }
}
