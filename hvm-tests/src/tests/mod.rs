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
    "exclusion-msi-first" => exclusion_msi_first,
    "exclusion-msix-first" => exclusion_msix_first,
    "idle" => idle,
    "modes-in-turn" => modes_in_turn,
    "msi-bad-address" => msi_bad_address,
    "msi-bad-delivery" => msi_bad_delivery,
    "msi-bad-upper" => msi_bad_upper,
    "msi-bad-vector" => msi_bad_vector,
    "msi-cycles" => msi_cycles,
    "msi-deliver" => msi_deliver,
    "msi-disable-in-flight" => msi_disable_in_flight,
    "msi-enable-unprogrammed" => msi_enable_unprogrammed,
    "msi-intx" => msi_intx,
    "msi-mask" => msi_mask,
    "msi-mask-readback" => msi_mask_readback,
    "msi-modes" => msi_modes,
    "msi-multi-affinity" => msi_multi_affinity,
    "msi-multi-bad-block" => msi_multi_bad_block,
    "msi-multi-change" => msi_multi_change,
    "msi-multi-clamp" => msi_multi_clamp,
    "msi-multi-deliver" => msi_multi_deliver,
    "msi-multi-low-bits" => msi_multi_low_bits,
    "msi-readback" => msi_readback,
    "msi-rewrite" => msi_rewrite,
    "msi-widths" => msi_widths,
    "msix-affinity" => msix_affinity,
    "msix-bad-address" => msix_bad_address,
    "msix-bad-delivery" => msix_bad_delivery,
    "msix-bad-upper" => msix_bad_upper,
    "msix-bad-vector" => msix_bad_vector,
    "msix-bar-high" => msix_bar_high,
    "msix-bar-move" => msix_bar_move,
    "msix-beyond" => msix_beyond,
    "msix-control-widths" => msix_control_widths,
    "msix-cycles" => msix_cycles,
    "msix-decode-off" => msix_decode_off,
    "msix-deliver" => msix_deliver,
    "msix-disable-in-flight" => msix_disable_in_flight,
    "msix-doorbell" => msix_doorbell,
    "msix-enable-unprogrammed" => msix_enable_unprogrammed,
    "msix-exhaust" => msix_exhaust,
    "msix-function-mask" => msix_function_mask,
    "msix-intx" => msix_intx,
    "msix-last-entry" => msix_last_entry,
    "msix-latch" => msix_latch,
    "msix-linux-order" => msix_linux_order,
    "msix-mask-loop" => msix_mask_loop,
    "msix-modes" => msix_modes,
    "msix-odd" => msix_odd,
    "msix-pba" => msix_pba,
    "msix-pending" => msix_pending,
    "msix-read-only" => msix_read_only,
    "msix-reserved-bits" => msix_reserved_bits,
    "msix-reset-view" => msix_reset_view,
    "msix-shared-vector" => msix_shared_vector,
    "msix-string" => msix_string,
    "msix-widths" => msix_widths,
    "msix-windows-order" => msix_windows_order,
    "pair-msi" => pair_msi,
    "pair-msix" => pair_msix,
}
