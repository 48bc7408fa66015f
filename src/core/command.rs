// SPDX-License-Identifier: GPL-2.0-only
//! The part of the Command register that matters to interrupts, as the guest chose it.

use crate::core::access::{ByteEnables, ConfigAccess};
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

/// What is left of a host write that touches the Command register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostCommand {
    /// What to write, in place of the value: INTx-disable is as Xen has it.
    pub value: u32,
    /// Whether the device's memory is decoded afterwards.
    pub decoded: bool,
}

impl HostCommand {
    /// The write of `value` through `access`, while INTx-disable and memory decoding stand as told.
    pub fn new(access: ConfigAccess, value: u32, intx_disabled: bool, decoded: bool) -> Self {
        let mut before = Command(0);
        before.set_memory_space(decoded);
        let mut command =
            Command(access.enables.merge(before.0.into(), access.to_dword(value)) as u16);
        command.set_intx_disable(intx_disabled);
        let status = access.to_dword(value) & 0xffff_0000;
        Self {
            value: access.from_dword(status | u32::from(command.0)),
            decoded: command.memory_space(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(
        offset: u16,
        size: u8,
        value: u32,
        intx_disabled: bool,
        decoded: bool,
    ) -> Option<(u32, bool)> {
        let access = ConfigAccess::at(offset, size)?;
        let command = HostCommand::new(access, value, intx_disabled, decoded);
        Some((command.value, command.decoded))
    }

    #[test]
    fn intx_disable_is_kept_and_nothing_else_changes() {
        assert_eq!(write(4, 2, 0x0406, false, true), Some((0x0006, true)));
        assert_eq!(write(4, 2, 0x0006, true, true), Some((0x0406, true)));
        assert_eq!(write(4, 4, 0xf900_0146, true, true), Some((0xf900_0546, true)));
        assert_eq!(write(5, 1, 0x05, false, true), Some((0x01, true)));
        assert_eq!(write(6, 2, 0xffff, true, true), Some((0xffff, true)));
    }

    #[test]
    fn memory_decoding_is_seen() {
        assert_eq!(write(4, 2, 0x0004, false, true), Some((0x0004, false)));
        assert_eq!(write(4, 1, 0x02, true, false), Some((0x02, true)));
        assert_eq!(write(5, 1, 0x00, false, true), Some((0x00, true)));
        assert_eq!(write(5, 1, 0x02, false, false), Some((0x02, false)));
        assert_eq!(write(6, 2, 0x0002, false, false), Some((0x0002, false)));
    }
}
