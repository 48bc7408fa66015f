// SPDX-License-Identifier: GPL-2.0-only
//! Memory that only the boundary hands out. Code without `unsafe` can neither make, copy nor forge
//! what stands here, and what it holds ends by itself.

use core::arch::asm;
use core::fmt;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::slice;

use crate::core::layout::Frames;
use crate::core::learn::FRAME_SHIFT;

/// An allocated slice, freed when it goes.
pub struct Owned<T: 'static> {
    start: NonNull<T>,
    length: usize,
    free: unsafe fn(NonNull<T>, usize),
}

// SAFETY: the one owner of its elements.
unsafe impl<T: Send> Send for Owned<T> {}

impl<T> Owned<T> {
    /// Takes over an allocation.
    ///
    /// # Safety
    /// `start` is the first of `length` initialised elements that nobody else uses; `free` gives
    /// them back, and is called once.
    pub const unsafe fn new(
        start: NonNull<T>,
        length: usize,
        free: unsafe fn(NonNull<T>, usize),
    ) -> Self {
        Self { start, length, free }
    }

    /// No elements.
    pub const fn empty() -> Self {
        unsafe fn nothing<T>(_: NonNull<T>, _: usize) {}
        Self { start: NonNull::dangling(), length: 0, free: nothing }
    }

    /// The element at an index that a guest chose, if there is one; not even speculatively does
    /// this reach beyond the last (Xen's `array_index_nospec`).
    pub fn at(&self, index: usize) -> Option<&T> {
        self.get(index)?;
        self.get(clamped(index, self.length))
    }

    /// The same, to be changed.
    pub fn at_mut(&mut self, index: usize) -> Option<&mut T> {
        self.get(index)?;
        let index = clamped(index, self.length);
        self.get_mut(index)
    }
}

impl<T> Deref for Owned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the contract of `new`.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl<T> DerefMut for Owned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: the contract of `new`, and this is the one owner.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the contract of `new`; nothing is reached through `self` after this.
        unsafe { (self.free)(self.start, self.length) }
    }
}

impl<T: fmt::Debug> fmt::Debug for Owned<T> {
    fn fmt(&self, into: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, into)
    }
}

/// `index` where it is below `length`, else zero; without a branch, which could be mispredicted.
fn clamped(index: usize, length: usize) -> usize {
    let mask: usize;
    // SAFETY: computes on its operands alone. The carry says whether `index` is below `length`.
    unsafe {
        asm!(
            "cmp {index}, {length}",
            "sbb {mask}, {mask}",
            index = in(reg) index,
            length = in(reg) length,
            mask = lateout(reg) mask,
            options(pure, nomem, nostack),
        );
    }
    index & mask
}

/// Frames of a device's memory that Xen can reach.
#[derive(Debug)]
pub struct Window {
    frames: Frames,
    mapping: usize,
}

impl Window {
    /// The frames `frames`, of which Xen sees the first at `mapping` in its own address space.
    ///
    /// # Safety
    /// Xen has mapped them there, for whoever holds this, as memory of a device.
    pub const unsafe fn new(frames: Frames, mapping: usize) -> Self {
        Self { frames, mapping }
    }

    /// Which frames.
    pub fn frames(&self) -> Frames {
        self.frames
    }

    /// Where Xen sees the first.
    pub fn mapping(&self) -> usize {
        self.mapping
    }

    /// Where Xen sees the `size` bytes at the host's address `address`, if they are within.
    pub fn locate(&self, address: u64, size: u8) -> Option<usize> {
        let start = self.frames.first.checked_mul(1 << FRAME_SHIFT)?;
        let offset = address.checked_sub(start)?;
        let end = offset.checked_add(size.into())?;
        let within = end <= self.frames.count().checked_mul(1 << FRAME_SHIFT)?;
        self.mapping.checked_add(usize::try_from(offset).ok()?).filter(|_| within)
    }
}

#[cfg(test)]
impl<T> Owned<T> {
    /// Memory of a test's.
    pub fn of(elements: Vec<T>) -> Self {
        unsafe fn free<T>(start: NonNull<T>, length: usize) {
            // SAFETY: made below, of a box of this length.
            drop(unsafe {
                Box::from_raw(core::ptr::slice_from_raw_parts_mut(start.as_ptr(), length))
            });
        }
        let length = elements.len();
        let start = NonNull::from(Box::leak(elements.into_boxed_slice())).cast();
        // SAFETY: a leaked box is nobody's.
        unsafe { Self::new(start, length, free) }
    }
}

#[cfg(test)]
impl Window {
    /// A window of a test's, through which nothing is reached.
    pub fn closed(frames: Frames) -> Self {
        Self { frames, mapping: 0x1000 }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_window_ends_where_its_frames_end() {
        let window = Window::closed(Frames { first: 0xfea02, last: 0xfea03 });
        assert_eq!(window.locate(0xfea0_2000, 4), Some(0x1000));
        assert_eq!(window.locate(0xfea0_3ff8, 8), Some(0x2ff8));
        assert_eq!(window.locate(0xfea0_3ffc, 8), None);
        assert_eq!(window.locate(0xfea0_1fff, 1), None);
        assert_eq!(window.locate(u64::MAX, 8), None);
    }

    #[test]
    fn an_index_is_clamped_without_a_branch() {
        for (index, length, expected) in [
            (0, 1, 0),
            (1, 1, 0),
            (5, 7, 5),
            (7, 7, 0),
            (usize::MAX, 7, 0),
            (0, 0, 0),
            (3, usize::MAX, 3),
        ] {
            assert_eq!(clamped(index, length), expected, "{index} of {length}");
        }
    }

    #[test]
    fn an_index_finds_its_element_or_none() {
        let mut owned = Owned::of(vec![10, 11, 12]);
        assert_eq!(
            [0, 2, 3, usize::MAX].map(|index| owned.at(index).copied()),
            [Some(10), Some(12), None, None]
        );
        if let Some(element) = owned.at_mut(1) {
            *element = 20;
        }
        assert_eq!(&owned[..], &[10, 20, 12]);
        assert_eq!(owned.at_mut(3), None);
        assert!(Owned::<u8>::empty().at(0).is_none());
    }

    #[test]
    fn it_is_freed_once() {
        static FREED: AtomicUsize = AtomicUsize::new(0);
        struct Counted;
        impl Drop for Counted {
            fn drop(&mut self) {
                FREED.fetch_add(1, Ordering::Relaxed);
            }
        }
        drop(Owned::of(vec![Counted, Counted]));
        assert_eq!(FREED.load(Ordering::Relaxed), 2);
    }
}
