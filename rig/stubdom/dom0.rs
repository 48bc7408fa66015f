// SPDX-License-Identifier: GPL-2.0-only
//! What a program in dom0 can reach: configuration space by every way, the MSI-X table by memory,
//! calls.

use std::arch::asm;
use std::ffi::c_void;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::raw::{c_int, c_long, c_ulong};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::calls;
use crate::config::{self, Way};
use crate::device::Device;

/// The subcommand that does one store, and may never come back from it.
pub const STORE: &str = "store";

const MEMORY: &str = "/dev/mem";
/// ACPI's table of configuration windows: the first one's base address stands at byte 44.
const MCFG: &str = "/sys/firmware/acpi/tables/MCFG";
const MCFG_BASE: usize = 44;
const PAGE: usize = 4096;
const ADDRESS_PORT: u16 = 0xcf8;
const DATA_PORT: u16 = 0xcfc;
const ENTRY: usize = 16;
/// Registers that are nobody's but dom0's: Cache Line Size and Latency Timer.
const FREE_REGISTERS: [u64; 2] = [0x0c, 0x0d];
const PROT_READ_WRITE: c_int = 3;
const MAP_SHARED: c_int = 1;
const FIONREAD: c_ulong = 0x541b;
/// Bytes. As a dword of a capability it sets the lowest bit of Message Control: enable, of MSI.
const MOST_WAITING: u32 = 1 << 16;
const PATIENCE: Duration = Duration::from_millis(500);

extern "C" {
    fn iopl(level: c_int) -> c_int;
    fn mmap(
        at: *mut c_void,
        length: usize,
        access: c_int,
        kind: c_int,
        file: c_int,
        offset: c_long,
    ) -> *mut c_void;
    fn ioctl(file: c_int, request: c_ulong, ...) -> c_int;
    fn munmap(at: *mut c_void, length: usize) -> c_int;
    fn read(file: c_int, into: *mut c_void, length: usize) -> isize;
}

/// One attempt of a program in dom0 at a device.
pub fn attempt(what: &str, address: &str) -> Result<String, String> {
    let device = Device::open(address)?;
    match what {
        "dom0-config" => by(&device, &device),
        "dom0-ports" => by(&device, &Ports::to(address)?),
        "dom0-ecam" => by(&device, &Ecam::to(address)?),
        "dom0-memory" => at_table(&device, MEMORY),
        "dom0-table" => at_table(&device, &resource(&device)?),
        "dom0-decode" => config::toggle_memory(&device, &device),
        "dom0-calls" => calls::of_dom0(address),
        _ => Err(format!("there is no attempt {what}")),
    }
}

/// Every bit of the message capabilities, INTx-disable, and registers that are free.
fn by(device: &Device, way: &dyn Way) -> Result<String, String> {
    let mut lines = vec![config::try_all(device, way)?];
    for register in FREE_REGISTERS {
        let before = device.read(register, 1)?;
        way.write(register, 1, before ^ 0x50)?;
        let after = device.read(register, 1)?;
        way.write(register, 1, before)?;
        lines.push(format!("{register:#x}/1 tried=1 failed=0 changed={:#x}", before ^ after));
    }
    Ok(lines.join("\n"))
}

/// Ports 0xCF8 and 0xCFC.
pub struct Ports {
    function: u32,
}

impl Ports {
    pub const ADDRESS: u16 = ADDRESS_PORT;
    pub const DATA: u16 = DATA_PORT;

    /// What the address port is given for a register.
    pub fn select(&self, register: u32) -> u32 {
        self.function | register & 0xfc
    }

    /// To the device at an address; it gives the calling thread the right to use ports.
    pub fn to(address: &str) -> Result<Self, String> {
        // SAFETY: it changes nothing but what this process may do.
        if unsafe { iopl(3) } != 0 {
            return Err(format!("iopl: {}", io::Error::last_os_error()));
        }
        let target = calls::Target::parse(&format!("dom0=0,{address},0,0"))?;
        Ok(Self { function: (1 << 31) | (target.sbdf() as u32 & 0xffff) << 8 })
    }
}

impl Way for Ports {
    fn widths(&self) -> &[usize] {
        &[1, 2, 4]
    }

    fn write(&self, register: u64, width: usize, value: u32) -> Result<(), String> {
        let select = self.select(register as u32);
        let port = DATA_PORT + (register as u16 & 3);
        // SAFETY: iopl allowed it; only configuration space is written. dom0's kernel uses the same
        // two ports, with interrupts on like here, but has nothing to do on the one processor while
        // this runs.
        unsafe {
            asm!("out dx, eax", in("dx") ADDRESS_PORT, in("eax") select, options(nomem, nostack));
            match width {
                1 => {
                    asm!("out dx, al", in("dx") port, in("al") value as u8, options(nomem, nostack))
                }
                2 => {
                    asm!(
                        "out dx, ax",
                        in("dx") port,
                        in("ax") value as u16,
                        options(nomem, nostack),
                    )
                }
                _ => asm!("out dx, eax", in("dx") port, in("eax") value, options(nomem, nostack)),
            }
        }
        Ok(())
    }
}

/// The window of configuration space in memory (ECAM).
struct Ecam(Mapping);

impl Ecam {
    fn to(address: &str) -> Result<Self, String> {
        let table = fs::read(MCFG).map_err(|error| format!("{MCFG}: {error}"))?;
        let base = table
            .get(MCFG_BASE..MCFG_BASE + 8)
            .and_then(|bytes| bytes.try_into().ok())
            .map(u64::from_le_bytes);
        let target = calls::Target::parse(&format!("dom0=0,{address},0,0"))?;
        let window = base.ok_or("ACPI names no window of configuration space")?
            + ((target.sbdf() & 0xffff) << 12);
        Mapping::of(MEMORY, window, PAGE).map(Self)
    }
}

impl Way for Ecam {
    /// The kernel copies less than eight bytes one by one, but answers numbers of four.
    fn widths(&self) -> &[usize] {
        &[1, 4]
    }

    fn write(&self, register: u64, width: usize, value: u32) -> Result<(), String> {
        match width {
            4 => self.0.put_number(register as usize, value),
            _ => self.0.put(register as usize, &value.to_le_bytes()[..width]),
        }
    }
}

/// Pages of the machine in this process.
struct Mapping {
    at: *mut u8,
    length: usize,
}

impl Mapping {
    fn of(file: &str, offset: u64, length: usize) -> Result<Self, String> {
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .open(file)
            .map_err(|error| format!("{file}: {error}"))?;
        // SAFETY: a new mapping, of a length that Drop knows, too.
        let at = unsafe {
            mmap(
                std::ptr::null_mut(),
                length,
                PROT_READ_WRITE,
                MAP_SHARED,
                opened.as_raw_fd(),
                offset as c_long,
            )
        };
        if at as isize == -1 {
            return Err(format!("mmap {file}: {}", io::Error::last_os_error()));
        }
        Ok(Self { at: at.cast(), length })
    }

    /// Lets the kernel store these bytes: Xen emulates what dom0's kernel stores to a page that is
    /// read-only.
    fn put(&self, offset: usize, bytes: &[u8]) -> Result<(), String> {
        assert!(offset + bytes.len() <= self.length);
        let (mut sink, source) = UnixStream::pair().map_err(|error| format!("socket: {error}"))?;
        sink.write_all(bytes).map_err(|error| format!("socket: {error}"))?;
        // SAFETY: asserted to be in the mapping, which holds no object of Rust's.
        let done = unsafe { read(source.as_raw_fd(), self.at.add(offset).cast(), bytes.len()) };
        if done == bytes.len() as isize {
            Ok(())
        } else {
            Err(format!("store: {}", io::Error::last_os_error()))
        }
    }

    /// Lets the kernel store a number in one go: how many bytes wait in a socket, so a small one.
    fn put_number(&self, offset: usize, value: u32) -> Result<(), String> {
        assert!(offset + 4 <= self.length);
        let (mut sink, source) = UnixStream::pair().map_err(|error| format!("socket: {error}"))?;
        if value > MOST_WAITING {
            return Err(format!("no {value:#x} bytes fit into a socket"));
        }
        sink.write_all(&vec![0; value as usize]).map_err(|error| format!("socket: {error}"))?;
        // SAFETY: asserted to be in the mapping, which holds no object of Rust's.
        match unsafe { ioctl(source.as_raw_fd(), FIONREAD, self.at.add(offset)) } {
            0 => Ok(()),
            _ => Err(format!("store: {}", io::Error::last_os_error())),
        }
    }

    fn word(&self, offset: usize) -> u32 {
        assert!(offset + 4 <= self.length && offset % 4 == 0);
        // SAFETY: asserted to be in the mapping and aligned.
        unsafe { self.at.add(offset).cast::<u32>().read_volatile() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it is this value's own, and ends with it.
        unsafe { munmap(self.at.cast(), self.length) };
    }
}

/// The file of the base address register that the MSI-X table is in.
fn resource(device: &Device) -> Result<String, String> {
    Ok(device.folder.join(format!("resource{}", device.table()?.bar)).display().to_string())
}

/// Writes every word of the first page of the MSI-X table, by the kernel and by this process
/// itself.
fn at_table(device: &Device, file: &str) -> Result<String, String> {
    let table = device.table()?;
    let place = table.offset + if file == MEMORY { table.base } else { 0 };
    let inside = place as usize % PAGE;
    let mapping = Mapping::of(file, place - inside as u64, PAGE)?;
    let (mut tried, mut failed, mut changed) = (0, 0, 0);
    for word in (inside..PAGE.min(inside + table.entries * ENTRY)).step_by(4) {
        let before = mapping.word(word);
        for value in [!before, 0, before ^ 1] {
            tried += 1;
            failed += usize::from(mapping.put(word, &value.to_le_bytes()).is_err());
            changed += usize::from(mapping.word(word) != before);
        }
    }
    let own = stores(file, place + ENTRY as u64 - 4)?;
    Ok(format!("table tried={tried} failed={failed} changed={changed} store={own}"))
}

/// Whether a process of its own gets done with a store to a place in a file.
fn stores(file: &str, place: u64) -> Result<&'static str, String> {
    let mut child = Command::new("/proc/self/exe")
        .args([STORE, file, &place.to_string()])
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| format!("cannot start it again: {error}"))?;
    sleep(PATIENCE);
    let done = child.try_wait().map_err(|error| format!("wait: {error}"))?;
    if let Some(status) = done {
        return Ok(if status.success() { "done" } else { "faulted" });
    }
    child.kill().and_then(|()| child.wait()).map_err(|error| format!("kill: {error}"))?;
    Ok("never")
}

/// Clears one word of a file that is memory; done when this comes back.
pub fn store(file: &str, place: &str) -> Result<String, String> {
    let place: u64 = place.parse().map_err(|_| format!("no place: {place}"))?;
    let inside = place as usize % PAGE;
    let mapping = Mapping::of(file, place - inside as u64, PAGE)?;
    // SAFETY: inside the page that was mapped, and aligned as the table's words are.
    unsafe { mapping.at.add(inside).cast::<u32>().write_volatile(0) };
    Ok("done".into())
}
