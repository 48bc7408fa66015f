// SPDX-License-Identifier: GPL-2.0-only
//! The MSI capability (PCI Express Base Specification 6.0, section 7.7.1) as the guest sees it.
//!
//! The guest reads back what it wrote. What the hardware should do follows from that through
//! [`Msi::wanted`]: a message that does not validate is latched and changes nothing, so a guest
//! that rewrites address and data one register at a time keeps its last valid message meanwhile.

use crate::core::access::ByteEnables;
use crate::core::capability::{Capability, Reading};
use crate::core::message::{BoundMessage, GuestMessage, Refusal};
use crate::core::spec::{MsiControl, DWORD};

/// log2 of the vectors offered to the guest: one vector, as the device model offers.
const OFFERED_LOG2: u8 = 0;
/// The mask bits of the vectors offered.
const OFFERED_MASK: u32 = u32::MAX >> (32 - (1 << OFFERED_LOG2));
/// Address bits 1:0 are reserved and read as zero.
const ADDRESS_WRITABLE: u32 = !0b11;
/// Data bits 31:16 are reserved without extended message data.
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
    /// The last message that validated since MSI was enabled.
    live: Option<BoundMessage>,
}

/// What the hardware should deliver while MSI is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsiDelivery {
    /// What the guest gets when the device raises its message.
    pub message: BoundMessage,
    /// Whether the guest masks the vector.
    pub masked: bool,
}

impl Msi {
    /// The capability at `position` whose first dword in hardware is `header`, disabled.
    pub fn new(position: u16, header: u32) -> Self {
        let hardware = MsiControl((header >> 16) as u16);
        let mut control = MsiControl(0);
        control.set_address_64(hardware.address_64());
        control.set_per_vector_masking(hardware.per_vector_masking());
        control.set_multiple_message_capable(OFFERED_LOG2);
        Self { position, header, control, address: 0, data: 0, mask: 0, live: None }
    }

    /// What the hardware should deliver; None while nothing valid is there to deliver.
    pub fn wanted(&self) -> Option<MsiDelivery> {
        let masked = self.mask & OFFERED_MASK != 0;
        self.live.map(|message| MsiDelivery { message, masked })
    }

    /// Why the guest's present message is not live, while MSI is on.
    pub fn refusal(&self) -> Option<Refusal> {
        if self.control.enable() {
            self.message().validate().err()
        } else {
            None
        }
    }

    /// The guest's present message, unchecked.
    pub fn message(&self) -> GuestMessage {
        GuestMessage { address: self.address, data: self.data }
    }

    /// Offset of Message Control, for the one 16-bit register Xen itself writes.
    pub fn control_register(&self) -> u16 {
        self.position.saturating_add(2)
    }

    fn register(&self, register: u16) -> Option<Register> {
        use Register::{Address, Data, Header, Mask, Pending, UpperAddress};
        let index = usize::from(register.checked_sub(self.position)? / DWORD);
        let registers: &[Register] = match (self.control.address_64(), self.control.per_vector_masking()) {
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

    fn write_control(&mut self, value: MsiControl) {
        let granted = value.multiple_message_enable().min(self.control.multiple_message_capable());
        self.control.set_multiple_message_enable(granted);
        self.control.set_enable(value.enable());
    }

    /// Takes the present message if it is valid; forgets the last one once MSI is off.
    fn settle(&mut self) {
        if !self.control.enable() {
            self.live = None;
        } else if let Ok(message) = self.message().validate() {
            self.live = Some(message);
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
            Some(Register::Pending) => Reading::Hardware(OFFERED_MASK),
            None => Reading::Value(0),
        }
    }

    fn write(&mut self, register: u16, enables: ByteEnables, value: u32) {
        let low = self.address as u32;
        let high = (self.address >> 32) as u32;
        let join = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
        match self.register(register) {
            Some(Register::Header) => {
                let written = enables.merge(self.header(), value);
                self.write_control(MsiControl((written >> 16) as u16));
            }
            Some(Register::Address) => self.address = join(high, enables.merge(low, value) & ADDRESS_WRITABLE),
            Some(Register::UpperAddress) => self.address = join(enables.merge(high, value), low),
            Some(Register::Data) => self.data = enables.merge(self.data, value) & DATA_WRITABLE,
            Some(Register::Mask) => self.mask = enables.merge(self.mask, value) & OFFERED_MASK,
            Some(Register::Pending) | None => {}
        }
        self.settle();
    }

    fn enabled(&self) -> bool {
        self.control.enable()
    }
}
