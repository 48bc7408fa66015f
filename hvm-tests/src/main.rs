// SPDX-License-Identifier: GPL-2.0-only
//! Tests that run as the firmware of an HVM guest: they boot without any other firmware, place the
//! devices under test themselves and judge what they see of them.
//!
//! The same images start on plain emulated hardware, where the expectations come from.

#![no_std]
#![no_main]
#![feature(abi_x86_interrupt)]

mod apic;
mod boot;
mod cases;
mod check;
mod console;
mod devices;
mod hypervisor;
mod interrupts;
mod invalid;
mod ioapic;
mod message;
mod mmio;
mod msi;
mod msix;
mod pci;
mod plan;
mod report;
mod storm;
mod suite;
mod tables;
mod tests;
mod time;
mod vcpu;
mod xen;

use devices::Device;
use message::Message;
use msi::Msi;
use msix::Msix;
