// SPDX-License-Identifier: GPL-2.0-only
//! The tests, a file for each; `Cargo.toml` says the rest of what there is to know of them.

use crate::Device;

/// One test.
pub struct Test {
    /// As in the plan and in `Cargo.toml`.
    pub name: &'static str,
    /// Judges what it sees of the first device under test, by `check`.
    pub run: fn(&dyn Device),
}

macro_rules! tests {
    ($($name:literal => $module:ident,)*) => {
        $(mod $module;)*

        /// All of them.
        pub const ALL: &[Test] = &[$(Test { name: $name, run: $module::run }),*];
    };
}
tests! {
    "access-cost" => access_cost,
    "cf8-edges" => cf8_edges,
    "idle" => idle,
    "msix-deliver" => msix_deliver,
    "msi-bad-address" => msi_bad_address,
    "msi-bad-delivery" => msi_bad_delivery,
    "msi-bad-upper" => msi_bad_upper,
    "msi-bad-vector" => msi_bad_vector,
    "msi-deliver" => msi_deliver,
    "msi-disable-in-flight" => msi_disable_in_flight,
    "msi-enable-unprogrammed" => msi_enable_unprogrammed,
    "msi-intx" => msi_intx,
    "msi-modes" => msi_modes,
    "msi-readback" => msi_readback,
    "msi-rewrite" => msi_rewrite,
    "msi-widths" => msi_widths,
}
