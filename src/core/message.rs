// SPDX-License-Identifier: GPL-2.0-only
//! What a guest claims an interrupt message to be, and what is left of the claim once checked.
//!
//! A [`GuestMessage`] is an allegation. Only [`GuestMessage::validate`] makes of it a
//! [`BoundMessage`], and only that can be bound. Neither ever reaches the device: Xen composes
//! the message the device sends, these say what the guest gets when it arrives.

use crate::core::spec::{self, MessageAddress, MessageData};

/// An address and data pair as the guest wrote them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestMessage {
    /// Message address, all 64 bits; the upper half is zero for a 32-bit capability.
    pub address: u64,
    /// Message data; the upper half is zero for MSI without extended data.
    pub data: u32,
}

/// How the message picks its processor (Intel SDM 11.11.2); the two modes a device may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum DeliveryMode {
    /// To every processor of the destination.
    Fixed = 0,
    /// To the one of lowest priority in the destination.
    LowestPriority = 1,
}

/// A message that passed every check. The trigger mode is always edge: a level-triggered
/// message is accepted as edge, because no device sends the de-assert half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoundMessage {
    vector: u8,
    destination: u8,
    destination_logical: bool,
    redirection_hint: bool,
    delivery_mode: DeliveryMode,
}

/// Why a guest's message is not bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Refusal {
    /// Address bits 63:32 are not zero: a memory write, not an interrupt.
    UpperAddress,
    /// Address bits 31:20 are not 0xFEE: a memory write, not an interrupt.
    Window,
    /// Address bit 4 asks for the remappable format, which belongs to the host.
    RemappableFormat,
    /// Address bits 11:5 carry an extended destination, which is not offered.
    ExtendedDestination,
    /// The redirection hint with a physical destination that means all processors.
    RedirectedBroadcast,
    /// SMI, NMI, INIT, SIPI, ExtINT or a reserved delivery mode.
    DeliveryMode,
    /// A vector below 0x10 or above 0xFE.
    Vector,
    /// Data bits 31:16 are not zero.
    UpperData,
}

impl GuestMessage {
    /// Checks every field; the first that fails is the reason.
    pub fn validate(self) -> Result<BoundMessage, Refusal> {
        let address = MessageAddress(self.address);
        let data = MessageData(self.data);
        check_address(address)?;
        Ok(BoundMessage {
            vector: check_vector(data)?,
            destination: address.destination(),
            destination_logical: address.destination_logical(),
            redirection_hint: address.redirection_hint(),
            delivery_mode: check_delivery_mode(data)?,
        })
    }
}

fn check_address(address: MessageAddress) -> Result<(), Refusal> {
    let broadcast = !address.destination_logical() && address.destination() == spec::DESTINATION_BROADCAST;
    let refused = [
        (address.upper() != 0, Refusal::UpperAddress),
        (address.window() != spec::INTERRUPT_WINDOW, Refusal::Window),
        (address.remappable(), Refusal::RemappableFormat),
        (address.extended_destination() != 0, Refusal::ExtendedDestination),
        (address.redirection_hint() && broadcast, Refusal::RedirectedBroadcast),
    ];
    match refused.into_iter().find(|(failed, _)| *failed) {
        Some((_, reason)) => Err(reason),
        None => Ok(()),
    }
}

fn check_vector(data: MessageData) -> Result<u8, Refusal> {
    if data.upper() != 0 {
        return Err(Refusal::UpperData);
    }
    match data.vector() {
        vector @ spec::VECTOR_FIRST..=spec::VECTOR_LAST => Ok(vector),
        _ => Err(Refusal::Vector),
    }
}

fn check_delivery_mode(data: MessageData) -> Result<DeliveryMode, Refusal> {
    match data.delivery_mode() {
        0 => Ok(DeliveryMode::Fixed),
        1 => Ok(DeliveryMode::LowestPriority),
        _ => Err(Refusal::DeliveryMode),
    }
}

impl BoundMessage {
    /// The guest vector to raise, 0x10 to 0xFE.
    pub fn vector(&self) -> u8 {
        self.vector
    }

    /// The destination APIC ID, or logical destination.
    pub fn destination(&self) -> u8 {
        self.destination
    }

    /// Whether the destination is logical.
    pub fn destination_logical(&self) -> bool {
        self.destination_logical
    }

    /// Whether the message asks for redirection to one processor of its destination.
    pub fn redirection_hint(&self) -> bool {
        self.redirection_hint
    }

    /// Fixed or lowest priority.
    pub fn delivery_mode(&self) -> DeliveryMode {
        self.delivery_mode
    }
}

impl Refusal {
    /// How many reasons there are.
    pub const COUNT: usize = Self::UpperData as usize + 1;

    /// The part of the message that was refused, for the log: the address or the data.
    pub fn field(self, message: GuestMessage) -> u64 {
        match self {
            Self::DeliveryMode | Self::Vector | Self::UpperData => u64::from(message.data),
            _ => message.address,
        }
    }

    /// The reason in words, for the log.
    pub fn text(self) -> &'static ::core::ffi::CStr {
        match self {
            Self::UpperAddress => c"message refused: address bits 63:32",
            Self::Window => c"message refused: address outside the interrupt window",
            Self::RemappableFormat => c"message refused: remappable format",
            Self::ExtendedDestination => c"message refused: address bits 11:5",
            Self::RedirectedBroadcast => c"message refused: redirection hint to all processors",
            Self::DeliveryMode => c"message refused: delivery mode",
            Self::Vector => c"message refused: vector",
            Self::UpperData => c"message refused: data bits 31:16",
        }
    }
}
