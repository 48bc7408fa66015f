// SPDX-License-Identifier: GPL-2.0-only
//! The module against devices, and a Xen, that check every single call.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]
#![allow(clippy::arithmetic_side_effects)]

mod cycles;
mod device;
mod endpoint;
mod failures;
mod fake;
mod guests;
mod kind;
mod lies;
mod lock;
mod model;
mod power;
mod several;
mod slices;
mod steps;
mod threads;
mod waits;
mod world;
