// SPDX-License-Identifier: GPL-2.0-only
//! The MSI-X capability (PCI Express Base Specification 6.0, section 7.7.2) and its table as the
//! guest sees them.

use crate::core::access::ByteEnables;
use crate::core::capability::{Capability, Permission, Reading};
use crate::core::message::{BoundMessage, GuestMessage, Refusal};
use crate::core::spec::{MsixControl, DWORD, MSIX_ENTRY, MSIX_LENGTH, MSIX_PENDING, MSIX_TABLE};
use crate::core::table::Entry;
use crate::memory::Owned;

/// The registers of the capability in hardware, as they were at assignment.
#[derive(Clone, Copy, Debug)]
pub struct MsixRegisters {
    /// Offset of the capability, the same for guest and hardware.
    pub position: u16,
    /// ID, next pointer and Message Control.
    pub header: u32,
    /// Table Offset and BAR indicator.
    pub table: u32,
    /// Pending bit array offset and BAR indicator.
    pub pending: u32,
}

impl MsixRegisters {
    /// Message Control.
    pub fn control(&self) -> MsixControl {
        MsixControl((self.header >> 16) as u16)
    }
}

/// The guest's MSI-X capability and table.
#[derive(Debug)]
pub struct Msix {
    registers: MsixRegisters,
    control: MsixControl,
    /// One for each vector; none where MSI-X cannot be given to the guest.
    entries: Owned<Entry>,
    /// The message refused last, and why, until it was told.
    refused: Option<(GuestMessage, Refusal)>,
}

impl Msix {
    /// The capability, disabled, with every entry as after reset. Without `entries` it cannot be
    /// enabled.
    pub fn new(registers: MsixRegisters, mut entries: Owned<Entry>) -> Self {
        let mut control = MsixControl(0);
        control.set_table_size(registers.control().table_size());
        entries.fill(Entry::RESET);
        Self { registers, control, entries, refused: None }
    }

    /// Offset of Message Control, for the one 16-bit register Xen itself writes.
    pub fn control_register(&self) -> u16 {
        self.registers.position.saturating_add(2)
    }

    /// Whether the guest's function mask bit is set.
    pub fn function_masked(&self) -> bool {
        self.control.function_mask()
    }

    /// What each vector delivers, in order; None for those that deliver nothing.
    pub fn vectors(&self) -> impl Iterator<Item = Option<BoundMessage>> + '_ {
        self.entries.iter().map(Entry::wanted)
    }

    /// What one vector delivers.
    pub fn vector(&self, index: u16) -> Option<BoundMessage> {
        self.entries.at(usize::from(index)).and_then(Entry::wanted)
    }

    /// The guest reads four or eight bytes at `offset` of the table, aligned.
    pub fn read_table(&self, offset: u32, size: u8) -> u64 {
        let read = |offset: u32| {
            let entry = self.entries.at((offset / MSIX_ENTRY) as usize);
            entry.map_or(u32::MAX, |entry| entry.read(register(offset)))
        };
        let low = u64::from(read(offset));
        match size {
            8 => u64::from(read(offset | u32::from(DWORD))) << 32 | low,
            _ => low,
        }
    }

    /// The guest writes four or eight bytes at `offset` of the table, aligned. Returns which
    /// vector that is.
    pub fn write_table(&mut self, offset: u32, size: u8, value: u64) -> Option<u16> {
        let delivers = self.delivers();
        let index = offset / MSIX_ENTRY;
        let entry = self.entries.at_mut(index as usize)?;
        entry.write(register(offset), value as u32);
        if size == 8 {
            entry.write(register(offset) | 1, (value >> 32) as u32);
        }
        self.refused = entry.settle(delivers).err();
        u16::try_from(index).ok()
    }

    /// The message refused since the last time this was asked, and why.
    pub fn take_refused(&mut self) -> Option<(GuestMessage, Refusal)> {
        self.refused.take()
    }

    fn delivers(&self) -> bool {
        self.control.enable() && !self.control.function_mask()
    }

    fn header(&self) -> u32 {
        (self.registers.header & 0xffff) | u32::from(self.control.0) << 16
    }

    fn settle(&mut self) {
        let delivers = self.delivers();
        for entry in self.entries.iter_mut() {
            self.refused = entry.settle(delivers).err().or(self.refused);
        }
    }
}

/// Which dword of its entry the one at `offset` of the table is.
fn register(offset: u32) -> u32 {
    (offset % MSIX_ENTRY) >> 2
}

impl Capability for Msix {
    fn owns(&self, register: u16) -> bool {
        register.checked_sub(self.registers.position).is_some_and(|offset| offset < MSIX_LENGTH)
    }

    fn read(&self, register: u16) -> Reading {
        match register.saturating_sub(self.registers.position) {
            MSIX_TABLE => Reading::Value(self.registers.table),
            MSIX_PENDING => Reading::Value(self.registers.pending),
            _ => Reading::Header(self.header()),
        }
    }

    fn write(&mut self, register: u16, enables: ByteEnables, value: u32, permission: Permission) {
        if register != self.registers.position {
            return;
        }
        let written = MsixControl((enables.merge(self.header(), value) >> 16) as u16);
        let possible = !self.entries.is_empty();
        self.control.set_function_mask(written.function_mask());
        self.control.set_enable(possible && permission.allows(written.enable()));
        self.settle();
    }

    fn enabled(&self) -> bool {
        self.control.enable()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: u16 = 0xa0;
    const ENABLE: u32 = 0x8000_0000;
    const FUNCTION_MASK: u32 = 0x4000_0000;

    /// A capability with as many vectors as asked.
    fn capability(vectors: u16) -> Msix {
        let header = u32::from(vectors.saturating_sub(1)) << 16 | 0x5011;
        let registers = MsixRegisters { position: AT, header, table: 0x2003, pending: 0x3004 };
        Msix::new(registers, Owned::of(vec![Entry::RESET; vectors.into()]))
    }

    fn control(msix: &mut Msix, value: u32) {
        msix.write(AT, ByteEnables::ALL, value, Permission::Granted);
    }

    /// Writes a message into an entry and unmasks it.
    fn program(msix: &mut Msix, index: u32, vector: u64) {
        msix.write_table(index << 4, 8, 0xfee0_0000);
        msix.write_table(index << 4 | 8, 8, vector);
    }

    fn vectors(msix: &Msix) -> Vec<Option<u8>> {
        msix.vectors().map(|wanted| wanted.map(|message| message.vector())).collect()
    }

    #[test]
    fn registers_and_what_of_them_can_be_written() {
        let mut msix = capability(3);
        let owned = (0u16..0x100).step_by(4).filter(|register| msix.owns(*register));
        assert!(owned.eq([AT, 0xa4, 0xa8]));
        for register in [AT, 0xa4, 0xa8] {
            msix.write(register, ByteEnables::ALL, u32::MAX, Permission::Granted);
        }
        assert_eq!(msix.read(AT), Reading::Header(0xc002_5011));
        assert_eq!(msix.read(0xa4), Reading::Value(0x2003));
        assert_eq!(msix.read(0xa8), Reading::Value(0x3004));
        assert_eq!(msix.control_register(), 0xa2);
        assert!(msix.enabled() && msix.function_masked());
    }

    #[test]
    fn enable_needs_permission() {
        let mut msix = capability(3);
        msix.write(AT, ByteEnables::ALL, ENABLE | FUNCTION_MASK, Permission::Denied);
        assert_eq!(msix.read(AT), Reading::Header(0x4002_5011));
        assert!(!msix.enabled());
    }

    #[test]
    fn without_a_table_it_cannot_be_enabled() {
        let header = 0x0002_5011;
        let mut msix =
            Msix::new(MsixRegisters { position: AT, header, table: 0, pending: 0 }, Owned::empty());
        control(&mut msix, ENABLE);
        assert!(!msix.enabled());
        assert_eq!(msix.read(AT), Reading::Header(header));
    }

    #[test]
    fn the_order_of_linux() {
        let mut msix = capability(3);
        control(&mut msix, ENABLE | FUNCTION_MASK);
        program(&mut msix, 1, 0x51);
        assert_eq!(vectors(&msix), [None, None, None]);
        control(&mut msix, ENABLE);
        assert_eq!(vectors(&msix), [None, Some(0x51), None]);
        assert_eq!(msix.vector(1).map(|message| message.vector()), Some(0x51));
        assert_eq!(msix.vector(3), None);
        control(&mut msix, ENABLE | FUNCTION_MASK);
        assert_eq!(vectors(&msix), [None, None, None]);
    }

    #[test]
    fn the_double_unmask_of_windows() {
        let mut msix = capability(1);
        control(&mut msix, ENABLE);
        for (vector, expected) in [(0x51, 0x51), (0x52, 0x51)] {
            program(&mut msix, 0, vector);
            assert_eq!(vectors(&msix), [Some(expected)]);
        }
        msix.write_table(0xc, 4, 1);
        msix.write_table(0xc, 4, 0);
        assert_eq!(vectors(&msix), [Some(0x52)]);
    }

    #[test]
    fn disabled_keeps_the_table() {
        let mut msix = capability(1);
        program(&mut msix, 0, 0x51);
        control(&mut msix, ENABLE);
        control(&mut msix, 0);
        assert_eq!(vectors(&msix), [None]);
        assert_eq!((msix.read_table(0, 8), msix.read_table(8, 8)), (0xfee0_0000, 0x51));
        control(&mut msix, ENABLE);
        assert_eq!(vectors(&msix), [Some(0x51)]);
    }

    #[test]
    fn four_and_eight_bytes() {
        let mut msix = capability(2);
        assert_eq!(msix.write_table(0x10, 4, 0x1_2345_6789), Some(1));
        assert_eq!(msix.write_table(0x14, 4, 0xabcd), Some(1));
        assert_eq!(msix.write_table(0x18, 8, 0xffff_fffe_1111_2222), Some(1));
        assert_eq!(msix.read_table(0x10, 8), 0xabcd_2345_6788);
        assert_eq!(msix.read_table(0x14, 4), 0xabcd);
        assert_eq!(msix.read_table(0x18, 8), 0x1111_2222);
        assert_eq!(msix.read_table(0x0c, 4), 1);
    }

    #[test]
    fn beyond_the_table() {
        let mut msix = capability(2);
        assert_eq!(msix.write_table(0x20, 8, 0), None);
        assert_eq!(msix.read_table(0x20, 8), u64::MAX);
    }

    #[test]
    fn refusals_are_told_once() {
        let mut msix = capability(2);
        control(&mut msix, ENABLE);
        program(&mut msix, 0, 0x8051_0000);
        let message = GuestMessage { address: 0xfee0_0000, data: 0x8051_0000 };
        assert_eq!(msix.take_refused(), Some((message, Refusal::UpperData)));
        assert_eq!(msix.take_refused(), None);
        control(&mut msix, 0);
        control(&mut msix, ENABLE);
        assert_eq!(msix.take_refused(), Some((message, Refusal::UpperData)));
    }
}
