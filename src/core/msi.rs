// SPDX-License-Identifier: GPL-2.0-only
//! The MSI capability (PCI Express Base Specification 6.0, section 7.7.1) as the guest sees it.
//!
//! The guest reads back what it wrote. What the hardware should do follows from that through
//! [`Msi::wanted`]: a message that does not validate is latched and changes nothing, so a guest
//! that rewrites address and data one register at a time keeps its last valid message meanwhile.

use crate::core::access::ByteEnables;
use crate::core::capability::{Capability, Permission, Reading};
use crate::core::message::{BoundBlock, GuestMessage, Refusal};
use crate::core::spec::{MsiControl, DWORD, MSI_VECTORS_LOG2_MAX};

/// Address bits 1:0 are reserved and read as zero, in MSI and in MSI-X.
pub const ADDRESS_WRITABLE: u32 = !0b11;
/// Data bits 31:16 are reserved without extended message data, which is not offered.
const DATA_WRITABLE: u32 = 0xffff;

/// Which register of the capability a dword is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Register {
    Header,
    Address,
    UpperAddress,
    Data,
    Mask,
    Pending,
}

/// The guest's MSI capability.
#[derive(Debug)]
pub struct Msi {
    /// Offset of the capability, the same for guest and hardware.
    position: u16,
    /// The hardware's first dword, as it was at assignment.
    header: u32,
    control: MsiControl,
    address: u64,
    data: u32,
    mask: u32,
    /// The last messages that validated since MSI was enabled.
    live: Option<BoundBlock>,
}

/// What the hardware should deliver while MSI is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsiDelivery {
    /// What the guest gets when the device raises one of its messages.
    pub block: BoundBlock,
    /// Which vectors the guest masks: bit `n` for vector `n`.
    pub mask: u32,
}

impl Msi {
    /// The capability at `position` whose first dword in hardware is `header`, disabled. The guest
    /// is offered the vectors that it has, but no more than `mappable`.
    pub fn new(position: u16, header: u32, mappable: u8) -> Self {
        let mappable = mappable.checked_ilog2().unwrap_or(0) as u8;
        let hardware = MsiControl((header >> 16) as u16);
        let mut control = MsiControl(0);
        control.set_address_64(hardware.address_64());
        control.set_per_vector_masking(hardware.per_vector_masking());
        let offered = hardware.multiple_message_capable().min(MSI_VECTORS_LOG2_MAX).min(mappable);
        control.set_multiple_message_capable(offered);
        Self { position, header, control, address: 0, data: 0, mask: 0, live: None }
    }

    /// What the hardware should deliver; None while nothing valid is there to deliver.
    pub fn wanted(&self) -> Option<MsiDelivery> {
        self.live.map(|block| MsiDelivery { block, mask: self.mask })
    }

    /// The guest's present message and why it is not live, while MSI is on.
    pub fn refused(&self) -> Option<(GuestMessage, Refusal)> {
        let reason = if self.control.enable() { self.validate().err() } else { None };
        reason.map(|reason| (self.message(), reason))
    }

    /// Offset of Message Control, for the one 16-bit register Xen itself writes.
    pub fn control_register(&self) -> u16 {
        self.position.saturating_add(2)
    }

    /// The guest's present message, unchecked.
    fn message(&self) -> GuestMessage {
        GuestMessage { address: self.address, data: self.data }
    }

    fn validate(&self) -> Result<BoundBlock, Refusal> {
        self.message().validate_block(self.control.multiple_message_enable())
    }

    /// The mask and pending bits of the vectors that the function has.
    fn vectors_mask(&self) -> u32 {
        u32::MAX >> 32u32.saturating_sub(1 << self.control.multiple_message_capable())
    }

    fn register(&self, register: u16) -> Option<Register> {
        use Register::{Address, Data, Header, Mask, Pending, UpperAddress};
        let index = usize::from(register.checked_sub(self.position)? / DWORD);
        let registers: &[Register] =
            match (self.control.address_64(), self.control.per_vector_masking()) {
                (false, false) => &[Header, Address, Data],
                (false, true) => &[Header, Address, Data, Mask, Pending],
                (true, false) => &[Header, Address, UpperAddress, Data],
                (true, true) => &[Header, Address, UpperAddress, Data, Mask, Pending],
            };
        registers.get(index).copied()
    }

    fn header(&self) -> u32 {
        (self.header & 0xffff) | u32::from(self.control.0) << 16
    }

    fn write_control(&mut self, value: MsiControl, permission: Permission) {
        let granted = value.multiple_message_enable().min(self.control.multiple_message_capable());
        self.control.set_multiple_message_enable(granted);
        self.control.set_enable(permission.allows(value.enable()));
    }

    /// Takes the present message if it is valid; forgets the last one once MSI is off.
    fn settle(&mut self) {
        if !self.control.enable() {
            self.live = None;
        } else if let Ok(block) = self.validate() {
            self.live = Some(block);
        }
    }
}

impl Capability for Msi {
    fn owns(&self, register: u16) -> bool {
        self.register(register).is_some()
    }

    fn read(&self, register: u16) -> Reading {
        match self.register(register) {
            Some(Register::Header) => Reading::Header(self.header()),
            Some(Register::Address) => Reading::Value(self.address as u32),
            Some(Register::UpperAddress) => Reading::Value((self.address >> 32) as u32),
            Some(Register::Data) => Reading::Value(self.data),
            Some(Register::Mask) => Reading::Value(self.mask),
            Some(Register::Pending) => Reading::Hardware(self.vectors_mask()),
            None => Reading::Value(0),
        }
    }

    fn write(&mut self, register: u16, enables: ByteEnables, value: u32, permission: Permission) {
        let low = self.address as u32;
        let high = (self.address >> 32) as u32;
        let join = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
        match self.register(register) {
            Some(Register::Header) => {
                let written = enables.merge(self.header(), value);
                self.write_control(MsiControl((written >> 16) as u16), permission);
            }
            Some(Register::Address) => {
                self.address = join(high, enables.merge(low, value) & ADDRESS_WRITABLE)
            }
            Some(Register::UpperAddress) => self.address = join(enables.merge(high, value), low),
            Some(Register::Data) => self.data = enables.merge(self.data, value) & DATA_WRITABLE,
            Some(Register::Mask) => {
                self.mask = enables.merge(self.mask, value) & self.vectors_mask()
            }
            Some(Register::Pending) | None => {}
        }
        self.settle();
    }

    fn enabled(&self) -> bool {
        self.control.enable()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: u16 = 0x40;
    const GOOD: u32 = 0xfee0_1000;

    /// A capability with eight vectors in hardware, 64-bit addresses and mask bits as asked.
    fn capability(address_64: bool, masking: bool) -> Msi {
        let control = 0x6 | u32::from(address_64) << 7 | u32::from(masking) << 8;
        Msi::new(AT, control << 16 | 0x7005, 32)
    }

    fn write(msi: &mut Msi, offset: u16, value: u32) {
        msi.write(AT.saturating_add(offset), ByteEnables::ALL, value, Permission::Granted);
    }

    fn enable(msi: &mut Msi, on: bool) {
        write(msi, 0, u32::from(on) << 16);
    }

    /// The vectors delivered.
    fn vectors(msi: &Msi) -> Vec<u8> {
        msi.wanted().map_or(Vec::new(), |wanted| {
            wanted.block.messages().map(|message| message.vector()).collect()
        })
    }

    fn refusal(msi: &Msi) -> Option<Refusal> {
        msi.refused().map(|(_, reason)| reason)
    }

    #[test]
    fn layouts() {
        for (address_64, masking, length) in
            [(false, false, 12), (false, true, 20), (true, false, 16), (true, true, 24)]
        {
            let msi = capability(address_64, masking);
            let owned = (0u16..0x100).step_by(4).filter(|register| msi.owns(*register));
            assert!(owned.eq((AT..AT.saturating_add(length)).step_by(4)), "{address_64} {masking}");
        }
    }

    #[test]
    fn header_offers_the_vectors_of_the_hardware_and_no_more_rights() {
        let mut msi = capability(true, true);
        assert_eq!(msi.read(AT), Reading::Header(0x0186_7005));
        write(&mut msi, 0, 0xffff_ffff);
        assert_eq!(msi.read(AT), Reading::Header(0x01b7_7005));
        assert_eq!(msi.control_register(), 0x42);
    }

    #[test]
    fn never_more_vectors_than_the_specification_has() {
        for (capable, offered) in [(0, 0), (4, 4), (5, 5), (6, 5), (7, 5)] {
            let msi = Msi::new(AT, capable << 17, 32);
            assert_eq!(msi.read(AT), Reading::Header(offered << 17), "{capable}");
        }
    }

    #[test]
    fn never_more_vectors_than_xen_can_map() {
        for (mappable, offered) in [(0, 0), (1, 0), (2, 1), (7, 2), (8, 3), (32, 4), (255, 4)] {
            let msi = Msi::new(AT, 4 << 17, mappable);
            assert_eq!(msi.read(AT), Reading::Header(offered << 17), "{mappable}");
        }
    }

    #[test]
    fn extended_message_data_is_not_offered() {
        let mut msi = Msi::new(AT, 0x0600_0000 | 0x0080_0000, 32);
        write(&mut msi, 0, 0xffff_ffff);
        assert_eq!(msi.read(AT), Reading::Header(0x0081_0000));
        write(&mut msi, 12, 0xffff_ffff);
        assert_eq!(msi.read(0x4c), Reading::Value(0xffff));
    }

    #[test]
    fn as_many_vectors_as_granted_and_never_more_than_there_are() {
        let mut msi = capability(true, false);
        write(&mut msi, 4, GOOD);
        write(&mut msi, 12, 0x55);
        for (granted, expected) in [
            (0, 0x55..=0x55),
            (1, 0x54..=0x55),
            (2, 0x54..=0x57),
            (3, 0x50..=0x57),
            (4, 0x50..=0x57),
            (7, 0x50..=0x57),
        ] {
            write(&mut msi, 0, granted << 20 | 0x1_0000);
            assert_eq!(vectors(&msi), expected.collect::<Vec<u8>>(), "granted {granted}");
        }
    }

    #[test]
    fn the_second_capability_does_not_take() {
        let mut msi = capability(true, false);
        msi.write(AT, ByteEnables::ALL, 0x11_0000, Permission::Denied);
        assert_eq!(msi.read(AT), Reading::Header(0x0096_7005));
        assert!(!msi.enabled());
    }

    #[test]
    fn reads_back_what_can_be_written() {
        let mut msi = capability(true, true);
        for offset in [4, 8, 12, 16, 20] {
            write(&mut msi, offset, 0xffff_ffff);
        }
        let read: Vec<_> =
            [0x44, 0x48, 0x4c, 0x50, 0x54].map(|register| msi.read(register)).to_vec();
        let values = [0xffff_fffc, 0xffff_ffff, 0xffff, 0xff].map(Reading::Value);
        assert_eq!(read, [&values[..], &[Reading::Hardware(0xff)]].concat());
    }

    #[test]
    fn a_partial_write_keeps_the_rest() {
        let mut msi = capability(true, false);
        write(&mut msi, 4, GOOD);
        let Some(access) = crate::core::access::ConfigAccess::at(0x45, 1) else { return };
        msi.write(access.register, access.enables, access.to_dword(0x20), Permission::Granted);
        assert_eq!(msi.read(0x44), Reading::Value(0xfee0_2000));
    }

    #[test]
    fn nothing_is_wanted_before_a_valid_message_and_enable() {
        let mut msi = capability(true, false);
        enable(&mut msi, true);
        assert_eq!(vectors(&msi), []);
        assert_eq!(refusal(&msi), Some(Refusal::Window));
        enable(&mut msi, false);
        assert_eq!(refusal(&msi), None);
        write(&mut msi, 4, GOOD);
        write(&mut msi, 12, 0x51);
        assert_eq!(vectors(&msi), []);
        enable(&mut msi, true);
        assert_eq!(vectors(&msi), [0x51]);
        assert!(msi.enabled());
    }

    #[test]
    fn the_last_valid_message_stays_live() {
        let mut msi = capability(true, false);
        write(&mut msi, 4, GOOD);
        write(&mut msi, 12, 0x51);
        enable(&mut msi, true);
        write(&mut msi, 12, 0x02);
        assert_eq!((vectors(&msi), refusal(&msi)), (vec![0x51], Some(Refusal::Vector)));
        write(&mut msi, 8, 1);
        write(&mut msi, 12, 0x52);
        assert_eq!((vectors(&msi), refusal(&msi)), (vec![0x51], Some(Refusal::UpperAddress)));
        write(&mut msi, 8, 0);
        assert_eq!((vectors(&msi), refusal(&msi)), (vec![0x52], None));
    }

    #[test]
    fn disabling_forgets_it() {
        let mut msi = capability(false, false);
        write(&mut msi, 4, GOOD);
        write(&mut msi, 8, 0x51);
        enable(&mut msi, true);
        write(&mut msi, 8, 0x02);
        enable(&mut msi, false);
        enable(&mut msi, true);
        assert_eq!(vectors(&msi), []);
    }

    #[test]
    fn the_mask_follows() {
        let mut msi = capability(false, true);
        write(&mut msi, 4, GOOD);
        write(&mut msi, 8, 0x51);
        enable(&mut msi, true);
        for (written, mask) in [(0, 0), (1, 1), (0xffff_fffe, 0xfe), (0x80, 0x80)] {
            write(&mut msi, 12, written);
            assert_eq!(msi.wanted().map(|wanted| wanted.mask), Some(mask));
        }
    }

    #[test]
    fn pending_bits_cannot_be_written() {
        let mut msi = capability(true, true);
        write(&mut msi, 20, 0xffff_ffff);
        assert_eq!(msi.read(0x54), Reading::Hardware(0xff));
        assert_eq!(msi.read(0x50), Reading::Value(0));
    }
}
