// SPDX-License-Identifier: GPL-2.0-only
//! The module against a device, and a Xen, that check every single write.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]
#![allow(clippy::arithmetic_side_effects)]

mod cycles;
mod device;
mod failures;
mod fake;
mod guests;
mod model;
mod steps;
mod world;
