// SPDX-License-Identifier: GPL-2.0-only
//! Messages: what a device writes where to interrupt.

/// The address range of interrupts.
const BASE: u32 = 0xfee0_0000;

/// What the device writes where, as the guest asks for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message {
    /// The address's low half.
    pub address: u32,
    /// The address's high half, where there is one.
    pub upper: u32,
    /// The data; an MSI capability holds its low half.
    pub data: u32,
}

impl Message {
    /// What the registers hold after a reset.
    pub const RESET: Self = Self { address: 0, upper: 0, data: 0 };

    /// Fixed delivery of `vector` to the vCPU with this physical APIC ID.
    pub const fn fixed(apic: u8, vector: u8) -> Self {
        Self { address: BASE | (apic as u32) << 12, upper: 0, data: vector as u32 }
    }

    /// The same in logical destination mode: `set` has one bit for each vCPU.
    pub const fn logical(set: u8, vector: u8) -> Self {
        let mut message = Self::fixed(set, vector);
        message.address |= 1 << 2;
        message
    }

    /// To that one vCPU of the logical `set` with the lowest priority.
    pub const fn lowest_priority(set: u8, vector: u8) -> Self {
        let mut message = Self::logical(set, vector);
        message.address |= 1 << 3;
        message.data |= 1 << 8;
        message
    }
}
