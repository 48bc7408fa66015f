// SPDX-License-Identifier: GPL-2.0-only
//! What a guest may ask Xen for about interrupts, in Xen's public interface: answers are 0 or
//! above, or -errno.

use crate::hypervisor::call;

// Hypercalls, and their commands.
const EVENT_CHANNEL_OP: u64 = 32;
const BIND_PIRQ: u64 = 2;
const CLOSE: u64 = 3;
const PHYSDEV_OP: u64 = 33;
const MAP_PIRQ: u64 = 13;
const UNMAP_PIRQ: u64 = 14;
const GET_FREE_PIRQ: u64 = 23;
const HVM_OP: u64 = 34;
const SET_UPCALL_VECTOR: u64 = 23;

const SELF: u16 = 0x7ff0;

/// The types that `map_pirq` knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub enum Kind {
    /// A message, of the device at bus and slot.
    Msi = 0,
    /// An interrupt line, by its number.
    Gsi = 1,
    /// As `Msi`, with a segment.
    MsiSegment = 3,
    /// As `MsiSegment`, several vectors.
    MultiMsi = 4,
}

/// What `map_pirq` is asked for.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Map {
    /// Whose; the caller's own.
    pub domain: u16,
    /// What.
    pub kind: Kind,
    /// Of a line, its number; -1 otherwise.
    pub index: i32,
    /// The PIRQ to use; -1 for any. Xen's answer.
    pub pirq: i32,
    /// Of a message, the device's segment and bus.
    pub bus: i32,
    /// Of a message, the device's slot and function.
    pub devfn: i32,
    /// Of MSI-X, the entry; of several vectors, how many.
    pub entry: i32,
    /// Of MSI-X, the table's address; zero for MSI.
    pub table: u64,
}

impl Map {
    /// A map of this kind for the caller, of the first index, entry and function, to any PIRQ.
    pub const fn new(kind: Kind) -> Self {
        let index = if matches!(kind, Kind::Gsi) { 0 } else { -1 };
        Self { domain: SELF, kind, index, pirq: -1, bus: 0, devfn: 0, entry: 0, table: 0 }
    }

    /// Maps.
    pub fn ask(&mut self) -> i64 {
        call(PHYSDEV_OP, MAP_PIRQ, self)
    }
}

#[repr(C)]
struct Unmap {
    domain: u16,
    pirq: i32,
}

/// Unmaps a PIRQ of the caller's.
pub fn unmap(pirq: i32) -> i64 {
    call(PHYSDEV_OP, UNMAP_PIRQ, &mut Unmap { domain: SELF, pirq })
}

/// Takes a PIRQ that is free; which one.
pub fn free_pirq(kind: Kind) -> Result<u32, i64> {
    let mut asked = (kind, 0);
    match call(PHYSDEV_OP, GET_FREE_PIRQ, &mut asked) {
        0 => Ok(asked.1),
        error => Err(error),
    }
}

/// Makes the call `command` about physical devices, with zeros for an argument but the first
/// number.
pub fn device_call(command: u64, first: u32) -> i64 {
    let mut argument = [0u32; 16];
    argument[0] = first;
    call(PHYSDEV_OP, command, &mut argument)
}

/// Binds a PIRQ to an event channel; which one.
pub fn bind(pirq: u32) -> Result<u32, i64> {
    let mut asked = [pirq, 0, 0];
    match call(EVENT_CHANNEL_OP, BIND_PIRQ, &mut asked) {
        0 => Ok(asked[2]),
        error => Err(error),
    }
}

/// Closes an event channel.
pub fn close(port: u32) -> i64 {
    call(EVENT_CHANNEL_OP, CLOSE, &mut { port })
}

/// Has the first vCPU's event channels arrive as `vector`.
pub fn set_upcall_vector(vector: u8) -> i64 {
    call(HVM_OP, SET_UPCALL_VECTOR, &mut [0, u32::from(vector)])
}
