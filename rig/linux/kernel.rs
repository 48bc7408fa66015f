// SPDX-License-Identifier: GPL-2.0-only
//! What only the kernel can do, and all `unsafe` code of this program.

use std::ffi::{c_char, c_int, c_long, c_ulong, c_void, CString};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

extern "C" {
    fn mount(
        source: *const c_char,
        target: *const c_char,
        kind: *const c_char,
        flags: c_ulong,
        data: *const c_void,
    ) -> c_int;
    fn reboot(command: c_int) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
    fn ioctl(file: c_int, request: c_ulong, ...) -> c_int;
    fn sched_setaffinity(task: c_int, size: usize, mask: *const u64) -> c_int;
}

const SYS_FINIT_MODULE: c_long = 313;
const RB_AUTOBOOT: c_int = 0x0123_4567;

/// The value of NAME=... on the kernel's command line, or ''.
pub fn parameter(name: &str) -> String {
    let words = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    words
        .split_whitespace()
        .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        .unwrap_or_default()
        .into()
}

/// Mounts a file system that needs no device.
fn mount_kind(kind: &str, place: &str) -> io::Result<()> {
    fs::create_dir_all(place)?;
    let (kind, place) = (CString::new(kind)?, CString::new(place)?);
    // SAFETY: all pointers are to strings that outlive the call.
    match unsafe { mount(kind.as_ptr(), place.as_ptr(), kind.as_ptr(), 0, std::ptr::null()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Mounts a file system, unless the kernel has done so.
pub fn mount_once(kind: &str, place: &str) -> Result<(), String> {
    const EBUSY: i32 = 16;
    match mount_kind(kind, place) {
        Err(error) if error.raw_os_error() != Some(EBUSY) => Err(format!("mount {kind}: {error}")),
        _ => Ok(()),
    }
}

/// Loads a module.
pub fn load(module: &Path) -> Result<(), String> {
    let file = File::open(module).map_err(|error| format!("{}: {error}", module.display()))?;
    // SAFETY: the parameters are an empty string.
    match unsafe { syscall(SYS_FINIT_MODULE, file.as_raw_fd(), c"".as_ptr(), 0) } {
        0 => Ok(()),
        _ => Err(format!("{}: {}", module.display(), io::Error::last_os_error())),
    }
}

/// Asks a driver through an open file; `words` is what the request reads or writes.
pub fn control<T>(file: &impl AsRawFd, request: c_ulong, words: &mut T) -> io::Result<()> {
    // SAFETY: the callers' requests read and write no more than their `T`.
    match unsafe { ioctl(file.as_raw_fd(), request, words as *mut T) } {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets the calling thread run on one CPU only.
pub fn run_on(cpu: usize) -> io::Result<()> {
    let mask = 1_u64 << cpu;
    // SAFETY: the mask outlives the call and has the size given.
    match unsafe { sched_setaffinity(0, size_of::<u64>(), &mask) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Restarts the guest; does not come back.
pub fn restart() -> ! {
    // SAFETY: no pointers.
    unsafe { reboot(RB_AUTOBOOT) };
    sleep_forever()
}

/// Leaves the guest as it is: its end is the rig's.
pub fn sleep_forever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}
