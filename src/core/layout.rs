// SPDX-License-Identifier: GPL-2.0-only
//! Where a device's MSI-X table and pending bits lie in its memory, and which of them an access
//! touches (PCI Express Base Specification 6.0, sections 7.7.2.3 to 7.7.2.10).

use crate::core::learn::{HostBar, FRAME_SHIFT};
use crate::core::spec::{MsixControl, MsixPlace, BAR_COUNT, MSIX_ENTRY};

/// Some bytes behind a base address register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Region {
    /// Index of the base address register.
    bar: usize,
    /// From the base address, in bytes; a multiple of eight.
    offset: u64,
    /// In bytes; a multiple of eight, never zero.
    length: u64,
}

/// Frames of host memory, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frames {
    /// The first machine frame number.
    pub first: u64,
    /// The last machine frame number.
    pub last: u64,
}

/// The MSI-X structures of one device, as they were at assignment.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    vectors: u16,
    table: Region,
    pending: Region,
    table_address: u64,
    pending_address: u64,
}

/// What an access to memory touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The table, at this offset in bytes: four or eight bytes, aligned.
    Table(u32),
    /// The pending bits: four or eight bytes, aligned.
    Pending,
    /// Other registers of the device's: one to eight bytes, aligned.
    Beside,
    /// Not aligned, or of a width that its place does not bear: nothing answers.
    Nowhere,
}

impl Region {
    fn new(place: u32, length: u64) -> Self {
        let place = MsixPlace(place);
        Self {
            bar: place.bar().into(),
            offset: u64::from(place.qwords()).saturating_mul(8),
            length,
        }
    }

    fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }

    /// The host address, if all of it lies within its base address register.
    fn address(&self, bars: &[Option<HostBar>; BAR_COUNT]) -> Option<u64> {
        let bar = bars.get(self.bar)?.as_ref()?;
        let address = bar.address.as_u64().checked_add(self.offset)?;
        (self.end() <= bar.size).then_some(address)
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.bar == other.bar && self.offset < other.end() && other.offset < self.end()
    }

    fn contains(&self, bar: usize, offset: u64) -> bool {
        self.bar == bar && (self.offset..self.end()).contains(&offset)
    }

    fn frames(&self, address: u64) -> Frames {
        let last = address.saturating_add(self.length).saturating_sub(1);
        Frames { first: address >> FRAME_SHIFT, last: last >> FRAME_SHIFT }
    }
}

/// Whether no other base address register reaches the same memory: through that one the table would
/// be what lies beside it.
fn is_alone(index: usize, bars: &[Option<HostBar>; BAR_COUNT]) -> bool {
    let Some(Some(bar)) = bars.get(index) else { return false };
    let others = bars.iter().enumerate().filter(|(other, _)| *other != index);
    others.filter_map(|(_, other)| other.as_ref()).all(|other| !bar.overlaps(other))
}

impl Frames {
    /// Whether `frame` is one of them.
    pub fn contains(&self, frame: u64) -> bool {
        (self.first..=self.last).contains(&frame)
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }
}

impl Layout {
    /// From Message Control, Table Offset and PBA Offset. None when they point outside of the
    /// device's memory or at each other: such a device cannot be given its MSI-X.
    pub fn new(
        control: MsixControl,
        table: u32,
        pending: u32,
        bars: &[Option<HostBar>; BAR_COUNT],
    ) -> Option<Self> {
        let vectors = control.table_size().saturating_add(1);
        let table = Region::new(table, u64::from(vectors).saturating_mul(MSIX_ENTRY.into()));
        let pending = Region::new(pending, u64::from(vectors).div_ceil(64).saturating_mul(8));
        let table_address = table.address(bars)?;
        let pending_address = pending.address(bars)?;
        let apart = !table.overlaps(&pending)
            && [table.bar, pending.bar].into_iter().all(|bar| is_alone(bar, bars));
        apart.then_some(Self { vectors, table, pending, table_address, pending_address })
    }

    /// How many vectors the table holds: 1 to 2048.
    pub fn vectors(&self) -> u16 {
        self.vectors
    }

    /// The host's address of the table.
    pub fn table_address(&self) -> u64 {
        self.table_address
    }

    /// The frames that hold the table.
    pub fn table_frames(&self) -> Frames {
        self.table.frames(self.table_address)
    }

    /// The frames that hold the pending bits.
    pub fn pending_frames(&self) -> Frames {
        self.pending.frames(self.pending_address)
    }

    /// The base address registers behind which the two lie; they may be one and the same.
    pub fn bars(&self) -> [usize; 2] {
        [self.table.bar, self.pending.bar]
    }

    /// What an access of `size` bytes touches, `offset` bytes behind base address register `bar`.
    pub fn place(&self, bar: usize, offset: u64, size: u8) -> Place {
        let wide = matches!(size, 4 | 8);
        // Both structures begin and end on multiples of eight, so what is aligned is in or out.
        if !matches!(size, 1 | 2 | 4 | 8) || offset & u64::from(size).saturating_sub(1) != 0 {
            Place::Nowhere
        } else if self.table.contains(bar, offset) {
            let at = offset.saturating_sub(self.table.offset);
            u32::try_from(at).ok().filter(|_| wide).map_or(Place::Nowhere, Place::Table)
        } else if self.pending.contains(bar, offset) {
            if wide {
                Place::Pending
            } else {
                Place::Nowhere
            }
        } else {
            Place::Beside
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use x86_64::PhysAddr;

    const HOST: u64 = 0xfea0_0000;

    /// Two base address registers, 64 KiB each, the first of 64 bits.
    fn bars() -> [Option<HostBar>; BAR_COUNT] {
        let bar = |address| {
            Some(HostBar { address: PhysAddr::new(address), size: 0x1_0000, is_64bit: false })
        };
        [bar(HOST), None, bar(HOST | 0x10_0000), None, None, None]
    }

    fn layout(vectors: u16, table: u32, pending: u32) -> Option<Layout> {
        Layout::new(MsixControl(vectors.saturating_sub(1)), table, pending, &bars())
    }

    #[test]
    fn table_and_pending_bits_in_different_bars() {
        let layout = layout(5, 0x2000, 0x802);
        assert_eq!(
            layout.map(|l| (l.vectors(), l.bars(), l.table_address())),
            Some((5, [0, 2], HOST | 0x2000))
        );
        assert_eq!(
            layout.map(|l| l.table_frames()),
            Some(Frames { first: 0xfea02, last: 0xfea02 })
        );
        assert_eq!(
            layout.map(|l| l.pending_frames()),
            Some(Frames { first: 0xfeb00, last: 0xfeb00 })
        );
        let place = |bar, offset| layout.map(|l| l.place(bar, offset, 4));
        assert_eq!(place(0, 0x2010), Some(Place::Table(0x10)));
        assert_eq!(place(2, 0x2010), Some(Place::Beside));
        assert_eq!(place(2, 0x800), Some(Place::Pending));
        assert_eq!(place(0, 0x800), Some(Place::Beside));
    }

    #[test]
    fn a_table_that_crosses_pages() {
        let layout = layout(2048, 0xff0, 0x9000);
        let frames = layout.map(|l| l.table_frames());
        assert_eq!(frames, Some(Frames { first: 0xfea00, last: 0xfea08 }));
        assert_eq!(
            frames.map(|f| (f.count(), f.contains(0xfea08), f.contains(0xfea09))),
            Some((9, true, false))
        );
        let place = |offset| layout.map(|l| l.place(0, offset, 8));
        assert_eq!(place(0xfe8), Some(Place::Beside));
        assert_eq!(place(0x8fe8), Some(Place::Table(0x7ff8)));
        assert_eq!(place(0x8ff0), Some(Place::Beside));
        assert_eq!(place(0x90f8), Some(Place::Pending));
        assert_eq!(place(0x9100), Some(Place::Beside));
    }

    #[test]
    fn pending_bits_on_the_tables_page() {
        let layout = layout(65, 0x0, 0x410);
        let place = |offset| layout.map(|l| l.place(0, offset, 8));
        assert_eq!(place(0x408), Some(Place::Table(0x408)));
        assert_eq!(place(0x410), Some(Place::Pending));
        assert_eq!(place(0x418), Some(Place::Pending));
        assert_eq!(place(0x420), Some(Place::Beside));
        assert_eq!(layout.map(|l| l.table_frames()), layout.map(|l| l.pending_frames()));
    }

    #[test]
    fn widths() {
        let layout = layout(4, 0x0, 0x800);
        let place = |offset, size| layout.map(|l| l.place(0, offset, size));
        for size in [0, 1, 2, 3, 5, 6, 7, 16] {
            assert_eq!(place(0x10, size), Some(Place::Nowhere), "table, {size} bytes");
            assert_eq!(place(0x800, size), Some(Place::Nowhere), "pending bits, {size} bytes");
        }
        for size in [1, 2, 4, 8] {
            assert_eq!(place(0x100, size), Some(Place::Beside), "{size} bytes");
        }
        for offset in 1..8 {
            assert_eq!(place(offset, 8), Some(Place::Nowhere), "offset {offset}");
        }
        assert_eq!(place(0x12, 4), Some(Place::Nowhere));
    }

    #[test]
    fn base_addresses_that_overlap_are_refused() {
        let bar = |address, size| {
            Some(HostBar { address: PhysAddr::new(address), size, is_64bit: false })
        };
        let layout = |second| {
            let bars = [bar(0xfea0_0000, 0x1_0000), None, second, None, None, None];
            Layout::new(MsixControl(0), 0x1000, 0x8000, &bars).is_some()
        };
        for (address, size, fits) in [
            (0xfea1_0000, 0x1000, true),
            (0xfe9f_f000, 0x1000, true),
            (0xfea0_f000, 0x1000, false),
            (0xfe00_0000, 0x100_0000, false),
            (0xfea0_0000, 0x10, false),
        ] {
            assert_eq!(layout(bar(address, size)), fits, "{address:#x} {size:#x}");
        }
        assert!(layout(None));
    }

    #[test]
    fn what_lies_outside_or_overlaps_is_refused() {
        assert!(layout(1, 0xfff0, 0x0).is_some());
        assert!(layout(2, 0xfff0, 0x0).is_none());
        assert!(layout(1, 0x0, 0x1_0000).is_none());
        assert!(layout(1, 0x1, 0x800).is_none(), "no such base address register");
        assert!(layout(1, 0x7, 0x800).is_none(), "a reserved BAR indicator");
        assert!(layout(1, 0x0, 0x6).is_none());
        assert!(layout(2, 0x0, 0x18).is_none());
        assert!(layout(2, 0x8, 0x0).is_some());
        assert!(layout(2, 0x0, 0x20).is_some());
        assert!(layout(2, 0x0, 0x2).is_some());
    }
}
