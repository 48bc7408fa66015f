// SPDX-License-Identifier: GPL-2.0-only
//! Everything msitrap may do to the world.

use core::ffi::CStr;
use core::num::NonZeroI32;

use crate::core::address::Sbdf;
use crate::core::layout::Frames;
use crate::core::learn::HostBar;
use crate::core::message::BoundMessage;
use crate::core::spec::BAR_COUNT;
use crate::core::table::Entry;
use crate::core::trust::Distrust;
use crate::host::budget::Budget;
use crate::host::msix::Vector;
use crate::memory::{Owned, Window};

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
    /// Not permitted: the device failed a check.
    pub const NOT_PERMITTED: Self = Self(1);
    /// No memory.
    pub const NO_MEMORY: Self = Self(12);
    /// The guest's function is another device's.
    pub const BUSY: Self = Self(16);
    /// The device is managed already.
    pub const EXISTS: Self = Self(17);
    /// Not a value that can be used.
    pub const INVALID: Self = Self(22);
    /// The guest has as many managed devices as it may.
    pub const NO_SPACE: Self = Self(28);
    /// Xen would have to wait for another processor.
    pub const RESTART: Self = Self(85);
}

/// Why the hardware does not do yet what the guest wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incomplete {
    /// There is more to do than one hold of the lock may, or Xen would have to wait for another
    /// processor: the same again, with the lock dropped in between.
    Retry,
    /// Xen failed; what is concerned is off or masked.
    Failed(Errno),
}

impl From<Errno> for Incomplete {
    fn from(errno: Errno) -> Self {
        if errno == Errno::RESTART {
            Self::Retry
        } else {
            Self::Failed(errno)
        }
    }
}

/// The guest's side and the hardware's side of an MSI-X table, of equal length.
#[derive(Debug)]
pub struct TableMemory {
    /// What the guest wrote.
    pub entries: Owned<Entry>,
    /// What the hardware was programmed with.
    pub vectors: Owned<Vector>,
}

/// One line of Xen's log about a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// What happened.
    pub text: &'static CStr,
    /// What belongs to it.
    pub detail: Detail,
    /// Whether somebody should look at it.
    pub warning: bool,
}

/// What belongs to a line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Nothing.
    None,
    /// An address, an offset or a register's value: in hexadecimal.
    Value(u64),
    /// A number of things, or an errno: in decimal.
    Number(u64),
    /// A domain, by its number.
    Domain(u16),
}

impl Line {
    /// A line that tells.
    pub fn info(text: &'static CStr, detail: Detail) -> Self {
        Self { text, detail, warning: false }
    }

    /// A line that warns.
    pub fn warning(text: &'static CStr, detail: Detail) -> Self {
        Self { text, detail, warning: true }
    }
}

/// What Xen does for msitrap, for the devices of one domain. None of it waits for another
/// processor's locks, softirqs or guests; some of it waits until others have taken an IPI, as Xen's
/// own code does with its locks held, and for which they need no lock.
pub trait Hardware {
    /// What is left of the work that this hold of the lock may do.
    fn budget(&mut self) -> &mut Budget;

    /// Reads the dword at `register` of the device's configuration space.
    fn read_config(&mut self, device: Sbdf, register: u16) -> u32;

    /// Writes `size` bytes (1, 2 or 4) at `offset` of the device's configuration space, aligned.
    fn write_config(&mut self, device: Sbdf, offset: u16, size: u8, value: u32);

    /// The device's memory base address registers, each where it begins.
    ///
    /// Sizes them by writing them: only before the guest has the device.
    fn bars(&mut self, device: Sbdf) -> [Option<HostBar>; BAR_COUNT];

    /// Whether frames may be what a device says: its memory, which the domain was granted.
    ///
    /// # Errors
    /// What they are instead.
    fn check_frames(&mut self, device: Sbdf, frames: Frames) -> Result<(), Distrust>;

    /// Allocates interrupts, one after the other, and programs the device's MSI message, of
    /// Xen's making, for that many vectors (a power of two), with the enable bit off.
    fn map_msi(&mut self, device: Sbdf, vectors: u8) -> Result<Pirq, Errno>;

    /// Allocates an interrupt and programs an entry of the device's MSI-X table with a message
    /// of Xen's making, masked. Where it fails, MSI-X may be left disabled.
    fn map_msix(&mut self, device: Sbdf, vector: u16) -> Result<Pirq, Errno>;

    /// Gives back what [`Hardware::map_msi`] or [`Hardware::map_msix`] allocated.
    fn unmap(&mut self, pirq: Pirq);

    /// Delivers the interrupt to the guest as `message`, at first masked for the guest; again
    /// with another message, it replaces the first without losing an interrupt.
    ///
    /// # Errors
    /// [`Errno::RESTART`] when a processor still delivers an interrupt of its last owner.
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

    /// Keeps Xen's own code away from the device's memory, or lets it there again; false when the
    /// device is not the domain's yet. Nobody is still at it when this returns.
    fn set_away(&mut self, device: Sbdf, away: bool) -> bool;

    /// Memory for a table of so many vectors.
    fn allocate_table(&mut self, vectors: u16) -> Result<TableMemory, Errno>;

    /// Makes frames of the device's memory reachable for Xen.
    fn open(&mut self, frames: Frames) -> Result<Window, Errno>;

    /// Ends that. Not with the lock held: other processors have to forget the mapping.
    fn close(&mut self, window: Window);

    /// Reads `size` bytes (1, 2, 4 or 8) at the host's address `address`; all ones outside of
    /// the window.
    fn read_memory(&mut self, window: &Window, address: u64, size: u8) -> u64;

    /// Writes `size` bytes (1, 2, 4 or 8) at the host's address `address`, within the window.
    fn write_memory(&mut self, window: &Window, address: u64, size: u8, value: u64);

    /// Nanoseconds since the host started.
    fn now(&mut self) -> u64;

    /// Has [`Guest::settle`](crate::host::guest::Guest::settle) called for the device at this time,
    /// in nanoseconds, by a timer. A later call replaces an earlier one.
    fn settle_at(&mut self, device: Sbdf, time: u64);

    /// The same, soon, for what one hold of the lock left over. A vCPU of the guest whose access
    /// that was calls it before it goes on: the access has had its effect then.
    fn settle_soon(&mut self, device: Sbdf);

    /// One line in Xen's log about the device.
    fn log(&mut self, device: Sbdf, line: Line);
}

/// Reads Message Control, `control_register` being its offset.
pub fn read_control(device: Sbdf, control_register: u16, hardware: &mut impl Hardware) -> u16 {
    // The high half of the capability's first dword.
    (hardware.read_config(device, control_register & !3) >> 16) as u16
}
