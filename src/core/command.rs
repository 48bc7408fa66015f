// SPDX-License-Identifier: GPL-2.0-only
//! The part of the Command register that matters to interrupts, as the guest chose it.

use crate::core::access::ByteEnables;
use crate::core::spec::Command;

/// The guest's own Command register: it goes to the device model and is watched passing.
#[derive(Clone, Copy, Debug)]
pub struct GuestCommand(Command);

impl GuestCommand {
    /// As after reset: nothing decoded, INTx allowed.
    pub const RESET: Self = Self(Command(0));

    /// Takes over the enabled bytes of a write to the Command and Status dword.
    pub fn observe(&mut self, enables: ByteEnables, value: u32) {
        self.0 = Command(enables.merge(u32::from(self.0 .0), value) as u16);
    }

    /// Whether the guest lets the function answer at its memory base addresses.
    pub fn memory_space(self) -> bool {
        self.0.memory_space()
    }

    /// Whether the guest itself forbids INTx.
    pub fn intx_disable(self) -> bool {
        self.0.intx_disable()
    }
}

/// A host write to the Command and Status dword, with INTx-disable kept as Xen has it.
pub fn keep_intx_disable(value: u32, intx_disable: bool) -> u32 {
    let mut command = Command(value as u16);
    command.set_intx_disable(intx_disable);
    (value & 0xffff_0000) | u32::from(command.0)
}
