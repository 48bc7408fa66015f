// SPDX-License-Identifier: GPL-2.0-only
//! How much one hold of the lock may do. Whatever is left over goes on at the timer, or at the
//! guest's next write, so nobody waits for the lock longer than this takes.
//!
//! Most calls read registers of the device, which may answer as late as it likes. So time counts,
//! too.

use crate::host::hardware::Incomplete;

/// What is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    calls: u32,
    stores: u32,
}

impl Budget {
    /// Calls of Xen's that one hold may make: those for 32 vectors, each mapped, bound and
    /// unmasked.
    pub const CALLS: u32 = 96;
    /// Stores to a device's MSI-X table that one hold may make.
    pub const STORES: u32 = 256;

    /// How long one hold may go on beginning something, in nanoseconds: 10 ms.
    pub const TIME: u64 = 10_000_000;

    /// For one access.
    pub const fn access() -> Self {
        Self { calls: Self::CALLS, stores: Self::STORES }
    }

    /// For the time in which no domain runs, and so nobody waits.
    pub const fn resume() -> Self {
        Self { calls: u32::MAX, stores: u32::MAX }
    }

    /// Takes note of the time since the hold began, in nanoseconds. However slow the device is,
    /// each hold does something.
    pub fn pass(&mut self, time: u64) {
        if time > Self::TIME && *self != Self::access() {
            *self = Self { calls: 0, stores: 0 };
        }
    }

    /// Takes `calls` of Xen's calls.
    ///
    /// # Errors
    /// [`Incomplete::Retry`] when there are fewer left.
    pub fn take_calls(&mut self, calls: u32) -> Result<(), Incomplete> {
        self.calls = self.calls.checked_sub(calls).ok_or(Incomplete::Retry)?;
        Ok(())
    }

    /// Takes one store.
    ///
    /// # Errors
    /// [`Incomplete::Retry`] when there is none left.
    pub fn take_store(&mut self) -> Result<(), Incomplete> {
        self.stores = self.stores.checked_sub(1).ok_or(Incomplete::Retry)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends() {
        let mut budget = Budget::access();
        assert_eq!(budget.take_calls(Budget::CALLS - 1), Ok(()));
        assert_eq!(budget.take_calls(2), Err(Incomplete::Retry));
        assert_eq!((budget.take_calls(1), budget.take_calls(1)), (Ok(()), Err(Incomplete::Retry)));
        for _ in 0..Budget::STORES {
            assert_eq!(budget.take_store(), Ok(()));
        }
        assert_eq!(budget.take_store(), Err(Incomplete::Retry));
    }

    #[test]
    fn a_slow_device_ends_it_sooner_but_not_before_it_began() {
        let mut budget = Budget::access();
        budget.pass(u64::MAX);
        assert_eq!(budget.take_calls(1), Ok(()));
        budget.pass(Budget::TIME);
        assert_eq!((budget.take_calls(1), budget.take_store()), (Ok(()), Ok(())));
        budget.pass(Budget::TIME + 1);
        assert_eq!(
            (budget.take_calls(1), budget.take_store()),
            (Err(Incomplete::Retry), Err(Incomplete::Retry))
        );
    }

    #[test]
    fn it_is_larger_when_nobody_waits() {
        let mut budget = Budget::resume();
        assert_eq!(budget.take_calls(Budget::CALLS.saturating_mul(1000)), Ok(()));
    }
}
