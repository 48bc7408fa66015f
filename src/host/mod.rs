// SPDX-License-Identifier: GPL-2.0-only
//! Acts: keeps what each guest has, and makes the hardware follow what [`crate::core`] decides.

pub mod budget;
pub mod delivery;
pub mod guest;
pub mod hardware;
pub mod managed;
pub mod msi;
pub mod msix;
#[cfg(test)]
pub mod recorder;
pub mod refusals;
