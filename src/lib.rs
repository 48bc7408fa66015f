// SPDX-License-Identifier: GPL-2.0-only
//! msitrap: Xen's own handling of MSI and MSI-X of a device passed to an HVM guest whose device
//! model runs in a stub domain.
//!
//! The path of one guest access, from top to bottom:
//!
//! 1. an I/O handler in Xen's `arch/x86/hvm/msitrap.c`, for the configuration ports or for memory,
//!    calls a function of `ffi`;
//! 2. [`host::guest`] finds the managed device behind the guest's address;
//! 3. [`core::device`] decides: forward it to the device model, watch it pass, or own it; it keeps
//!    the guest's capabilities ([`core::msi`], [`core::msix`] with its [`core::table`]);
//! 4. [`host::delivery`] makes the hardware follow, one of INTx, MSI and MSI-X, in the one order
//!    that is safe ([`host::msi`], [`host::msix`]), through [`host::hardware::Hardware`];
//! 5. `ffi` implements that trait with the functions the shim offers. What it hands out,
//!    [`memory`], nobody else can make.

#![cfg_attr(not(test), no_std)]

#[forbid(unsafe_code)]
pub mod core;
#[forbid(unsafe_code)]
pub mod host;
pub mod memory;

// Only Xen has the other side of this boundary.
#[cfg(target_os = "none")]
mod ffi;
