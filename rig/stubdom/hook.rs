// SPDX-License-Identifier: GPL-2.0-only
//! What a stub domain that was taken over might try against a device passed to its guest.
//!
//! `hook WHAT HOST TARGET`: WHAT is a subcommand, HOST the device's address on the host
//! (0000:00:04.0), TARGET the number of the guest's domain. Prints words of the form key=value;
//! exits non-zero when the attempt could not be made at all.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::raw::{c_int, c_ulong};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const DEVICES: &str = "/sys/bus/pci/devices";
const DRIVER: &str = "/sys/bus/pci/drivers/pci-endpoint-test";

const STATUS: u64 = 0x06;
const STATUS_CAPABILITIES: u16 = 1 << 4;
const CAPABILITY_POINTER: u64 = 0x34;
const CAPABILITY_MSI: u8 = 0x05;
const MSI_CONTROL: u64 = 2;
const MSI_ENABLE: u16 = 1;
/// More capabilities than fit into the 192 bytes there are for them.
const LONGEST_CHAIN: usize = 48;

type Attempt = Result<String, String>;

extern "C" {
    fn ioctl(file: c_int, request: c_ulong, ...) -> c_int;
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match attempt(&words) {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(reason) => {
            println!("error={reason}");
            ExitCode::FAILURE
        }
    }
}

fn attempt(words: &[String]) -> Attempt {
    match words {
        [what, ..] if what == "enable-unprogrammed" => enable_unprogrammed(),
        [what, ..] if what == "pcifront-msi" => pcifront_msi(),
        [what, host, target] if what == "map-pirq" => map_pirq(host, target),
        _ => Err("say enable-unprogrammed, pcifront-msi or map-pirq HOST TARGET".into()),
    }
}

/// Sets the MSI enable bit of a device whose message nobody has programmed.
fn enable_unprogrammed() -> Attempt {
    let device = Device::passed()?;
    let control = device.msi_control()?;
    let before = device.read_u16(control)?;
    let wanted = before | MSI_ENABLE;
    device.config.write_all_at(&wanted.to_le_bytes(), control).map_err(|error| format!("write: {error}"))?;
    let after = device.read_u16(control)?;
    Ok(format!("register={control:#x} before={before:#06x} wrote={wanted:#06x} after={after:#06x}"))
}

/// Lets a driver of the stub domain's own kernel enable MSI, which goes by pcifront's own command.
fn pcifront_msi() -> Attempt {
    let device = Device::passed()?;
    let (vendor, number) = (device.read_u16(0)?, device.read_u16(2)?);
    fs::write(format!("{DRIVER}/new_id"), format!("{vendor:x} {number:x}"))
        .map_err(|error| format!("new_id: {error}"))?;
    let bound = device.folder.join("driver").exists();
    let interrupts = names(&device.folder.join("msi_irqs")).join(",");
    let control = device.read_u16(device.msi_control()?)?;
    Ok(format!("bound={bound} interrupts={interrupts} control={control:#06x}"))
}

/// Asks Xen to map a message interrupt of the device for the target, and to bind one to it.
fn map_pirq(host: &str, target: &str) -> Attempt {
    let target: u16 = target.parse().map_err(|_| format!("no domain number: {target}"))?;
    let (segment_bus, devfn) = host_address(host).ok_or(format!("no PCI address: {host}"))?;
    let privcmd = OpenOptions::new().read(true).write(true).open("/dev/xen/privcmd");
    let xen = Xen(privcmd.map_err(|error| format!("privcmd: {error}"))?);
    let (mapped, pirq) = xen.map_message(target, segment_bus, devfn);
    let bound = xen.bind_message(target, pirq);
    Ok(format!("map_pirq={mapped} pirq={pirq} bind_pt_irq={bound}"))
}

/// Segment and bus as the hypercall packs them, and device/function, of SSSS:BB:DD.F.
fn host_address(text: &str) -> Option<(i32, i32)> {
    let (rest, function) = text.rsplit_once('.')?;
    let mut numbers = rest.split(':').map(|part| i32::from_str_radix(part, 16));
    let (segment, bus, device) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some((segment << 16 | bus, device << 3 | function.parse::<i32>().ok()?))
}

/// The device passed to the guest, as the stub domain's kernel shows it.
struct Device {
    folder: PathBuf,
    config: File,
}

impl Device {
    /// The first device with an MSI capability; a stub domain sees no others than its guest's.
    fn passed() -> Result<Self, String> {
        names(Path::new(DEVICES))
            .into_iter()
            .filter_map(|name| Self::open(&name).ok())
            .find(|device| device.msi_control().is_ok())
            .ok_or_else(|| "the stub domain has no device with MSI".into())
    }

    fn open(name: &str) -> io::Result<Self> {
        let folder = Path::new(DEVICES).join(name);
        let config = OpenOptions::new().read(true).write(true).open(folder.join("config"))?;
        Ok(Self { folder, config })
    }

    /// Where the message control register stands.
    fn msi_control(&self) -> Result<u64, String> {
        let mut place = 0;
        if self.read_u16(STATUS)? & STATUS_CAPABILITIES != 0 {
            place = u64::from(self.read_u8(CAPABILITY_POINTER)? & !3);
        }
        for _ in 0..LONGEST_CHAIN {
            if place == 0 {
                break;
            }
            if self.read_u8(place)? == CAPABILITY_MSI {
                return Ok(place + MSI_CONTROL);
            }
            place = u64::from(self.read_u8(place + 1)? & !3);
        }
        Err("no MSI capability".into())
    }

    fn read_u8(&self, register: u64) -> Result<u8, String> {
        Ok(self.read_u16(register & !1)?.to_le_bytes()[usize::from(register & 1 != 0)])
    }

    fn read_u16(&self, register: u64) -> Result<u16, String> {
        let mut bytes = [0; 2];
        self.config.read_exact_at(&mut bytes, register).map_err(|error| format!("read {register:#x}: {error}"))?;
        Ok(u16::from_le_bytes(bytes))
    }
}

/// The sorted names in a folder; none when it does not exist.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

// Numbers and layouts of Xen's public headers, physdev.h and domctl.h.
const HYPERVISOR_PHYSDEV_OP: u64 = 33;
const HYPERVISOR_DOMCTL: u64 = 36;
const PHYSDEVOP_MAP_PIRQ: u64 = 13;
const MAP_PIRQ_TYPE_MSI_SEG: i32 = 3;
const DOMCTL_BIND_PT_IRQ: u32 = 38;
const PT_IRQ_TYPE_MSI: u32 = 2;
/// Fixed delivery to APIC 0, not masked.
const UNMASKED: u32 = 0x10000;
/// Any vector of the guest would do.
const VECTOR: u8 = 0x41;
/// Xen answers EACCES to a version that is not its own; these are of 4.16 to the present.
const DOMCTL_VERSIONS: std::ops::RangeInclusive<u32> = 0x14..=0x1f;
const EACCES: i32 = 13;

#[repr(C)]
struct MapPirq {
    domain: u16,
    kind: i32,
    index: i32,
    pirq: i32,
    segment_bus: i32,
    devfn: i32,
    entry: i32,
    table: u64,
}

#[repr(C)]
struct BindMessage {
    command: u32,
    version: u32,
    domain: u16,
    pad: [u16; 3],
    pirq: u32,
    kind: u32,
    vector: u8,
    flags: u32,
    table: u64,
    /// The rest of the union of all commands.
    rest: [u8; 104],
}

#[repr(C)]
struct Hypercall {
    number: u64,
    arguments: [u64; 5],
}

/// Linux' door to hypercalls.
struct Xen(File);

impl Xen {
    /// Maps the first message of a device; returns the errno (0: it worked) and the PIRQ.
    fn map_message(&self, domain: u16, segment_bus: i32, devfn: i32) -> (i32, i32) {
        let kind = MAP_PIRQ_TYPE_MSI_SEG;
        let mut map = MapPirq { domain, kind, index: -1, pirq: -1, segment_bus, devfn, entry: 0, table: 0 };
        let errno = self.call(HYPERVISOR_PHYSDEV_OP, [PHYSDEVOP_MAP_PIRQ, &raw mut map as u64]);
        (errno, map.pirq)
    }

    /// Binds a PIRQ to a vector of the domain; returns the errno.
    fn bind_message(&self, domain: u16, pirq: i32) -> i32 {
        let tries = DOMCTL_VERSIONS.map(|version| {
            let mut bind = BindMessage {
                command: DOMCTL_BIND_PT_IRQ,
                version,
                domain,
                pad: [0; 3],
                // A PIRQ that was refused is tried all the same, as the first one a guest gets.
                pirq: u32::try_from(pirq).unwrap_or(16),
                kind: PT_IRQ_TYPE_MSI,
                vector: VECTOR,
                flags: UNMASKED,
                table: 0,
                rest: [0; 104],
            };
            self.call(HYPERVISOR_DOMCTL, [&raw mut bind as u64, 0])
        });
        tries.into_iter().find(|errno| *errno != EACCES).unwrap_or(EACCES)
    }

    fn call(&self, number: u64, arguments: [u64; 2]) -> i32 {
        const PRIVCMD_HYPERCALL: c_ulong = (size_of::<Hypercall>() as c_ulong) << 16 | (b'P' as c_ulong) << 8;
        let [first, second] = arguments;
        let mut call = Hypercall { number, arguments: [first, second, 0, 0, 0] };
        // SAFETY: the kernel reads `call`, and Xen the structure it points to; both outlive the call.
        match unsafe { ioctl(self.0.as_raw_fd(), PRIVCMD_HYPERCALL, &raw mut call) } {
            0.. => 0,
            _ => io::Error::last_os_error().raw_os_error().unwrap_or(0),
        }
    }
}
