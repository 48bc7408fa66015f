// SPDX-License-Identifier: GPL-2.0-only
//! Memory that devices read and write.

use core::cell::UnsafeCell;

use crate::mmio::{self, Value};

const PAGE: usize = 4096;

#[repr(C, align(4096))]
struct Page([u8; PAGE]);

/// Pages at the same address for the vCPU and for a device, zero at first.
pub struct Memory<const PAGES: usize>(UnsafeCell<[Page; PAGES]>);

// SAFETY: it is only ever reached by single accesses to its address.
unsafe impl<const PAGES: usize> Sync for Memory<PAGES> {}

impl<const PAGES: usize> Memory<PAGES> {
    /// For a static.
    pub const fn new() -> Self {
        Self(UnsafeCell::new([const { Page([0; PAGE]) }; PAGES]))
    }

    /// The address of page `n`.
    pub fn page(&self, n: usize) -> usize {
        assert!(n < PAGES);
        self.0.get() as usize + n * PAGE
    }

    /// Writes at an offset into the whole.
    pub fn write<V: Value>(&self, offset: usize, value: V) {
        mmio::write(self.page(offset / PAGE) + offset % PAGE, value);
    }

    /// Reads at an offset into the whole.
    pub fn read<V: Value>(&self, offset: usize) -> V {
        mmio::read(self.page(offset / PAGE) + offset % PAGE)
    }
}
