// SPDX-License-Identifier: GPL-2.0-only
//! Constants and register layouts of the specifications, and nothing else.
//!
//! PCI: PCI Express Base Specification 6.0, sections 7.5 (configuration space) and 7.7
//! (message signalled interrupts). Messages: Intel SDM volume 3, section 11.11, and AMD APM
//! volume 2, section 16.10.

use bitfield::bitfield;

/// Width of one configuration register, in bytes: the unit in which registers are owned.
pub const DWORD: u16 = 4;

/// Vendor and device ID (section 7.5.1.1.1): all ones where no function answers.
pub const IDENTITY: u16 = 0x00;
/// What a register reads as when nothing answers, in 16 bits (section 2.3.2).
pub const NO_ANSWER: u16 = 0xffff;
/// The dword that holds the header type, in bits 23:16 (section 7.5.1.1.9).
pub const HEADER: u16 = 0x0c;
/// The Command register, bits 15:0 of the dword at this offset (section 7.5.1.1.3).
pub const COMMAND: u16 = 0x04;
/// The first base address register (section 7.5.1.2.1).
pub const BAR_FIRST: u16 = 0x10;
/// Base address registers of a type 0 header.
pub const BAR_COUNT: usize = 6;
/// Bits of a memory base address register that are not address.
pub const BAR_MEMORY_FLAGS: u32 = 0xf;

/// The first offset at which a capability may stand (section 7.5.3).
pub const CAPABILITY_FIRST: u16 = 0x40;
/// The last offset of a capability reachable by the I/O ports, plus one.
pub const CAPABILITY_END: u16 = 0x100;

bitfield! {
    /// Command register (section 7.5.1.1.3).
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub struct Command(pub u16);
    impl Debug;
    /// Memory space enable: the function answers at its base addresses.
    pub memory_space, set_memory_space: 1;
    /// Bus master enable: the function may access memory, and send messages.
    pub bus_master, set_bus_master: 2;
    /// Interrupt disable: the function may not assert INTx.
    pub intx_disable, set_intx_disable: 10;
}

bitfield! {
    /// Message Control of the MSI capability (section 7.7.1.2).
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub struct MsiControl(pub u16);
    impl Debug;
    /// MSI enable.
    pub enable, set_enable: 0;
    /// Multiple message capable: log2 of the vectors the function has.
    pub u8, multiple_message_capable, set_multiple_message_capable: 3, 1;
    /// Multiple message enable: log2 of the vectors software granted.
    pub u8, multiple_message_enable, set_multiple_message_enable: 6, 4;
    /// The function has an upper address register.
    pub address_64, set_address_64: 7;
    /// The function has mask and pending registers.
    pub per_vector_masking, set_per_vector_masking: 8;
}

/// Capability IDs (section 7.5.3, and the PCI Code and ID Assignment Specification).
pub const CAPABILITY_MSI: u8 = 0x05;
/// The same of MSI-X.
pub const CAPABILITY_MSIX: u8 = 0x11;

/// Power Management Control/Status, from the capability's start (section 7.5.2.2): the power state
/// in bits 1:0.
pub const POWER_CONTROL: u16 = 4;
/// Device Control of the PCI Express capability, from its start (section 7.5.3.4): Initiate
/// Function Level Reset in bit 15.
pub const EXPRESS_CONTROL: u16 = 8;
/// The dword with AF Control, from the start of the Advanced Features capability (Advanced
/// Capabilities for Conventional PCI ECN): Initiate FLR in bit 0.
pub const FEATURES_CONTROL: u16 = 4;
/// How long a function may take to return from D3hot, in nanoseconds (section 5.9).
pub const WAKE_TIME: u64 = 10_000_000;
/// How long a function may take after a function level reset, in nanoseconds (section 6.6.2).
pub const RESET_TIME: u64 = 100_000_000;

/// The most vectors a function's MSI may have, as log2 (section 7.7.1.2: 110b and 111b are
/// reserved).
pub const MSI_VECTORS_LOG2_MAX: u8 = 5;

bitfield! {
    /// Message Control of the MSI-X capability (section 7.7.2.2).
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub struct MsixControl(pub u16);
    impl Debug;
    /// Vectors in the table, less one.
    pub u16, table_size, set_table_size: 10, 0;
    /// Function mask: all vectors are masked.
    pub function_mask, set_function_mask: 14;
    /// MSI-X enable.
    pub enable, set_enable: 15;
}

/// Where the MSI-X table begins, from the capability's start (section 7.7.2.3).
pub const MSIX_TABLE: u16 = 4;
/// Where the pending bit array begins, from the capability's start (section 7.7.2.4).
pub const MSIX_PENDING: u16 = 8;
/// Length of the MSI-X capability, in bytes.
pub const MSIX_LENGTH: u16 = 12;
/// Length of one entry of the MSI-X table, in bytes (section 7.7.2.5).
pub const MSIX_ENTRY: u32 = 16;
/// Offset of Vector Control in an entry (section 7.7.2.9).
pub const MSIX_VECTOR_CONTROL: u32 = 12;
/// Vector Control's mask bit.
pub const MSIX_VECTOR_MASKED: u32 = 1;

bitfield! {
    /// Table Offset or PBA Offset of the MSI-X capability (sections 7.7.2.3 and 7.7.2.4).
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub struct MsixPlace(pub u32);
    impl Debug;
    /// Which base address register: the BAR indicator.
    pub u8, bar, _: 2, 0;
    /// Offset in units of eight bytes.
    pub u32, qwords, _: 31, 3;
}

bitfield! {
    /// Message address as x86 defines it (Intel SDM 11.11.1, APM 16.10.1).
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub struct MessageAddress(pub u64);
    impl Debug;
    /// Destination mode: logical when set.
    pub destination_logical, _: 2;
    /// Redirection hint.
    pub redirection_hint, _: 3;
    /// Interrupt format: remappable when set (Intel VT-d 5.1.2.2).
    pub remappable, _: 4;
    /// Bits 11:5, extended destination ID where that is offered; nobody offers it here.
    pub u8, extended_destination, _: 11, 5;
    /// Destination APIC ID.
    pub u8, destination, _: 19, 12;
    /// Bits 31:20, the interrupt window.
    pub u16, window, _: 31, 20;
    /// Bits 63:32.
    pub u32, upper, _: 63, 32;
}

/// What [`MessageAddress::window`] must hold for the write to be an interrupt.
pub const INTERRUPT_WINDOW: u16 = 0xfee;
/// The destination that means every processor in physical mode.
pub const DESTINATION_BROADCAST: u8 = 0xff;

bitfield! {
    /// Message data as x86 defines it (Intel SDM 11.11.2, APM 16.10.2).
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub struct MessageData(pub u32);
    impl Debug;
    /// Interrupt vector.
    pub u8, vector, _: 7, 0;
    /// Delivery mode.
    pub u8, delivery_mode, _: 10, 8;
    /// Bits 31:16, reserved.
    pub u16, upper, _: 31, 16;
}

/// The reserved delivery mode by which a guest's PV drivers mark a message that is none.
pub const DELIVERY_EVENT_CHANNEL: u8 = 3;

/// Vectors below this one are the processor's own (Intel SDM 11.5.2: illegal for messages).
pub const VECTOR_FIRST: u8 = 0x10;
/// The last vector a message may carry; 0xFF is the spurious vector by custom of all systems.
pub const VECTOR_LAST: u8 = 0xfe;
