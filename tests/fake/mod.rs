// SPDX-License-Identifier: GPL-2.0-only
//! A device that checks the invariants of `docs/threat-model.md` at every step, and a model of
//! the guest's view written from the specification, byte by byte, without a look at `src/`.

use std::collections::BTreeMap;
use std::ffi::CStr;

use msitrap::core::address::Sbdf;
use msitrap::core::learn::HostBar;
use msitrap::core::message::{BoundMessage, DeliveryMode};
use msitrap::host::hardware::{Errno, Hardware, Pirq};
use x86_64::PhysAddr;

/// The device under test, 0000:00:04.0.
pub const DEVICE: Sbdf = Sbdf(0x20);
/// Where its MSI capability stands.
pub const POSITION: u16 = 0x40;
/// Where its BAR 0 lies on the host, and how long it is.
pub const HOST_BAR: u64 = 0xfea0_0000;
pub const BAR_SIZE: u64 = 0x10_0000;

/// Which registers the capability has.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub address_64: bool,
    pub masking: bool,
}

impl Layout {
    pub const EVERY: [Self; 4] = [
        Self { address_64: false, masking: false },
        Self { address_64: false, masking: true },
        Self { address_64: true, masking: false },
        Self { address_64: true, masking: true },
    ];

    /// Message Control after reset; the device has eight vectors, the guest is shown one.
    pub fn control(self, log2_vectors: u16) -> u16 {
        log2_vectors << 1 | u16::from(self.address_64) << 7 | u16::from(self.masking) << 8
    }

    /// Offset of the data register from the capability's start.
    pub fn data(self) -> usize {
        if self.address_64 {
            0xc
        } else {
            0x8
        }
    }

    /// Length of the capability in whole dwords, in bytes.
    pub fn length(self) -> usize {
        self.data() + 4 + if self.masking { 8 } else { 0 }
    }
}

/// What Xen bound for the guest, as plain numbers.
pub type Message = (u8, u8, bool, bool, bool);

/// A bound message as plain numbers: vector, destination, logical, hint, lowest priority.
pub fn plain(message: &BoundMessage) -> Message {
    (
        message.vector(),
        message.destination(),
        message.destination_logical(),
        message.redirection_hint(),
        message.delivery_mode() == DeliveryMode::LowestPriority,
    )
}

/// The hardware and Xen, as far as they matter.
#[derive(Debug)]
pub struct Fake {
    layout: Layout,
    /// The device is the guest's: from here on what it answers must not matter.
    pub assigned: bool,
    /// What the device answers once assigned, changed at every read.
    pub noise: u32,
    pub enabled: bool,
    pub intx_disabled: bool,
    /// Interrupts of Xen's: none but the mapped ones, with what each is bound to.
    pub mapped: BTreeMap<i32, Option<Message>>,
    pub masked: bool,
    /// Calls that fail: how many more succeed before one does.
    pub fail_after: Option<u32>,
    pub failures: u32,
    pub log: Vec<String>,
    next_pirq: i32,
}

impl Fake {
    pub fn new(layout: Layout) -> Self {
        Self {
            layout,
            assigned: false,
            noise: 0x1234_5678,
            // A host driver may have left it on.
            enabled: true,
            intx_disabled: true,
            mapped: BTreeMap::new(),
            masked: false,
            fail_after: None,
            failures: 0,
            log: Vec::new(),
            next_pirq: 55,
        }
    }

    /// The message that reaches the guest when the device raises its interrupt now.
    pub fn live(&self) -> Option<Message> {
        self.mapped.values().next().copied().flatten().filter(|_| self.enabled)
    }

    fn fails(&mut self) -> Result<(), Errno> {
        match self.fail_after {
            Some(0) => {
                self.fail_after = None;
                self.failures += 1;
                Err(Errno(28))
            }
            Some(more) => {
                self.fail_after = Some(more - 1);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Invariants 2 and 3, which hold after every single write.
    fn check(&self) {
        if self.assigned && self.enabled {
            assert!(self.mapped.values().any(Option::is_some), "enabled with nothing bound");
            assert!(self.intx_disabled, "MSI and INTx deliverable at once");
        }
        assert!(self.mapped.len() <= 1, "an interrupt was forgotten: {:?}", self.mapped);
    }
}

impl Hardware for Fake {
    fn read_config(&mut self, device: Sbdf, register: u16) -> u32 {
        assert_eq!(device, DEVICE);
        if self.assigned {
            self.noise = self.noise.rotate_left(7) ^ 0x9e37_79b9;
            return self.noise;
        }
        match register {
            0x04 => u32::from(self.intx_disabled) << 10,
            POSITION => u32::from(self.layout.control(3) | u16::from(self.enabled)) << 16 | 0x7005,
            _ => panic!("reads register {register:#x} at assignment"),
        }
    }

    fn write_config(&mut self, device: Sbdf, register: u16, value: u16) {
        // Invariant 1: address and data are Xen's to write, through `map`; nothing else is written.
        assert_eq!((device, register), (DEVICE, POSITION + 2));
        assert!(value <= 1, "writes {value:#x} to message control");
        self.enabled = value == 1;
        self.check();
    }

    fn msi_position(&mut self, _: Sbdf) -> Option<u16> {
        Some(POSITION)
    }

    fn bars(&mut self, _: Sbdf) -> [Option<HostBar>; 6] {
        assert!(!self.assigned, "sizes base addresses of a device in use");
        let mut bars = [None; 6];
        bars[0] = Some(HostBar { address: PhysAddr::new(HOST_BAR), size: BAR_SIZE, is_64bit: false });
        bars
    }

    fn set_intx_disable(&mut self, _: Sbdf, disable: bool) {
        self.intx_disabled = disable;
        self.check();
    }

    fn map(&mut self, _: Sbdf) -> Result<Pirq, Errno> {
        assert!(!self.enabled, "programs a message while enabled");
        self.fails()?;
        self.next_pirq += 1;
        self.mapped.insert(self.next_pirq, None);
        self.check();
        Ok(Pirq(self.next_pirq))
    }

    fn unmap(&mut self, pirq: Pirq) {
        assert!(!self.enabled, "takes the interrupt from under an enabled device");
        assert_eq!(self.mapped.remove(&pirq.0), Some(None), "unmaps what is bound or was never mapped");
    }

    fn bind(&mut self, pirq: Pirq, message: &BoundMessage) -> Result<(), Errno> {
        self.fails()?;
        let bound = self.mapped.get_mut(&pirq.0).expect("binds an interrupt that is not mapped");
        self.masked |= bound.is_none();
        *bound = Some(plain(message));
        self.check();
        Ok(())
    }

    fn unbind(&mut self, pirq: Pirq) {
        assert!(!self.enabled, "unbinds under an enabled device");
        let bound = self.mapped.get_mut(&pirq.0).expect("unbinds an interrupt that is not mapped");
        assert!(bound.take().is_some(), "unbinds twice");
    }

    fn set_masked(&mut self, pirq: Pirq, masked: bool) {
        assert!(self.mapped[&pirq.0].is_some(), "masks what is not bound");
        self.masked = masked;
    }

    fn log(&mut self, _: Sbdf, text: &'static CStr, _: u64) {
        self.log.push(text.to_string_lossy().into_owned());
    }
}

/// The capability as the specification lets a guest see it: bytes, and which of their bits can
/// be written.
#[derive(Debug)]
pub struct Model {
    layout: Layout,
    bytes: [u8; 0x18],
    writable: [u8; 0x18],
}

impl Model {
    pub fn new(layout: Layout) -> Self {
        let mut bytes = [0; 0x18];
        let mut writable = [0; 0x18];
        bytes[..2].copy_from_slice(&[0x05, 0x70]);
        bytes[2..4].copy_from_slice(&layout.control(0).to_le_bytes());
        writable[2] = 0x01;
        writable[4..8].copy_from_slice(&[0xfc, 0xff, 0xff, 0xff]);
        if layout.address_64 {
            writable[8..12].fill(0xff);
        }
        writable[layout.data()..layout.data() + 2].fill(0xff);
        if layout.masking {
            writable[layout.data() + 4] = 0x01;
        }
        Self { layout, bytes, writable }
    }

    /// Whether the byte at `offset` of configuration space is the capability's.
    pub fn owns(&self, offset: i32) -> bool {
        (i32::from(POSITION)..i32::from(POSITION) + self.layout.length() as i32).contains(&offset)
    }

    pub fn write(&mut self, offset: i32, value: u8) {
        if self.owns(offset) {
            let at = (offset - i32::from(POSITION)) as usize;
            self.bytes[at] = self.bytes[at] & !self.writable[at] | value & self.writable[at];
        }
    }

    /// The byte at `offset`; None for the pending bits, which are the hardware's to say.
    pub fn read(&self, offset: i32) -> Option<u8> {
        let at = (offset - i32::from(POSITION)) as usize;
        (!self.layout.masking || at < self.layout.data() + 8).then(|| self.bytes[at])
    }

    /// Offset of the data register in configuration space.
    pub fn data_register(&self) -> u16 {
        POSITION + self.layout.data() as u16
    }

    pub fn enabled(&self) -> bool {
        self.bytes[2] & 1 == 1
    }

    pub fn masked(&self) -> bool {
        self.layout.masking && self.bytes[self.layout.data() + 4] & 1 == 1
    }

    fn number(&self, at: usize, length: usize) -> u64 {
        self.bytes[at..at + length].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// The message as plain numbers, if x86 and the PC's rules for devices allow it.
    pub fn message(&self) -> Option<Message> {
        let address = self.number(4, if self.layout.address_64 { 8 } else { 4 });
        let data = self.number(self.layout.data(), 2);
        // 0xFEE, then the destination, no extended destination, not remappable; hint and mode free.
        let shape = address & 0xffff_ffff_fff0_0ff0 == 0xfee0_0000;
        let (hint, logical, destination) = (address & 8 != 0, address & 4 != 0, (address >> 12) as u8);
        let everyone = hint && !logical && destination == 0xff;
        let vector = data as u8;
        let allowed = shape && !everyone && data & 0x600 == 0 && (0x10..0xff).contains(&vector);
        allowed.then_some((vector, destination, logical, hint, data & 0x100 != 0))
    }
}
