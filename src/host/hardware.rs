// SPDX-License-Identifier: GPL-2.0-only
//! Everything msitrap may do to the world.

use core::ffi::CStr;
use core::num::NonZeroI32;

use crate::core::address::Sbdf;
use crate::core::layout::Frames;
use crate::core::learn::{HostBar, FRAME_SHIFT};
use crate::core::message::BoundMessage;
use crate::core::spec::BAR_COUNT;
use crate::core::table::Entry;
use crate::host::msix::Vector;

/// A physical interrupt of a domain that Xen mapped for a device's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pirq(pub NonZeroI32);

impl Pirq {
    /// The interrupt `nth` after this one, of several mapped at once.
    pub fn nth(self, nth: u8) -> Self {
        Self(NonZeroI32::new(self.0.get().saturating_add(nth.into())).unwrap_or(self.0))
    }
}

/// A failure of Xen's, as its errno: positive, below 4096.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// No memory.
    pub const NO_MEMORY: Self = Self(12);
    /// The device is managed already.
    pub const EXISTS: Self = Self(17);
    /// Not a value that can be used.
    pub const INVALID: Self = Self(22);
    /// The guest has as many managed devices as it may.
    pub const NO_SPACE: Self = Self(28);
}

/// Where a device has its message capabilities.
#[derive(Clone, Copy, Debug, Default)]
pub struct Positions {
    /// Offset of the MSI capability.
    pub msi: Option<u16>,
    /// Offset of the MSI-X capability.
    pub msix: Option<u16>,
}

/// Memory for a device's MSI-X table: the guest's side and the hardware's, of equal length.
#[derive(Debug)]
pub struct TableMemory {
    /// What the guest wrote.
    pub entries: &'static mut [Entry],
    /// What the hardware was told.
    pub vectors: &'static mut [Vector],
}

/// Frames of a device's memory that Xen can reach.
#[derive(Debug)]
pub struct Window {
    /// Which frames.
    pub frames: Frames,
    /// Where Xen sees the first, in its own address space.
    pub mapping: usize,
}

impl Window {
    /// Where Xen sees the `size` bytes at the host's address `address`, if they are within.
    pub fn locate(&self, address: u64, size: u8) -> Option<usize> {
        let start = self.frames.first.checked_mul(1 << FRAME_SHIFT)?;
        let offset = address.checked_sub(start)?;
        let end = offset.checked_add(size.into())?;
        let within = end <= self.frames.count().checked_mul(1 << FRAME_SHIFT)?;
        self.mapping.checked_add(usize::try_from(offset).ok()?).filter(|_| within)
    }
}

/// What Xen does for msitrap, for the devices of one domain.
pub trait Hardware {
    /// Reads the dword at `register` of the device's configuration space.
    fn read_config(&mut self, device: Sbdf, register: u16) -> u32;

    /// Writes `size` bytes (1, 2 or 4) at `offset` of the device's configuration space, aligned.
    fn write_config(&mut self, device: Sbdf, offset: u16, size: u8, value: u32);

    /// The device's message capabilities.
    fn positions(&mut self, device: Sbdf) -> Positions;

    /// The device's memory base address registers, each where it begins.
    ///
    /// Sizes them by writing them: only before the guest has the device.
    fn bars(&mut self, device: Sbdf) -> [Option<HostBar>; BAR_COUNT];

    /// Whether a virtual function's memory is decoded, which is its physical function's to say.
    /// None for every other function: that has a Command register of its own.
    fn decoded_by_physical_function(&mut self, device: Sbdf) -> Option<bool>;

    /// Sets or clears INTx-disable.
    fn set_intx_disable(&mut self, device: Sbdf, disable: bool);

    /// Allocates interrupts, one after the other, and programs the device's MSI message, of
    /// Xen's making, for that many vectors (a power of two), with the enable bit off.
    fn map_msi(&mut self, device: Sbdf, vectors: u8) -> Result<Pirq, Errno>;

    /// Allocates an interrupt and programs an entry of the device's MSI-X table with a message
    /// of Xen's making, masked.
    fn map_msix(&mut self, device: Sbdf, vector: u16) -> Result<Pirq, Errno>;

    /// Gives back what [`Hardware::map_msi`] or [`Hardware::map_msix`] allocated.
    fn unmap(&mut self, pirq: Pirq);

    /// Delivers the interrupt to the guest as `message`, at first masked for the guest; again
    /// with another message, it replaces the first without losing an interrupt.
    fn bind(&mut self, pirq: Pirq, message: &BoundMessage) -> Result<(), Errno>;

    /// Ends delivery.
    fn unbind(&mut self, pirq: Pirq);

    /// Sets or clears the guest's mask, which Xen keeps apart from its own.
    fn set_masked(&mut self, pirq: Pirq, masked: bool);

    /// Programs the device again with the message and the masks that Xen keeps for the
    /// interrupt; of MSI with several vectors, the first brings the message.
    ///
    /// # Errors
    /// `ENXIO` when the device's MSI-X table cannot be reached.
    fn reprogram(&mut self, pirq: Pirq) -> Result<(), Errno>;

    /// Memory for a table of so many vectors.
    fn allocate_table(&mut self, vectors: u16) -> Result<TableMemory, Errno>;

    /// Gives it back.
    fn free_table(&mut self, memory: TableMemory);

    /// Makes frames of the device's memory reachable for Xen.
    fn open(&mut self, frames: Frames) -> Result<Window, Errno>;

    /// Ends that.
    fn close(&mut self, window: Window);

    /// Reads `size` bytes (1, 2, 4 or 8) at the host's address `address`; all ones outside of
    /// the window.
    fn read_memory(&mut self, window: &Window, address: u64, size: u8) -> u64;

    /// Writes `size` bytes (1, 2, 4 or 8) at the host's address `address`, within the window.
    fn write_memory(&mut self, window: &Window, address: u64, size: u8, value: u64);

    /// One line in Xen's log about the device, with a number that tells more.
    fn log(&mut self, device: Sbdf, text: &'static CStr, number: u64);
}

/// Reads Message Control, `control_register` being its offset.
pub fn read_control(device: Sbdf, control_register: u16, hardware: &mut impl Hardware) -> u16 {
    // The high half of the capability's first dword.
    (hardware.read_config(device, control_register & !3) >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_ends_where_its_frames_end() {
        let window = Window { frames: Frames { first: 0xfea02, last: 0xfea03 }, mapping: 0x1000 };
        assert_eq!(window.locate(0xfea0_2000, 4), Some(0x1000));
        assert_eq!(window.locate(0xfea0_3ff8, 8), Some(0x2ff8));
        assert_eq!(window.locate(0xfea0_3ffc, 8), None);
        assert_eq!(window.locate(0xfea0_1fff, 1), None);
        assert_eq!(window.locate(u64::MAX, 8), None);
    }
}
