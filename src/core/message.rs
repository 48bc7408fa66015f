// SPDX-License-Identifier: GPL-2.0-only
//! What a guest claims an interrupt message to be, and what is left of the claim once checked.
//!
//! A [`GuestMessage`] is an allegation. Only [`GuestMessage::validate`] makes of it a
//! [`BoundMessage`], and only that can be bound. Neither ever reaches the device: Xen composes
//! the message the device sends, these say what the guest gets when it arrives.

use core::num::NonZeroU8;

use bitfield::bitfield;
use static_assertions::const_assert_eq;

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

bitfield! {
    /// How a checked message is delivered, packed because a table holds thousands.
    #[derive(Clone, Copy, PartialEq, Eq)]
    struct Delivery(u8);
    impl Debug;
    destination_logical, set_destination_logical: 0;
    redirection_hint, set_redirection_hint: 1;
    lowest_priority, set_lowest_priority: 2;
}

/// A message that passed every check. The trigger mode is always edge: a level-triggered
/// message is accepted as edge, because no device sends the de-assert half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoundMessage {
    vector: NonZeroU8,
    destination: u8,
    delivery: Delivery,
}

// A table entry has four bytes for its message and its state.
const_assert_eq!(size_of::<Option<BoundMessage>>(), 3);

/// Messages of a function with several MSI vectors that all passed every check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoundBlock {
    first: BoundMessage,
    vectors_log2: u8,
}

/// Why a guest's message is not bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Refusal {
    /// The form in which Xen's own drivers ask for an event channel of a PIRQ (`hvm_pirq`).
    EventChannel,
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
        check_form(data)?;
        check_address(address)?;
        let vector = check_vector(data)?;
        let mut delivery = Delivery(0);
        delivery.set_destination_logical(address.destination_logical());
        delivery.set_redirection_hint(address.redirection_hint());
        delivery.set_lowest_priority(check_delivery_mode(data)? == DeliveryMode::LowestPriority);
        Ok(BoundMessage { vector, destination: address.destination(), delivery })
    }

    /// Checks the messages of `1 << vectors_log2` vectors (32 at most), which differ from this
    /// one in the low bits of the data: those are the device's (PCI Express Base Specification
    /// 6.0, section 7.7.1.4). One that fails makes all fail.
    pub fn validate_block(self, vectors_log2: u8) -> Result<BoundBlock, Refusal> {
        let low = (1u32 << vectors_log2.min(spec::MSI_VECTORS_LOG2_MAX)).saturating_sub(1);
        let first = Self { data: self.data & !low, ..self }.validate()?;
        Self { data: self.data | low, ..self }.validate()?;
        Ok(BoundBlock { first, vectors_log2 })
    }
}

impl BoundBlock {
    /// How many vectors, as log2.
    pub fn vectors_log2(&self) -> u8 {
        self.vectors_log2
    }

    /// How many vectors: 1 to 32.
    pub fn vectors(&self) -> u8 {
        1 << self.vectors_log2.min(spec::MSI_VECTORS_LOG2_MAX)
    }

    /// The message of each vector, in order.
    pub fn messages(self) -> impl Iterator<Item = BoundMessage> {
        (0..self.vectors())
            .map(move |nth| BoundMessage { vector: self.first.vector | nth, ..self.first })
    }
}

/// A guest that uses `hvm_pirq` marks its messages with vector 0 and delivery mode 3, and has the
/// PIRQ in place of the destination (Linux, `arch/x86/pci/xen.c`).
fn check_form(data: MessageData) -> Result<(), Refusal> {
    let event_channel = data.vector() == 0 && data.delivery_mode() == spec::DELIVERY_EVENT_CHANNEL;
    if event_channel {
        Err(Refusal::EventChannel)
    } else {
        Ok(())
    }
}

fn check_address(address: MessageAddress) -> Result<(), Refusal> {
    let broadcast =
        !address.destination_logical() && address.destination() == spec::DESTINATION_BROADCAST;
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

fn check_vector(data: MessageData) -> Result<NonZeroU8, Refusal> {
    if data.upper() != 0 {
        return Err(Refusal::UpperData);
    }
    let legal = (spec::VECTOR_FIRST..=spec::VECTOR_LAST).contains(&data.vector());
    NonZeroU8::new(data.vector()).filter(|_| legal).ok_or(Refusal::Vector)
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
        self.vector.get()
    }

    /// The destination APIC ID, or logical destination.
    pub fn destination(&self) -> u8 {
        self.destination
    }

    /// Whether the destination is logical.
    pub fn destination_logical(&self) -> bool {
        self.delivery.destination_logical()
    }

    /// Whether the message asks for redirection to one processor of its destination.
    pub fn redirection_hint(&self) -> bool {
        self.delivery.redirection_hint()
    }

    /// Fixed or lowest priority.
    pub fn delivery_mode(&self) -> DeliveryMode {
        if self.delivery.lowest_priority() {
            DeliveryMode::LowestPriority
        } else {
            DeliveryMode::Fixed
        }
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
            Self::EventChannel => {
                c"message refused: asks for an event channel, which needs hvm_pirq=0"
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: u64 = 0xfee0_2000;
    const DATA: u32 = 0x51;

    fn validate(address: u64, data: u32) -> Result<BoundMessage, Refusal> {
        GuestMessage { address, data }.validate()
    }

    #[test]
    fn good_message_keeps_its_fields() {
        let message = validate(ADDRESS, DATA);
        let fields = |m: BoundMessage| {
            (m.vector(), m.destination(), m.destination_logical(), m.redirection_hint())
        };
        assert_eq!(message.map(fields), Ok((0x51, 2, false, false)));
        assert_eq!(message.map(|m| m.delivery_mode()), Ok(DeliveryMode::Fixed));
        let logical = validate(0xfee0_300c, 0x1fe);
        assert_eq!(logical.map(fields), Ok((0xfe, 3, true, true)));
        assert_eq!(logical.map(|m| m.delivery_mode()), Ok(DeliveryMode::LowestPriority));
    }

    #[test]
    fn each_address_bit_is_judged_alone() {
        let expected = |bit: u32| match bit {
            32..=63 => Some(Refusal::UpperAddress),
            20..=31 => Some(Refusal::Window),
            4 => Some(Refusal::RemappableFormat),
            5..=11 => Some(Refusal::ExtendedDestination),
            _ => None,
        };
        for bit in 0..64 {
            assert_eq!(validate(ADDRESS ^ 1 << bit, DATA).err(), expected(bit), "bit {bit}");
        }
    }

    #[test]
    fn each_upper_data_bit_is_refused() {
        for bit in 16..32 {
            assert_eq!(
                validate(ADDRESS, DATA | 1 << bit).err(),
                Some(Refusal::UpperData),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn every_vector() {
        for vector in 0..=0xff {
            let refused = !(0x10..=0xfe).contains(&vector);
            assert_eq!(
                validate(ADDRESS, vector).err(),
                refused.then_some(Refusal::Vector),
                "vector {vector:#x}"
            );
        }
    }

    #[test]
    fn every_delivery_mode() {
        for mode in 0..8 {
            let refused = (mode > 1).then_some(Refusal::DeliveryMode);
            assert_eq!(validate(ADDRESS, DATA | mode << 8).err(), refused, "mode {mode}");
        }
    }

    #[test]
    fn a_message_that_asks_for_an_event_channel_is_named() {
        assert_eq!(validate(0xfee3_7000, 0x4300).err(), Some(Refusal::EventChannel));
        assert_eq!(validate(0x100_fee3_7000, 0x4300).err(), Some(Refusal::EventChannel));
        assert_eq!(validate(ADDRESS, 0x4301).err(), Some(Refusal::Vector));
        assert_eq!(validate(ADDRESS, 0x4200).err(), Some(Refusal::Vector));
    }

    #[test]
    fn trigger_and_level_do_not_matter() {
        for bits in [0, 1 << 14, 1 << 15, 3 << 14] {
            assert_eq!(validate(ADDRESS, DATA | bits), validate(ADDRESS, DATA));
        }
    }

    #[test]
    fn hint_to_all_processors_needs_logical_mode() {
        assert_eq!(validate(0xfeef_f008, DATA).err(), Some(Refusal::RedirectedBroadcast));
        assert_eq!(validate(0xfeef_f000, DATA).err(), None);
        assert_eq!(validate(0xfeef_f00c, DATA).err(), None);
        assert_eq!(validate(0xfeef_e008, DATA).err(), None);
    }

    #[test]
    fn a_block_differs_in_the_low_bits_of_the_vector() {
        for (log2, first, last) in [
            (0, 0x5f, 0x5f),
            (1, 0x5e, 0x5f),
            (2, 0x5c, 0x5f),
            (3, 0x58, 0x5f),
            (4, 0x50, 0x5f),
            (5, 0x40, 0x5f),
        ] {
            let block = GuestMessage { address: ADDRESS, data: 0x15f }.validate_block(log2);
            let vectors = block
                .map(|block| block.messages().map(|message| message.vector()).collect::<Vec<u8>>());
            assert_eq!(vectors, Ok((first..=last).collect()));
            let modes = block.map(|block| {
                block.messages().all(|m| m.delivery_mode() == DeliveryMode::LowestPriority)
            });
            assert_eq!(modes, Ok(true));
            assert_eq!(block.map(|block| block.vectors_log2()), Ok(log2));
        }
    }

    #[test]
    fn one_bad_vector_refuses_the_block() {
        let block = |data, log2| GuestMessage { address: ADDRESS, data }.validate_block(log2).err();
        assert_eq!(block(0x1f, 4), None);
        assert_eq!(block(0x1f, 5), Some(Refusal::Vector));
        assert_eq!(block(0xe0, 4), None);
        assert_eq!(block(0xe0, 5), Some(Refusal::Vector));
        assert_eq!(block(0xfe, 0), None);
        assert_eq!(block(0xfe, 1), Some(Refusal::Vector));
    }

    #[test]
    fn refusals_name_their_own_part() {
        let message = GuestMessage { address: 1, data: 2 };
        assert_eq!(Refusal::Window.field(message), 1);
        assert_eq!(Refusal::UpperAddress.field(message), 1);
        assert_eq!(Refusal::Vector.field(message), 2);
        assert_eq!(Refusal::UpperData.field(message), 2);
        assert_eq!(Refusal::DeliveryMode.field(message), 2);
    }
}
