// SPDX-License-Identifier: GPL-2.0-only
//! Where a function stands: on the host, and as the guest sees it.

/// A host function: segment, bus, device and function, packed as Xen's `pci_sbdf_t`
/// (segment in bits 31:16, bus in 15:8, device in 7:3, function in 2:0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sbdf(pub u32);

/// A function on the guest's bus 0: device in bits 7:3, function in bits 2:0.
///
/// The device model puts passed-through functions on the root bus of the guest's i440fx
/// machine, so functions behind guest bridges are not learned and stay with the device model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestFunction(pub u8);

impl GuestFunction {
    /// How many functions the guest's bus 0 can hold.
    pub const COUNT: usize = 256;

    /// The function at bus, device and function number `bdf` (as in CF8 bits 23:8), if it is on bus
    /// 0.
    pub fn from_bdf(bdf: u16) -> Option<Self> {
        u8::try_from(bdf).ok().map(Self)
    }
}
