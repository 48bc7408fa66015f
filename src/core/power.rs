// SPDX-License-Identifier: GPL-2.0-only
//! Which writes to configuration space take a function away for a while: power states and resets.

use crate::core::access::ConfigAccess;
use crate::core::spec::{EXPRESS_CONTROL, FEATURES_CONTROL, HEADER, POWER_CONTROL};

/// Where a function has its Power Management, PCI Express and Advanced Features capabilities:
/// offsets as Xen found them; 0 where it has none.
#[derive(Clone, Copy, Debug, Default)]
pub struct PowerRegisters {
    /// PCI Power Management.
    pub power: u16,
    /// PCI Express.
    pub express: u16,
    /// Advanced Features.
    pub features: u16,
}

/// What a write to configuration space does to the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// It goes into D1, D2 or D3hot: its memory is out of reach.
    Sleep,
    /// It comes back to D0, within [`WAKE_TIME`](crate::core::spec::WAKE_TIME); what it had been
    /// programmed with may be lost.
    Wake,
    /// It is reset: gone for [`RESET_TIME`](crate::core::spec::RESET_TIME), all lost.
    Reset,
}

const POWER_STATE: u32 = 0x3;
const EXPRESS_RESET: u32 = 1 << 15;
const FEATURES_RESET: u32 = 1 << 0;
/// Start BIST, in the dword of the header's type.
const SELF_TEST: u32 = 1 << 30;

impl PowerRegisters {
    /// Whether the function is not in D0, by what `read` gives of its configuration space. Of one
    /// that does not answer this is true.
    pub fn sleeping(&self, read: impl FnOnce(u16) -> u32) -> bool {
        self.power != 0 && read(self.power.saturating_add(POWER_CONTROL)) & POWER_STATE != 0
    }

    /// What a write does, if it is one of these.
    pub fn transition(&self, access: ConfigAccess, value: u32) -> Option<Transition> {
        let written = access.to_dword(value) & access.enables.mask();
        let at = |capability: u16, control: u16| {
            capability != 0 && access.register == capability.saturating_add(control)
        };
        let resets = (at(self.express, EXPRESS_CONTROL) && written & EXPRESS_RESET != 0)
            || (at(self.features, FEATURES_CONTROL) && written & FEATURES_RESET != 0);
        if resets {
            Some(Transition::Reset)
        } else if at(self.power, POWER_CONTROL) && access.enables.mask() & POWER_STATE != 0 {
            Some(if written & POWER_STATE == 0 { Transition::Wake } else { Transition::Sleep })
        } else {
            None
        }
    }
}

/// Whether a write starts the function's own test (BIST, PCI Local Bus specification 3.0, section
/// 6.2.4), which may take it away for two seconds.
pub fn starts_self_test(access: ConfigAccess, value: u32) -> bool {
    access.register == HEADER && access.to_dword(value) & access.enables.mask() & SELF_TEST != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGISTERS: PowerRegisters = PowerRegisters { power: 0xc8, express: 0xe0, features: 0x50 };

    fn transition(offset: u16, size: u8, value: u32) -> Option<Transition> {
        ConfigAccess::at(offset, size).and_then(|access| REGISTERS.transition(access, value))
    }

    #[test]
    fn a_self_test_is_seen_in_any_width() {
        for (offset, size, value, expected) in [
            (0x0f, 1, 0x40, true),
            (0x0e, 2, 0x4000, true),
            (0x0c, 4, 0x4000_0000, true),
            (0x0c, 2, 0x4010, false),
            (0x0f, 1, 0x80, false),
            (0x10, 4, 0x4000_0000, false),
        ] {
            let access = ConfigAccess::at(offset, size);
            let starts = access.map(|access| starts_self_test(access, value));
            assert_eq!(starts, Some(expected), "{offset:#x}");
        }
    }

    #[test]
    fn it_sleeps_unless_it_says_that_it_is_in_d0() {
        for (answer, expected) in [(0x0008, false), (0x000b, true), (1, true), (u32::MAX, true)] {
            let read = |register| if register == 0xcc { answer } else { 0 };
            assert_eq!(REGISTERS.sleeping(read), expected, "{answer:#x}");
        }
        assert!(!PowerRegisters::default().sleeping(|_| u32::MAX));
    }

    #[test]
    fn a_power_state_is_seen_in_any_width() {
        for (size, state, expected) in [
            (1, 3, Transition::Sleep),
            (2, 1, Transition::Sleep),
            (4, 2, Transition::Sleep),
            (2, 0x8000, Transition::Wake),
        ] {
            assert_eq!(transition(0xcc, size, state), Some(expected), "{size} bytes, {state:#x}");
        }
        assert_eq!(transition(0xcd, 1, 3), None);
        assert_eq!(transition(0xca, 2, 3), None);
    }

    #[test]
    fn a_reset_is_seen_where_its_bit_is_written() {
        assert_eq!(transition(0xe8, 2, 0x8000), Some(Transition::Reset));
        assert_eq!(transition(0xe9, 1, 0x80), Some(Transition::Reset));
        assert_eq!(transition(0xe8, 4, 0x8000), Some(Transition::Reset));
        assert_eq!(transition(0xe8, 2, 0x7fff), None);
        assert_eq!(transition(0xe8, 1, 0x80), None);
        assert_eq!(transition(0x54, 1, 1), Some(Transition::Reset));
        assert_eq!(transition(0x55, 1, 1), None);
    }

    #[test]
    fn a_function_without_these_capabilities_is_always_there() {
        let none = PowerRegisters::default();
        for offset in (0..0x100).step_by(4) {
            let access = ConfigAccess::at(offset, 4);
            assert_eq!(
                access.and_then(|access| none.transition(access, u32::MAX)),
                None,
                "{offset:#x}"
            );
        }
    }
}
