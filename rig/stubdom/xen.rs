// SPDX-License-Identifier: GPL-2.0-only
//! Linux' door to hypercalls, with arguments as 64-bit words in the layouts of Xen's public
//! headers.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::raw::{c_int, c_ulong};

const EVENT_CHANNEL_OP: u64 = 32;
const PHYSDEV_OP: u64 = 33;
const DOMCTL: u64 = 36;
const DM_OP: u64 = 41;
/// Xen answers EACCES to a version that is not its own; these are of 4.16 to the present.
const DOMCTL_VERSIONS: std::ops::RangeInclusive<u32> = 0x14..=0x1f;
const DOMCTL_UNBIND_PT_IRQ: u32 = 48;
const EACCES: i32 = 13;
/// 64-bit words of the union of all domctls.
const DOMCTL_WORDS: usize = 16;

/// The arguments of a call, as far as any needs them.
pub type Words = [u64; 5];

extern "C" {
    fn ioctl(file: c_int, request: c_ulong, ...) -> c_int;
}

#[repr(C)]
struct Hypercall {
    number: u64,
    arguments: [u64; 5],
}

#[repr(C)]
struct Domctl {
    command: u32,
    version: u32,
    domain: u64,
    words: [u64; DOMCTL_WORDS],
}

#[repr(C)]
struct Buffer {
    address: u64,
    size: u64,
}

/// The hypervisor; each call returns the errno, 0 when it worked.
pub struct Xen {
    door: File,
    version: u32,
}

impl Xen {
    /// Opens the door and finds out the version of domctls by one on the `target`, which a device
    /// model may make.
    pub fn open(target: u16) -> Result<Self, String> {
        let door = OpenOptions::new().read(true).write(true).open("/dev/xen/privcmd");
        let mut xen = Self { door: door.map_err(|error| format!("privcmd: {error}"))?, version: 0 };
        let known = DOMCTL_VERSIONS.into_iter().find(|version| {
            xen.version = *version;
            xen.domctl(DOMCTL_UNBIND_PT_IRQ, target, &[u64::from(u32::MAX), 0, 0, 0, 0]) != EACCES
        });
        known.map(|_| xen).ok_or_else(|| "Xen takes none of the known versions of domctls".into())
    }

    /// A physdev operation.
    pub fn physdev(&self, command: u32, words: &Words) -> i32 {
        let mut words = *words;
        self.call(PHYSDEV_OP, [u64::from(command), &raw mut words as u64, 0])
    }

    /// An operation on event channels.
    pub fn event_channel(&self, command: u32, words: &Words) -> i32 {
        let mut words = *words;
        self.call(EVENT_CHANNEL_OP, [u64::from(command), &raw mut words as u64, 0])
    }

    /// A domctl.
    pub fn domctl(&self, command: u32, domain: u16, words: &Words) -> i32 {
        let mut all = [0; DOMCTL_WORDS];
        all[..words.len()].copy_from_slice(words);
        let mut domctl =
            Domctl { command, version: self.version, domain: domain.into(), words: all };
        self.call(DOMCTL, [&raw mut domctl as u64, 0, 0])
    }

    /// An operation of device models.
    pub fn device_model(&self, command: u32, domain: u16, words: &Words) -> i32 {
        let mut all = [0; DOMCTL_WORDS];
        all[0] = command.into();
        all[1..=words.len()].copy_from_slice(words);
        let mut buffer = Buffer { address: &raw mut all as u64, size: size_of_val(&all) as u64 };
        self.call(DM_OP, [domain.into(), 1, &raw mut buffer as u64])
    }

    fn call(&self, number: u64, arguments: [u64; 3]) -> i32 {
        const PRIVCMD_HYPERCALL: c_ulong =
            (size_of::<Hypercall>() as c_ulong) << 16 | (b'P' as c_ulong) << 8;
        let [first, second, third] = arguments;
        let mut call = Hypercall { number, arguments: [first, second, third, 0, 0] };
        // SAFETY: the kernel reads `call`, and Xen what it points to; both outlive the call.
        match unsafe { ioctl(self.door.as_raw_fd(), PRIVCMD_HYPERCALL, &raw mut call) } {
            0.. => 0,
            _ => io::Error::last_os_error().raw_os_error().unwrap_or(0),
        }
    }
}
