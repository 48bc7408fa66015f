// SPDX-License-Identifier: GPL-2.0-only
//! What the specification lets a guest see and expect of its device, written from the
//! specification, byte by byte, without a look at `src/`.

use crate::fake::Message;
use crate::kind::{Kind, MSI, MSIX};

/// The capability registers and the table of one device.
#[derive(Debug)]
pub struct Model {
    kind: Kind,
    /// The bytes of the MSI capability, and which of their bits can be written.
    msi: [u8; 0x18],
    msi_writable: [u8; 0x18],
    msix: [u8; 12],
    table: Vec<[u8; 16]>,
    /// What each entry delivers, and whether it was unmasked when that was settled.
    latched: Vec<Option<Message>>,
    unmasked: Vec<bool>,
    /// The last valid messages since MSI was enabled.
    pub last_valid: Option<Vec<Message>>,
    /// The guest's own Command register.
    pub command: u16,
    /// Its base address registers, and whether they count.
    decodes: bool,
    bars: [u8; 24],
    /// Whether it is known to be the device: only then its capabilities are.
    pub learned: bool,
}

impl Model {
    pub fn new(kind: Kind) -> Self {
        let mut msi = [0; 0x18];
        let mut msi_writable = [0; 0x18];
        let control = kind.msi_control() & !0xe | kind.offered() << 1;
        msi[..2].copy_from_slice(&[0x05, 0x70]);
        msi[2..4].copy_from_slice(&control.to_le_bytes());
        msi_writable[4..8].copy_from_slice(&[0xfc, 0xff, 0xff, 0xff]);
        if kind.address_64 {
            msi_writable[8..12].fill(0xff);
        }
        let data = Self::data(kind);
        msi_writable[data..data + 2].fill(0xff);
        if kind.masking {
            let vectors = (1u64 << (1 << kind.offered())) - 1;
            msi_writable[data + 4..data + 8].copy_from_slice(&(vectors as u32).to_le_bytes());
        }
        let mut msix = [0; 12];
        msix[0] = 0x11;
        msix[2..4].copy_from_slice(&(kind.vectors - 1).to_le_bytes());
        msix[4..8].copy_from_slice(&kind.table.to_le_bytes());
        msix[8..12].copy_from_slice(&kind.pending.to_le_bytes());
        let vectors = usize::from(kind.vectors);
        let mut entry = [0; 16];
        entry[12] = 1;
        Self {
            kind,
            msi,
            msi_writable,
            msix,
            table: vec![entry; vectors],
            latched: vec![None; vectors],
            unmasked: vec![false; vectors],
            last_valid: None,
            command: 0,
            decodes: false,
            bars: [0; 24],
            learned: false,
        }
    }

    /// Where the guest has the base address, 0 or 1 for registers 0 and 2, that is so long.
    pub fn bar(&self, index: usize, size: u64) -> Option<u64> {
        let address = match index {
            0 => number(&self.bars[0..4]),
            _ => number(&self.bars[8..16]),
        };
        let address = address & !0xf & !(size - 1);
        (self.decodes && address != 0).then_some(address)
    }

    /// Offset of MSI's data register from the capability's start.
    fn data(kind: Kind) -> usize {
        if kind.address_64 {
            0xc
        } else {
            0x8
        }
    }

    fn msi_length(&self) -> usize {
        Self::data(self.kind) + 4 + if self.kind.masking { 8 } else { 0 }
    }

    /// Offset of MSI's data register in configuration space.
    pub fn data_register(&self) -> u16 {
        MSI + Self::data(self.kind) as u16
    }

    fn in_msi(&self, offset: i32) -> Option<usize> {
        usize::try_from(offset - i32::from(MSI))
            .ok()
            .filter(|at| self.kind.msi && *at < self.msi_length())
    }

    fn in_msix(&self, offset: i32) -> Option<usize> {
        usize::try_from(offset - i32::from(MSIX)).ok().filter(|at| self.kind.msix && *at < 12)
    }

    /// Whether the byte at `offset` of configuration space is a capability's, in hardware.
    pub fn guards(&self, offset: i32) -> bool {
        self.in_msi(offset).is_some() || self.in_msix(offset).is_some()
    }

    /// Whether the byte at `offset` of the guest's configuration space is Xen's.
    pub fn owns(&self, offset: i32) -> bool {
        self.learned && self.guards(offset)
    }

    /// Whether it is an ID or next pointer, which the device model shows.
    pub fn is_header(offset: i32) -> bool {
        [i32::from(MSI), i32::from(MSIX)]
            .into_iter()
            .any(|start| (start..start + 2).contains(&offset))
    }

    pub fn write(&mut self, offset: i32, value: u8) {
        self.write_header(offset, value);
        if offset > 5 && !self.learned {
            return;
        }
        match (offset, self.in_msi(offset), self.in_msix(offset)) {
            (4, ..) => self.command = self.command & 0xff00 | u16::from(value),
            (5, ..) => self.command = self.command & 0x00ff | u16::from(value) << 8,
            (_, Some(2), _) => {
                let granted = (value >> 4 & 7).min(self.kind.offered() as u8);
                let enable = value & 1 != 0 && !self.msix_enabled();
                self.msi[2] = self.msi[2] & 0x8e | granted << 4 | u8::from(enable);
            }
            (_, Some(at), _) => {
                self.msi[at] =
                    self.msi[at] & !self.msi_writable[at] | value & self.msi_writable[at];
            }
            (_, _, Some(3)) => {
                let enable = value & 0x80 != 0 && !self.msi_enabled() && self.kind.prepared;
                self.msix[3] = self.msix[3] & 0x07 | value & 0x40 | u8::from(enable) << 7;
            }
            _ => {}
        }
    }

    /// Writes a byte that says where the device answers in memory.
    pub fn write_header(&mut self, offset: i32, value: u8) {
        if let Some(byte) = usize::try_from(offset - 0x10).ok().and_then(|at| self.bars.get_mut(at))
        {
            *byte = value;
        }
        if offset == 4 {
            self.decodes = value & 2 != 0;
        }
    }

    /// The byte at `offset`; None for MSI's pending bits, which are the hardware's to say.
    pub fn read(&self, offset: i32) -> Option<u8> {
        match self.in_msi(offset) {
            Some(at) => {
                (!self.kind.masking || at < Self::data(self.kind) + 8).then(|| self.msi[at])
            }
            None => self.in_msix(offset).map(|at| self.msix[at]),
        }
    }

    /// Whether INTx has to be off.
    pub fn intx_disable(&self) -> bool {
        self.msi_enabled() || self.msix_enabled() || self.command & 0x400 != 0
    }

    pub fn msi_enabled(&self) -> bool {
        self.msi[2] & 1 == 1
    }

    pub fn msix_enabled(&self) -> bool {
        self.msix[3] & 0x80 != 0
    }

    /// The MSI vectors that the guest masks.
    pub fn msi_mask(&self) -> u32 {
        let data = Self::data(self.kind);
        if self.kind.masking {
            number(&self.msi[data + 4..data + 8]) as u32
        } else {
            0
        }
    }

    /// What the entry delivers.
    pub fn latched(&self, index: u16) -> Option<Message> {
        self.latched[usize::from(index)]
    }

    /// The guest reads its table: all ones unless four or eight bytes, aligned.
    pub fn read_table(&self, offset: u64, size: u8) -> u64 {
        match self.aligned(offset, size) {
            Some((entry, at)) => number(&self.table[entry][at..at + usize::from(size)]),
            None => u64::MAX,
        }
    }

    /// The guest writes its table: nothing happens unless four or eight bytes, aligned.
    pub fn write_table(&mut self, offset: u64, size: u8, value: u64) {
        let Some((entry, at)) = self.aligned(offset, size) else { return };
        for (at, value) in (at..at + usize::from(size)).zip(value.to_le_bytes()) {
            let writable = match at {
                0 => 0xfc,
                12 => 0x01,
                13..16 => 0x00,
                _ => 0xff,
            };
            self.table[entry][at] = self.table[entry][at] & !writable | value & writable;
        }
    }

    fn aligned(&self, offset: u64, size: u8) -> Option<(usize, usize)> {
        let fits = matches!(size, 4 | 8) && offset % u64::from(size) == 0;
        fits.then_some(((offset / 16) as usize, (offset % 16) as usize))
    }

    /// Ends one access: what is valid now becomes live.
    pub fn settle(&mut self) {
        self.last_valid = match (self.msi_enabled(), self.block()) {
            (false, _) => None,
            (true, None) => self.last_valid.take(),
            (true, valid) => valid,
        };
        let delivers = self.msix[3] & 0xc0 == 0x80;
        for (index, entry) in self.table.iter().enumerate() {
            let unmasked = delivers && entry[12] & 1 == 0;
            if unmasked && !self.unmasked[index] {
                self.latched[index] = message(number(&entry[0..8]), number(&entry[8..12]));
            } else if !unmasked {
                self.latched[index] = None;
            }
            self.unmasked[index] = unmasked;
        }
    }

    /// The messages of MSI, if all of them are allowed.
    fn block(&self) -> Option<Vec<Message>> {
        let address = number(&self.msi[4..if self.kind.address_64 { 12 } else { 8 }]);
        let data = number(&self.msi[Self::data(self.kind)..Self::data(self.kind) + 2]);
        let vectors = 1 << (self.msi[2] >> 4 & 7);
        (0..vectors).map(|nth| message(address, data & !(vectors - 1) | nth)).collect()
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A message as plain numbers, if x86 and the PC's rules for devices allow it.
fn message(address: u64, data: u64) -> Option<Message> {
    // 0xFEE, then the destination, no extended destination, not remappable; hint and mode free.
    let shape = address & 0xffff_ffff_fff0_0ff0 == 0xfee0_0000;
    let (hint, logical, destination) = (address & 8 != 0, address & 4 != 0, (address >> 12) as u8);
    let everyone = hint && !logical && destination == 0xff;
    let vector = data as u8;
    let allowed = shape && !everyone && data & 0xffff_0600 == 0 && (0x10..0xff).contains(&vector);
    allowed.then_some((vector, destination, logical, hint, data & 0x100 != 0))
}
