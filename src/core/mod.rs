// SPDX-License-Identifier: GPL-2.0-only
//! Decides. Nothing here touches hardware, allocates, logs or holds global state.

pub mod access;
pub mod address;
pub mod capability;
pub mod command;
pub mod device;
pub mod layout;
pub mod learn;
pub mod message;
pub mod msi;
pub mod msix;
pub mod power;
pub mod spec;
pub mod table;
pub mod trust;
