// SPDX-License-Identifier: GPL-2.0-only
//! A small framework for tests that run as the firmware of an HVM guest: they boot without any
//! other firmware, place the device under test themselves and judge what they see of it.
//!
//! The same images start on plain emulated hardware, where the expectations come from.

#![no_std]
#![feature(abi_x86_interrupt)]
#![warn(missing_docs)]

pub mod apic;
pub mod boot;
pub mod check;
pub mod console;
pub mod devices;
pub mod hypervisor;
pub mod interrupts;
pub mod invalid;
pub mod ioapic;
pub mod msi;
pub mod pci;
pub mod report;
pub mod tables;
pub mod time;
pub mod vcpu;

pub use devices::Device;
pub use msi::{Message, Msi};

/// Makes `$body`, a `fn()`, the test that this image runs.
#[macro_export]
macro_rules! test {
    ($body:path) => {
        #[unsafe(no_mangle)]
        extern "Rust" fn test_main() {
            $crate::boot::run(env!("CARGO_BIN_NAME"), $body)
        }
    };
}
