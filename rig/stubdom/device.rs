// SPDX-License-Identifier: GPL-2.0-only
//! A PCI device's configuration space as a Linux shows it, and where its interrupts are set up.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const DEVICES: &str = "/sys/bus/pci/devices";
/// A line of the file `resource` that is about memory has this bit in its flags.
const RESOURCE_MEMORY: u64 = 0x200;
const STATUS: u64 = 0x06;
const STATUS_CAPABILITIES: u16 = 1 << 4;
const CAPABILITY_POINTER: u64 = 0x34;
const CAPABILITY_POWER: u8 = 0x01;
const CAPABILITY_MSI: u8 = 0x05;
const CAPABILITY_MSIX: u8 = 0x11;
const MSI_64_BIT: u16 = 1 << 7;
const MSI_MASKS: u16 = 1 << 8;
/// Bytes of the MSI-X capability, all that QEMU's devices and real ones have.
const MSIX_LENGTH: u64 = 12;
/// More capabilities than fit into the 192 bytes there are for them.
const LONGEST_CHAIN: usize = 48;

/// Where a device's MSI-X table is.
pub struct Table {
    pub bar: u32,
    /// The machine's address of that base address register.
    pub base: u64,
    pub offset: u64,
    pub entries: usize,
}

/// A device, as the kernel of this domain shows it.
pub struct Device {
    pub folder: PathBuf,
    config: File,
}

impl Device {
    /// All devices of this domain; a stub domain sees no others than its guest's.
    pub fn all() -> Result<Vec<Self>, String> {
        let found = names(Path::new(DEVICES));
        if found.is_empty() {
            return Err("this domain has no devices".into());
        }
        found.iter().map(|name| Self::open(name)).collect()
    }

    /// The first device with an MSI capability.
    pub fn with_msi() -> Result<Self, String> {
        let mut all = Self::all()?.into_iter();
        all.find(|device| device.msi_control().is_ok())
            .ok_or_else(|| "there is no device with MSI".into())
    }

    /// The device at SSSS:BB:DD.F.
    pub fn open(name: &str) -> Result<Self, String> {
        let folder = Path::new(DEVICES).join(name);
        let config = OpenOptions::new().read(true).write(true).open(folder.join("config"));
        Ok(Self { folder, config: config.map_err(|error| format!("{name}: {error}"))? })
    }

    /// Where MSI's message control register stands.
    pub fn msi_control(&self) -> Result<u64, String> {
        self.capability(CAPABILITY_MSI)?
            .map(|place| place + 2)
            .ok_or_else(|| "no MSI capability".into())
    }

    /// Where the power management control and status register stands, if there is one.
    pub fn power(&self) -> Result<Option<u64>, String> {
        Ok(self.capability(CAPABILITY_POWER)?.map(|place| place + 4))
    }

    /// The bytes of the capabilities MSI and MSI-X, as (first, number).
    pub fn message_registers(&self) -> Result<Vec<(u64, u64)>, String> {
        let mut found = Vec::new();
        if let Some(place) = self.capability(CAPABILITY_MSI)? {
            found.push((place, msi_length(self.read_u16(place + 2)?)));
        }
        found.extend(self.capability(CAPABILITY_MSIX)?.map(|place| (place, MSIX_LENGTH)));
        Ok(found)
    }

    /// Where the MSI-X table is.
    pub fn table(&self) -> Result<Table, String> {
        let place = self.capability(CAPABILITY_MSIX)?.ok_or("no MSI-X capability")?;
        let (entries, table) = (self.read_u16(place + 2)? & 0x7ff, self.read(place + 4, 4)?);
        let bar = table & 7;
        let lines = fs::read_to_string(self.folder.join("resource"))
            .map_err(|error| format!("resource: {error}"))?;
        let begin = lines.lines().nth(bar as usize).and_then(|line| line.split_whitespace().next());
        let base =
            begin.and_then(|text| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok());
        let base = base.ok_or_else(|| format!("base address register {bar} cannot be read"))?;
        Ok(Table { bar, base, offset: (table & !7).into(), entries: usize::from(entries) + 1 })
    }

    /// The frames of its memory, as (first, number).
    pub fn memory(&self) -> Result<Vec<(u64, u64)>, String> {
        let lines = fs::read_to_string(self.folder.join("resource"))
            .map_err(|error| format!("resource: {error}"))?;
        let number =
            |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or(0);
        let bars = lines
            .lines()
            .take(6)
            .map(|line| line.split_whitespace().map(number).collect::<Vec<_>>());
        let of_memory = bars.filter(|words| words.len() == 3 && words[2] & RESOURCE_MEMORY != 0);
        Ok(of_memory
            .map(|words| (words[0] >> 12, (words[1] >> 12) - (words[0] >> 12) + 1))
            .collect())
    }

    fn capability(&self, wanted: u8) -> Result<Option<u64>, String> {
        let mut place = 0;
        if self.read_u16(STATUS)? & STATUS_CAPABILITIES != 0 {
            place = self.read_u8(CAPABILITY_POINTER)? & !3;
        }
        for _ in 0..LONGEST_CHAIN {
            let at = u64::from(place);
            if place == 0 {
                break;
            }
            if self.read_u8(at)? == wanted {
                return Ok(Some(at));
            }
            place = self.read_u8(at + 1)? & !3;
        }
        Ok(None)
    }

    fn read_u8(&self, register: u64) -> Result<u8, String> {
        self.read(register, 1).map(|value| value as u8)
    }

    /// A register of two bytes.
    pub fn read_u16(&self, register: u64) -> Result<u16, String> {
        self.read(register, 2).map(|value| value as u16)
    }

    /// A register of 1, 2 or 4 bytes.
    pub fn read(&self, register: u64, width: usize) -> Result<u32, String> {
        let mut bytes = [0; 4];
        let wanted = &mut bytes[..width];
        self.config
            .read_exact_at(wanted, register)
            .map_err(|error| format!("read {register:#x}: {error}"))?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// Writes a register of 1, 2 or 4 bytes.
    pub fn write(&self, register: u64, width: usize, value: u32) -> Result<(), String> {
        let bytes = &value.to_le_bytes()[..width];
        self.config
            .write_all_at(bytes, register)
            .map_err(|error| format!("write {register:#x}: {error}"))
    }
}

/// PCI Local Bus specification 3.0, 6.8.1: 64-bit address and mask bits make it longer.
fn msi_length(control: u16) -> u64 {
    let upper = if control & MSI_64_BIT == 0 { 0 } else { 4 };
    let masks = if control & MSI_MASKS == 0 { 0 } else { 10 };
    10 + upper + masks
}

/// The sorted names in a folder; none when it does not exist.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
