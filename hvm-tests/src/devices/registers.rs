// SPDX-License-Identifier: GPL-2.0-only
//! A device's registers in one of its BARs.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::mmio::{self, Value};
use crate::pci::Function;
use crate::{report, time};

/// A device that does not come up in this time does not work.
const READY_MS: u64 = 20_000;

/// The registers of one function.
pub struct Registers {
    function: Function,
    bar: u8,
    base: AtomicUsize,
}

impl Registers {
    /// Those in the placed BAR number `bar`.
    pub fn of(function: Function, bar: u8) -> Self {
        let base = AtomicUsize::new(function.bar(bar));
        Self { function, bar, base }
    }

    /// Whose they are.
    pub fn function(&self) -> Function {
        self.function
    }

    /// Takes note that the BAR was moved.
    pub fn follow(&self) {
        self.base.store(self.function.bar(self.bar), Relaxed);
    }

    /// Reads the register at this offset.
    pub fn read<V: Value>(&self, offset: usize) -> V {
        mmio::read(self.base.load(Relaxed) + offset)
    }

    /// Writes the register at this offset.
    pub fn write<V: Value>(&self, offset: usize, value: V) {
        mmio::write(self.base.load(Relaxed) + offset, value);
    }

    /// Waits until `done`; if it is not, the test is in error and names `what` did not happen.
    pub fn wait(&self, what: &str, done: impl FnMut() -> bool) -> Option<()> {
        let in_time = time::until(READY_MS, done);
        if !in_time {
            report::error(format_args!("{}: {what} takes too long", self.function));
        }
        in_time.then_some(())
    }
}
