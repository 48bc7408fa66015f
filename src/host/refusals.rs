// SPDX-License-Identifier: GPL-2.0-only
//! What was refused for a device, and how often. Each reason is logged the first time only, so
//! that nobody can fill Xen's log.

use core::ffi::CStr;

use crate::core::message::Refusal;

/// What others than the guest tried with a managed device's interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Attempt {
    /// To map a message interrupt.
    Map,
    /// To unmap, bind or unbind a message interrupt.
    Change,
    /// To have Xen set up or forget the MSI-X table.
    Table,
    /// To write MSI, MSI-X or INTx-disable in configuration space.
    Write,
}

impl Attempt {
    /// How many there are.
    const COUNT: usize = 4;

    /// The attempt of this number, as C has it (`enum msitrap_attempt`).
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Map, Self::Change, Self::Table, Self::Write].get(usize::from(number)).copied()
    }

    /// What the log says, before what belongs to it.
    pub fn text(self) -> &'static CStr {
        match self {
            Self::Map => c"refused to map a message interrupt for",
            Self::Change => c"refused to unmap, bind or unbind a message interrupt for",
            Self::Table => c"refused to prepare or release MSI-X for",
            Self::Write => c"refused dom0's write to register",
        }
    }
}

/// Counts by reason.
#[derive(Debug, Default)]
pub struct Refusals {
    messages: [u32; Refusal::COUNT],
    attempts: [u32; Attempt::COUNT],
}

impl Refusals {
    /// Counts a guest's message that was not bound; true for the first of its reason.
    pub fn count_message(&mut self, reason: Refusal) -> bool {
        count(&mut self.messages, reason as usize)
    }

    /// Counts an attempt; true for the first of its kind.
    pub fn count_attempt(&mut self, attempt: Attempt) -> bool {
        count(&mut self.attempts, attempt as usize)
    }

    /// How many messages were not bound.
    pub fn messages(&self) -> u64 {
        total(&self.messages)
    }

    /// How many attempts there were.
    pub fn attempts(&self) -> u64 {
        total(&self.attempts)
    }
}

fn count(counts: &mut [u32], reason: usize) -> bool {
    let Some(count) = counts.get_mut(reason) else { return false };
    *count = count.saturating_add(1);
    *count == 1
}

fn total(counts: &[u32]) -> u64 {
    counts.iter().fold(0, |total, count| total.saturating_add(u64::from(*count)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_each_reason_is_told_and_all_are_counted() {
        let mut refusals = Refusals::default();
        let told = [Refusal::Vector, Refusal::Vector, Refusal::Window]
            .map(|reason| refusals.count_message(reason));
        assert_eq!((told, refusals.messages()), ([true, false, true], 3));
        let told = [Attempt::Map, Attempt::Map, Attempt::Write]
            .map(|attempt| refusals.count_attempt(attempt));
        assert_eq!((told, refusals.attempts(), refusals.messages()), ([true, false, true], 3, 3));
    }

    #[test]
    fn numbers_are_those_of_c() {
        for number in 0..=u8::MAX {
            let found = Attempt::from_number(number);
            assert_eq!(
                found.map(|attempt| attempt as u8),
                (usize::from(number) < Attempt::COUNT).then_some(number)
            );
        }
    }

    #[test]
    fn counts_stay_at_their_end() {
        let mut counts = [u32::MAX];
        assert!(!count(&mut counts, 0));
        assert_eq!(total(&counts), u64::from(u32::MAX));
        assert!(!count(&mut counts, 1));
    }
}
