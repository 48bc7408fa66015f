// SPDX-License-Identifier: GPL-2.0-only
//! Everything msitrap may do to the world.

use core::ffi::CStr;

use crate::core::address::Sbdf;
use crate::core::learn::HostBar;
use crate::core::message::BoundMessage;
use crate::core::spec::BAR_COUNT;

/// A physical interrupt of a domain that Xen mapped for a device's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pirq(pub i32);

/// A failure of Xen's, as its errno: positive, below 4096.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// No memory.
    pub const NO_MEMORY: Self = Self(12);
    /// The device is managed already.
    pub const EXISTS: Self = Self(17);
    /// The guest has as many managed devices as it may.
    pub const NO_SPACE: Self = Self(28);
}

/// What Xen does for msitrap, for the devices of one domain.
pub trait Hardware {
    /// Reads the dword at `register` of the device's configuration space.
    fn read_config(&mut self, device: Sbdf, register: u16) -> u32;

    /// Writes the 16-bit register at `register` of the device's configuration space.
    fn write_config(&mut self, device: Sbdf, register: u16, value: u16);

    /// Offset of the device's MSI capability, if it has one.
    fn msi_position(&mut self, device: Sbdf) -> Option<u16>;

    /// The device's memory base address registers, each where it begins.
    ///
    /// Sizes them by writing them: only before the guest has the device.
    fn bars(&mut self, device: Sbdf) -> [Option<HostBar>; BAR_COUNT];

    /// Sets or clears INTx-disable.
    fn set_intx_disable(&mut self, device: Sbdf, disable: bool);

    /// Allocates an interrupt and programs the device's MSI message, of Xen's making, with the
    /// enable bit off.
    fn map(&mut self, device: Sbdf) -> Result<Pirq, Errno>;

    /// Gives back what [`Hardware::map`] allocated.
    fn unmap(&mut self, pirq: Pirq);

    /// Delivers the interrupt to the guest as `message`, at first masked for the guest; again
    /// with another message, it replaces the first without losing an interrupt.
    fn bind(&mut self, pirq: Pirq, message: &BoundMessage) -> Result<(), Errno>;

    /// Ends delivery.
    fn unbind(&mut self, pirq: Pirq);

    /// Sets or clears the guest's mask, which Xen keeps apart from its own.
    fn set_masked(&mut self, pirq: Pirq, masked: bool);

    /// One line in Xen's log about the device, with a number that tells more.
    fn log(&mut self, device: Sbdf, text: &'static CStr, number: u64);
}
