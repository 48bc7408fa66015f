// SPDX-License-Identifier: GPL-2.0-only
//! What every interrupt capability offers, whichever it is.

use crate::core::access::ByteEnables;

/// How an owned dword is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Xen answers with this value.
    Value(u32),
    /// The first dword: Xen answers Message Control, in bits 31:16. The ID and next pointer in
    /// bits 15:0 are the device model's to answer, which may show another chain than the
    /// hardware's; the value holds the hardware's, for reads that cannot be merged.
    Header(u32),
    /// The hardware's value under this mask; it informs the guest and decides nothing.
    Hardware(u32),
}

/// Whether a capability may be switched on: not while the function's other message capability
/// is on (PCI Express Base Specification 6.0, section 7.7, leaves both at once undefined).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// It may.
    Granted,
    /// Its enable bit stays clear, whatever is written.
    Denied,
}

impl Permission {
    /// What becomes of an enable bit that the guest writes.
    pub fn allows(self, enable: bool) -> bool {
        enable && self == Self::Granted
    }
}

/// A capability whose registers belong to Xen. Registers are owned by whole dwords, because the
/// bytes that follow a short capability up to the next dword belong to no other.
pub trait Capability {
    /// Whether the dword at `register` belongs to this capability.
    fn owns(&self, register: u16) -> bool;

    /// How the dword at `register`, which must be owned, is read.
    fn read(&self, register: u16) -> Reading;

    /// Writes the enabled bytes of the dword at `register`, which must be owned.
    fn write(&mut self, register: u16, enables: ByteEnables, value: u32, permission: Permission);

    /// Whether the guest's enable bit is set.
    fn enabled(&self) -> bool;
}
