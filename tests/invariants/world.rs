// SPDX-License-Identifier: GPL-2.0-only
//! One guest with one device: what it does, and what the specification lets it expect.

use msitrap::core::access::ConfigAccess;
use msitrap::core::address::GuestFunction;
use msitrap::core::learn::Mapping;
use msitrap::host::guest::{Guest, GuestAccess};

use crate::fake::{Fake, Kind, Message, Source, BARS, DEVICE, MSI, MSIX};
use crate::model::Model;
use crate::steps::Memory;

const FUNCTION: GuestFunction = GuestFunction(0x28);
/// Where the guest puts BARs 0 and 2.
const GUEST_BARS: [u64; 2] = [0xf200_0000, 0x2_f300_0000];
/// The first of the ports through which configuration space is reached.
pub const DATA_PORT: i32 = 0xcfc;

/// A guest with the device, and what the specification says about it.
pub struct World {
    pub kind: Kind,
    pub guest: Guest,
    pub hardware: Fake,
    pub model: Model,
}

impl World {
    /// A device assigned, its base addresses set and mapped, so that it is learned.
    pub fn new(kind: Kind) -> Self {
        let mut world = Self::unassigned(kind);
        world.assign();
        world
    }

    /// The same before the device is assigned.
    pub fn unassigned(kind: Kind) -> Self {
        Self { kind, guest: Guest::empty(), hardware: Fake::new(kind), model: Model::new(kind) }
    }

    /// The guest turns MSI and MSI-X off.
    pub fn turn_off(&mut self) {
        self.write(MSI, DATA_PORT + 2, 2, 0);
        self.write(MSIX, DATA_PORT + 2, 2, 0);
    }

    pub fn assign(&mut self) {
        assert!(self.try_assign(), "Xen has all that it takes");
    }

    /// Assigns it and sets it up; false, with nothing left behind, where Xen lacked something.
    pub fn try_assign(&mut self) -> bool {
        if self.guest.manage(DEVICE, &mut self.hardware).is_err() {
            assert!(self.hardware.failures > 0, "manages no device without a reason");
            assert_eq!(self.hardware.outstanding, 0, "a failed assignment leaves memory behind");
            return false;
        }
        self.hardware.assigned = true;
        assert!(
            !self.hardware.msi_enabled() && !self.hardware.msix_enabled(),
            "the host's messages outlive assignment"
        );
        for (register, value) in [(0x10, GUEST_BARS[0]), (0x18, GUEST_BARS[1]), (0x1c, GUEST_BARS[1] >> 32)] {
            self.write(register, DATA_PORT, 4, value as u32);
        }
        self.write(0x04, DATA_PORT, 2, 0x0006);
        self.map(GUEST_BARS[0]);
        true
    }

    /// Released, the device is as it was before, and goes to the next guest.
    pub fn assign_again(&mut self) {
        self.hardware.assigned = false;
        self.hardware.command = 0x2;
        self.model = Model::new(self.kind);
        self.assign();
    }

    /// Dom0 resets the device as Linux does, with what it had saved put back afterwards.
    pub fn reset(&mut self) {
        self.host_write(4, 2, 0x0400);
        self.hardware.reset();
        self.host_write(4, 2, 0x0006);
    }

    /// The device was reset and dom0, having put back the Command register, asks Xen for the rest.
    pub fn restore(&mut self) {
        let decoded = self.hardware.decoded();
        self.hardware.reset();
        self.hardware.command = if decoded { 6 } else { 4 };
        self.guest.restore(DEVICE, &mut self.hardware);
    }

    /// The host slept. Bridges wake up later: only when dom0 writes Command the device is there again.
    pub fn sleep(&mut self) {
        let decoded = self.hardware.decoded();
        self.hardware.reset();
        self.guest.resume(&mut self.hardware);
        self.hardware.reset();
        self.host_write(4, 2, if decoded { 6 } else { 4 });
    }

    pub fn map(&mut self, address: u64) {
        let mapping = Mapping { guest_frame: address >> 12, machine_frame: BARS[0].0 >> 12, count: BARS[0].1 >> 12 };
        self.guest.mapped(&mapping, &mut self.hardware);
    }

    pub fn access(register: u16, port: i32, size: u8) -> Option<GuestAccess> {
        let access = ConfigAccess::from_data_port(register, port as u16, size)?;
        Some(GuestAccess { function: FUNCTION, access })
    }

    /// The offsets in configuration space of an access's bytes that lie in the selected dword.
    pub fn offsets(register: u16, port: i32, size: u8) -> impl Iterator<Item = (usize, i32)> {
        let register = i32::from(register & !3);
        (0..usize::from(size)).filter_map(move |byte| {
            let lane = port - DATA_PORT + byte as i32;
            (0..4).contains(&lane).then_some((byte, register + lane))
        })
    }

    pub fn write(&mut self, register: u16, port: i32, size: u8, value: u32) {
        let Some(access) = Self::access(register, port, size) else { return };
        let consumed = self.guest.write(access, value, &mut self.hardware);
        let mut touched = Self::offsets(register, port, size).map(|(_, offset)| offset);
        assert_eq!(consumed, touched.any(|offset| self.model.owns(offset)), "who gets the write");
        for (byte, offset) in Self::offsets(register, port, size) {
            self.model.write(offset, value.to_le_bytes()[byte]);
        }
        self.model.settle();
    }

    pub fn check_read(&mut self, register: u16, port: i32, size: u8, mergeable: bool) {
        let Some(access) = Self::access(register, port, size) else { return };
        let answer = self.guest.read(access, mergeable, &mut self.hardware);
        for byte in 0..usize::from(size) {
            let value = answer.value.to_le_bytes()[byte];
            let mask = answer.mask.to_le_bytes()[byte];
            match Self::offsets(register, port, size).find(|(at, _)| *at == byte).map(|(_, offset)| offset) {
                None if answer.mask == 0 => {}
                None => assert_eq!((value, mask), (0xff, 0xff), "a byte beside the dword"),
                Some(offset) if !self.model.owns(offset) => assert_eq!(mask, 0, "a byte of the device model's"),
                Some(offset) if Model::is_header(offset) && mergeable => assert_eq!(mask, 0, "ID and next pointer"),
                Some(offset) => {
                    assert_eq!(mask, 0xff);
                    assert!(self.model.read(offset).is_none_or(|seen| seen == value), "offset {offset:#x}: {value:#x}");
                }
            }
        }
    }

    /// The guest's address of a byte of the table's, or of the pending bits'.
    pub fn place(&self, place: Memory) -> u64 {
        let (register, offset) = match place {
            Memory::Table(offset) => (self.kind.table, offset % (u32::from(self.kind.vectors) * 16 + 32)),
            Memory::Pending(offset) => (self.kind.pending, offset % (u32::from(self.kind.vectors).div_ceil(64) * 8)),
        };
        GUEST_BARS[register as usize % 8 / 2] + u64::from(register & !7) + u64::from(offset)
    }

    /// Where the guest's address lies in the table, if it does.
    pub fn in_table(&self, address: u64) -> Option<u64> {
        let start = GUEST_BARS[self.kind.table as usize % 8 / 2] + u64::from(self.kind.table & !7);
        address.checked_sub(start).filter(|offset| *offset < u64::from(self.kind.vectors) * 16)
    }

    /// Whether the guest itself lets the device answer in memory, where it first put it.
    pub fn guest_decodes(&self) -> bool {
        self.model.command & 2 != 0
    }

    pub fn write_memory(&mut self, address: u64, size: u8, value: u64) {
        let taken = self.guest.write_memory(address, size, value, &mut self.hardware);
        assert_eq!(taken, self.guest_decodes(), "who gets the write to {address:#x}");
        if let Some(offset) = self.in_table(address).filter(|_| taken) {
            self.model.write_table(offset, size, value);
        }
        self.model.settle();
    }

    pub fn check_memory(&mut self, address: u64, size: u8) {
        let value = self.guest.read_memory(address, size, &mut self.hardware);
        assert_eq!(value.is_some(), self.guest_decodes(), "who answers for {address:#x}");
        assert_eq!(value.is_some(), self.guest.answers(address));
        if let (Some(offset), Some(value)) = (self.in_table(address), value) {
            assert_eq!(value, self.model.read_table(offset, size), "table {offset:#x}, {size} bytes");
        }
    }

    /// Whether INTx has to be off.
    fn intx_disable(&self) -> bool {
        self.model.msi_enabled() || self.model.msix_enabled() || self.model.command & 0x400 != 0
    }

    /// The hardware does what the specification lets the guest expect, unless Xen failed.
    pub fn check_delivery(&self) {
        assert_eq!(self.hardware.intx_disabled(), self.intx_disable(), "INTx");
        let expected = self.model.last_valid.clone().unwrap_or_default();
        for nth in 0..32 {
            self.check_source(Source::Msi(nth), expected.get(usize::from(nth)).copied());
        }
        if !expected.is_empty() && self.hardware.failures == 0 {
            let vectors = u32::MAX >> (32 - expected.len());
            assert_eq!(self.hardware.msi_mask(), self.model.msi_mask() & vectors, "the guest's mask");
        }
        for index in 0..self.kind.vectors {
            self.check_source(Source::Msix(index), self.model.latched(index).filter(|_| self.hardware.decoded()));
        }
    }

    pub fn check_source(&self, source: Source, expected: Option<Message>) {
        let live = self.hardware.live(source);
        let excused = self.hardware.failures > 0 && live.is_none();
        assert!(live == expected || excused, "{source:?}: {live:?} arrives at the guest, not {expected:?}");
    }

    /// A write of dom0's never changes a byte of the capabilities, nor INTx-disable, and everything else.
    pub fn host_write(&mut self, offset: u16, size: u8, value: u32) {
        let value = value & u32::MAX >> (32 - 8 * u32::from(size));
        let access = ConfigAccess::at(offset, size).expect("an aligned access");
        let owned = (0..i32::from(size)).any(|byte| self.model.owns(i32::from(offset) + byte));
        let command = (offset..offset + u16::from(size)).contains(&5).then(|| 0x400u32 >> (8 * (offset - 4)));
        let mask = command.unwrap_or(0);
        let expected = value & !mask | if self.intx_disable() { mask } else { 0 };
        self.hardware.on_behalf = Some((offset, size, expected));
        match self.guest.host_write(DEVICE, access, value, &mut self.hardware) {
            // Dropped, or made on dom0's behalf, which the device checks.
            None => assert_eq!(owned, self.hardware.on_behalf.is_some(), "drops a write to {offset:#x}"),
            Some(kept) => {
                assert!(!owned, "lets a write to {offset:#x} pass");
                assert_eq!(kept, expected, "changes other bits");
                self.hardware.host_wrote(offset, size, kept);
            }
        }
        self.hardware.on_behalf = None;
    }

    pub fn release(&mut self) {
        self.guest.release(DEVICE, &mut self.hardware);
        let on = self.hardware.msi_enabled() || self.hardware.msix_enabled();
        assert!(!on && !self.hardware.holds_interrupts(), "release leaves an interrupt behind");
        assert_eq!(self.hardware.outstanding, 0, "release leaves memory behind");
    }
}
