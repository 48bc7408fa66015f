// SPDX-License-Identifier: GPL-2.0-only
//! Devices that can be made to interrupt.

mod edu;

use crate::pci::Function;
use crate::report;

pub use edu::Edu;

/// A device under test.
pub trait Device {
    /// Where it is.
    fn function(&self) -> Function;

    /// Has the device raise its interrupt number `n`, once.
    fn raise(&self, n: u32);

    /// Tells the device that its interrupt number `n` was seen.
    fn acknowledge(&self, n: u32);
}

/// The device under test, placed in memory; without one the test is skipped.
pub fn find() -> Option<impl Device> {
    let found = Edu::find();
    if found.is_none() {
        report::skip(format_args!("no device under test (edu, 1234:11e8) on bus 0"));
    }
    found
}
