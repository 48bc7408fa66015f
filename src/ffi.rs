// SPDX-License-Identifier: GPL-2.0-only
//! The boundary to C: every symbol, and all that is unsafe.
//!
//! `msitrap_rs_*` are called by the shim (Xen's `arch/x86/hvm/msitrap.c`), `msitrap_xen_*` are
//! its services. The prototypes stand in Xen's `asm/hvm/msitrap.h`; both sides assert the
//! layouts they share.
//!
//! Contract of every `msitrap_rs_*` function: `guest` is null or came from
//! [`msitrap_rs_guest_create`] and was not yet destroyed; `domain` is the guest's domain and
//! lives throughout the call; the lock rules of [`crate::host::guest`] hold.

use core::ffi::{c_char, c_int, c_void, CStr};
use core::num::NonZeroI32;
use core::panic::PanicInfo;
use core::ptr::NonNull;
use core::slice;

use static_assertions::{const_assert, const_assert_eq};
use x86_64::PhysAddr;

use crate::core::access::ConfigAccess;
use crate::core::address::{GuestFunction, Sbdf};
use crate::core::layout::Frames;
use crate::core::learn::{HostBar, Mapping};
use crate::core::message::BoundMessage;
use crate::core::spec::BAR_COUNT;
use crate::core::table::Entry;
use crate::host::guest::{Guest, GuestAccess};
use crate::host::hardware::{Errno, Hardware, Pirq, Positions, TableMemory, Window};
use crate::host::managed::Answer;
use crate::host::msix::Vector;
use crate::host::refusals::Attempt;

/// Xen's `struct domain`, never looked into.
#[repr(C)]
pub struct Domain {
    _opaque: [u8; 0],
}

/// A guest's access: `struct msitrap_access`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct RawAccess {
    bdf: u16,
    register: u16,
    port: u16,
    size: u8,
    mergeable: u8,
}

/// The answer to a read: `struct msitrap_answer`.
#[repr(C)]
pub struct RawAnswer {
    value: u32,
    mask: u32,
}

/// A message to bind: `struct msitrap_message`.
#[repr(C)]
struct RawMessage {
    vector: u8,
    destination: u8,
    delivery_mode: u8,
    destination_logical: u8,
    redirection_hint: u8,
}

/// A memory base address register: `struct msitrap_bar`; size 0 if it is none.
#[repr(C)]
struct RawBar {
    address: u64,
    size: u64,
    is_64bit: u8,
}

/// Offsets of a device's capabilities, 0 where there is none: `struct msitrap_positions`.
#[repr(C)]
struct RawPositions {
    msi: u16,
    msix: u16,
}

/// An answer to a read of memory: `struct msitrap_memory`.
#[repr(C)]
pub struct RawMemory {
    value: u64,
    answered: bool,
}

/// Frames in a row: `struct msitrap_run`.
#[repr(C)]
pub struct RawRun {
    length: u64,
    mappable: bool,
}

const_assert_eq!(size_of::<RawAccess>(), 8);
const_assert_eq!(size_of::<RawAnswer>(), 8);
const_assert_eq!(size_of::<RawMessage>(), 5);
const_assert_eq!(size_of::<RawBar>(), 24);
const_assert_eq!(size_of::<RawPositions>(), 4);
const_assert_eq!(size_of::<RawMemory>(), 16);
const_assert_eq!(size_of::<RawRun>(), 16);
// One allocation per guest with managed devices, from Xen's heap.
const_assert!(size_of::<Guest>() <= 24 * 1024);

unsafe extern "C" {
    fn msitrap_xen_alloc(size: usize, align: usize) -> *mut c_void;
    fn msitrap_xen_free(memory: *mut c_void);
    fn msitrap_xen_log(domain: *const Domain, sbdf: u32, text: *const c_char, number: u64);
    fn msitrap_xen_config_read(sbdf: u32, register: u16) -> u32;
    fn msitrap_xen_config_write(sbdf: u32, offset: u16, size: u8, value: u32);
    fn msitrap_xen_positions(domain: *const Domain, sbdf: u32) -> RawPositions;
    fn msitrap_xen_bars(domain: *const Domain, sbdf: u32, bars: *mut RawBar);
    fn msitrap_xen_physical_decodes(domain: *const Domain, sbdf: u32) -> c_int;
    fn msitrap_xen_intx(domain: *const Domain, sbdf: u32, enable: bool);
    fn msitrap_xen_map_msi(domain: *mut Domain, sbdf: u32, vectors: u8) -> c_int;
    fn msitrap_xen_map_msix(domain: *mut Domain, sbdf: u32, vector: u16) -> c_int;
    fn msitrap_xen_unmap(domain: *mut Domain, pirq: c_int);
    fn msitrap_xen_bind(domain: *mut Domain, pirq: c_int, message: *const RawMessage) -> c_int;
    fn msitrap_xen_unbind(domain: *mut Domain, pirq: c_int);
    fn msitrap_xen_mask(domain: *mut Domain, pirq: c_int, masked: bool);
    fn msitrap_xen_reprogram(domain: *mut Domain, pirq: c_int) -> c_int;
    fn msitrap_xen_open(frame: u64, count: u64) -> *mut c_void;
    fn msitrap_xen_close(mapping: *mut c_void);
    fn msitrap_xen_memory_read(at: *const c_void, size: u8) -> u64;
    fn msitrap_xen_memory_write(at: *mut c_void, size: u8, value: u64);
}

/// Xen, for the devices of one domain.
struct Xen(*mut Domain);

fn check(result: c_int) -> Result<(), Errno> {
    if result < 0 {
        Err(Errno(result.saturating_neg()))
    } else {
        Ok(())
    }
}

fn check_pirq(result: c_int) -> Result<Pirq, Errno> {
    check(result)?;
    NonZeroI32::new(result).map(Pirq).ok_or(Errno::INVALID)
}

fn check_memory<T>(memory: *mut c_void) -> Result<NonNull<T>, Errno> {
    NonNull::new(memory.cast()).ok_or(Errno::NO_MEMORY)
}

impl Hardware for Xen {
    fn read_config(&mut self, device: Sbdf, register: u16) -> u32 {
        // SAFETY: reads a register of a function that exists while it is managed.
        unsafe { msitrap_xen_config_read(device.0, register) }
    }

    fn write_config(&mut self, device: Sbdf, offset: u16, size: u8, value: u32) {
        // SAFETY: writes a register of a function that exists while it is managed.
        unsafe { msitrap_xen_config_write(device.0, offset, size, value) }
    }

    fn positions(&mut self, device: Sbdf) -> Positions {
        // SAFETY: the domain lives throughout the call.
        let raw = unsafe { msitrap_xen_positions(self.0, device.0) };
        let position = |offset: u16| (offset != 0).then_some(offset);
        Positions { msi: position(raw.msi), msix: position(raw.msix) }
    }

    fn bars(&mut self, device: Sbdf) -> [Option<HostBar>; BAR_COUNT] {
        let mut bars = [const { RawBar { address: 0, size: 0, is_64bit: 0 } }; BAR_COUNT];
        // SAFETY: the domain lives throughout the call, and `bars` is written within it.
        unsafe { msitrap_xen_bars(self.0, device.0, bars.as_mut_ptr()) };
        bars.map(|bar| {
            (bar.size != 0).then(|| HostBar {
                address: PhysAddr::new_truncate(bar.address),
                size: bar.size,
                is_64bit: bar.is_64bit != 0,
            })
        })
    }

    fn decoded_by_physical_function(&mut self, device: Sbdf) -> Option<bool> {
        // SAFETY: the domain lives throughout the call.
        let decodes = unsafe { msitrap_xen_physical_decodes(self.0, device.0) };
        (decodes >= 0).then_some(decodes > 0)
    }

    fn set_intx_disable(&mut self, device: Sbdf, disable: bool) {
        // SAFETY: the domain lives throughout the call.
        unsafe { msitrap_xen_intx(self.0, device.0, !disable) }
    }

    fn map_msi(&mut self, device: Sbdf, vectors: u8) -> Result<Pirq, Errno> {
        // SAFETY: the domain lives throughout the call, and no lock of Xen's that it takes is held.
        check_pirq(unsafe { msitrap_xen_map_msi(self.0, device.0, vectors) })
    }

    fn map_msix(&mut self, device: Sbdf, vector: u16) -> Result<Pirq, Errno> {
        // SAFETY: as for `map_msi`.
        check_pirq(unsafe { msitrap_xen_map_msix(self.0, device.0, vector) })
    }

    fn unmap(&mut self, pirq: Pirq) {
        // SAFETY: as for `map_msi`.
        unsafe { msitrap_xen_unmap(self.0, pirq.0.get()) }
    }

    fn bind(&mut self, pirq: Pirq, message: &BoundMessage) -> Result<(), Errno> {
        let raw = RawMessage {
            vector: message.vector(),
            destination: message.destination(),
            delivery_mode: message.delivery_mode() as u8,
            destination_logical: message.destination_logical().into(),
            redirection_hint: message.redirection_hint().into(),
        };
        // SAFETY: as for `map_msi`; `raw` is only read, within the call.
        check(unsafe { msitrap_xen_bind(self.0, pirq.0.get(), &raw) })
    }

    fn unbind(&mut self, pirq: Pirq) {
        // SAFETY: as for `map_msi`.
        unsafe { msitrap_xen_unbind(self.0, pirq.0.get()) }
    }

    fn set_masked(&mut self, pirq: Pirq, masked: bool) {
        // SAFETY: as for `map_msi`.
        unsafe { msitrap_xen_mask(self.0, pirq.0.get(), masked) }
    }

    fn reprogram(&mut self, pirq: Pirq) -> Result<(), Errno> {
        // SAFETY: as for `map_msi`.
        check(unsafe { msitrap_xen_reprogram(self.0, pirq.0.get()) })
    }

    fn allocate_table(&mut self, vectors: u16) -> Result<TableMemory, Errno> {
        let vectors = usize::from(vectors);
        let size = vectors.saturating_mul(const { size_of::<Entry>().wrapping_add(size_of::<Vector>()) });
        // SAFETY: a plain allocation.
        let memory = unsafe { msitrap_xen_alloc(size, align_of::<Entry>()) };
        let first = check_memory::<Entry>(memory)?;
        // SAFETY: within the allocation, and aligned: entries are 16 bytes long and vectors 8.
        let second = unsafe { first.add(vectors) }.cast::<Vector>();
        for index in 0..vectors {
            // SAFETY: within the first part of the allocation.
            let entry = unsafe { first.add(index) };
            // SAFETY: ours alone.
            unsafe { entry.write(Entry::RESET) };
            // SAFETY: within the second part of the allocation.
            let vector = unsafe { second.add(index) };
            // SAFETY: ours alone.
            unsafe { vector.write(Vector::UNUSED) };
        }
        Ok(TableMemory {
            // SAFETY: initialised, and nobody else's until `free_table`.
            entries: unsafe { slice::from_raw_parts_mut(first.as_ptr(), vectors) },
            // SAFETY: initialised, and nobody else's until `free_table`; the two do not overlap.
            vectors: unsafe { slice::from_raw_parts_mut(second.as_ptr(), vectors) },
        })
    }

    fn free_table(&mut self, memory: TableMemory) {
        // SAFETY: the entries begin the allocation, and with them and the vectors all of it is given up.
        unsafe { msitrap_xen_free(memory.entries.as_mut_ptr().cast()) }
    }

    fn open(&mut self, frames: Frames) -> Result<Window, Errno> {
        // SAFETY: a mapping of its own, of memory behind the device's base address registers.
        let mapping = unsafe { msitrap_xen_open(frames.first, frames.count()) };
        let mapping = check_memory::<u8>(mapping)?.as_ptr().expose_provenance();
        Ok(Window { frames, mapping })
    }

    fn close(&mut self, window: Window) {
        // SAFETY: it came from `open` and is given up.
        unsafe { msitrap_xen_close(core::ptr::with_exposed_provenance_mut(window.mapping)) }
    }

    fn read_memory(&mut self, window: &Window, address: u64, size: u8) -> u64 {
        let Some(at) = window.locate(address, size) else { return u64::MAX };
        // SAFETY: within a mapping that `open` made.
        unsafe { msitrap_xen_memory_read(core::ptr::with_exposed_provenance(at), size) }
    }

    fn write_memory(&mut self, window: &Window, address: u64, size: u8, value: u64) {
        let Some(at) = window.locate(address, size) else { return };
        // SAFETY: within a mapping that `open` made.
        unsafe { msitrap_xen_memory_write(core::ptr::with_exposed_provenance_mut(at), size, value) }
    }

    fn log(&mut self, device: Sbdf, text: &'static CStr, number: u64) {
        // SAFETY: `text` is terminated and lives for ever.
        unsafe { msitrap_xen_log(self.0, device.0, text.as_ptr(), number) }
    }
}

/// What a new guest starts as: copied from here, because it is larger than Xen's stack bears.
static EMPTY: Guest = Guest::empty();

/// Allocates what is kept for a guest; null when there is no memory.
#[unsafe(no_mangle)]
extern "C" fn msitrap_rs_guest_create() -> *mut Guest {
    // SAFETY: a plain allocation.
    let memory = unsafe { msitrap_xen_alloc(size_of::<Guest>(), align_of::<Guest>()) };
    let Some(guest) = NonNull::new(memory.cast::<Guest>()) else { return core::ptr::null_mut() };
    // SAFETY: the memory is ours, and of this size and alignment; `EMPTY` is never used, so the
    // copy is the one owner of the value.
    unsafe { guest.copy_from_nonoverlapping(NonNull::from(&EMPTY), 1) };
    guest.as_ptr()
}

/// Frees what is kept for a guest whose devices were all released and whose vCPUs are gone.
///
/// # Safety
/// Nobody uses `guest` during or after the call.
#[unsafe(no_mangle)]
unsafe extern "C" fn msitrap_rs_guest_destroy(guest: *mut Guest) {
    // SAFETY: it came from `msitrap_rs_guest_create`, and owns nothing else (`Guest` has no drop glue).
    unsafe { msitrap_xen_free(guest.cast()) }
}

const_assert!(!core::mem::needs_drop::<Guest>());

/// The guest behind a pointer of C's.
///
/// # Safety
/// The contract at the top of this file.
unsafe fn guest_at<'a>(guest: *const Guest) -> Option<&'a Guest> {
    // SAFETY: null, or alive by the contract; shared references only, the state is locked within.
    unsafe { guest.as_ref() }
}

/// Manages a device just assigned: 1, 0 when it has nothing to manage, or a negative errno.
///
/// # Safety
/// The contract at the top of this file.
#[unsafe(no_mangle)]
unsafe extern "C" fn msitrap_rs_manage(guest: *const Guest, domain: *mut Domain, sbdf: u32) -> c_int {
    // SAFETY: the contract.
    let Some(guest) = (unsafe { guest_at(guest) }) else { return 0 };
    match guest.manage(Sbdf(sbdf), &mut Xen(domain)) {
        Ok(managed) => managed.into(),
        Err(errno) => errno.0.saturating_neg(),
    }
}

/// Releases a device, if it is managed.
///
/// # Safety
/// The contract at the top of this file.
#[unsafe(no_mangle)]
unsafe extern "C" fn msitrap_rs_release(guest: *const Guest, domain: *mut Domain, sbdf: u32) {
    // SAFETY: the contract.
    if let Some(guest) = unsafe { guest_at(guest) } {
        guest.release(Sbdf(sbdf), &mut Xen(domain));
    }
}

fn decode(raw: RawAccess) -> Option<GuestAccess> {
    Some(GuestAccess {
        function: GuestFunction::from_bdf(raw.bdf)?,
        access: ConfigAccess::from_data_port(raw.register, raw.port, raw.size)?,
    })
}

/// The guest reads configuration space.
///
/// # Safety
/// The contract at the top of this file.
#[unsafe(no_mangle)]
unsafe extern "C" fn msitrap_rs_config_read(guest: *const Guest, domain: *mut Domain, raw: RawAccess) -> RawAnswer {
    // SAFETY: the contract.
    let answer = match (unsafe { guest_at(guest) }, decode(raw)) {
        (Some(guest), Some(access)) => guest.read(access, raw.mergeable != 0, &mut Xen(domain)),
        _ => Answer::FORWARD,
    };
    RawAnswer { value: answer.value, mask: answer.mask }
}

/// The guest writes configuration space; true when the device model must not see it.
///
/// # Safety
/// The contract at the top of this file.
#[unsafe(no_mangle)]
unsafe extern "C" fn msitrap_rs_config_write(
    guest: *const Guest,
    domain: *mut Domain,
    raw: RawAccess,
    value: u32,
) -> bool {
    // SAFETY: the contract.
    match (unsafe { guest_at(guest) }, decode(raw)) {
        (Some(guest), Some(access)) => guest.write(access, value, &mut Xen(domain)),
        _ => false,
    }
}

/// The device model mapped `count` frames of host memory into the guest.
///
/// # Safety
/// The contract at the top of this file.
#[unsafe(no_mangle)]
unsafe extern "C" fn msitrap_rs_mapped(
    guest: *const Guest,
    domain: *mut Domain,
    guest_frame: u64,
    machine_frame: u64,
    count: u64,
) {
    // SAFETY: the contract.
    if let Some(guest) = unsafe { guest_at(guest) } {
        guest.mapped(&Mapping { guest_frame, machine_frame, count }, &mut Xen(domain));
    }
}

/// Whether Xen answers for the guest's memory at `address`.
///
/// # Safety
/// The contract at the top of this file.
#[unsafe(no_mangle)]
unsafe extern "C" fn msitrap_rs_answers(guest: *const Guest, address: u64) -> bool {
    // SAFETY: the contract.
    unsafe { guest_at(guest) }.is_some_and(|guest| guest.answers(address))
}

/// The guest reads `size` bytes of memory at `address`.
///
/// # Safety
/// The contract at the top of this file.
#[unsafe(no_mangle)]
unsafe extern "C" fn msitrap_rs_memory_read(
    guest: *const Guest,
    domain: *mut Domain,
    address: u64,
    size: u8,
) -> RawMemory {
    // SAFETY: the contract.
    let value = unsafe { guest_at(guest) }.and_then(|guest| guest.read_memory(address, size, &mut Xen(domain)));
    RawMemory { value: value.unwrap_or(u64::MAX), answered: value.is_some() }
}

/// The guest writes `size` bytes of memory at `address`; true when the device model must not see
/// it.
///
/// # Safety
/// The contract at the top of this file.
#[unsafe(no_mangle)]
unsafe extern "C" fn msitrap_rs_memory_write(
    guest: *const Guest,
    domain: *mut Domain,
    address: u64,
    size: u8,
    value: u64,
) -> bool {
    // SAFETY: the contract.
    unsafe { guest_at(guest) }.is_some_and(|guest| guest.write_memory(address, size, value, &mut Xen(domain)))
}

/// Of `count` frames of host memory from `first`: how many in a row may be mapped into the guest,
/// or may not.
///
/// # Safety
/// The contract at the top of this file.
#[unsafe(no_mangle)]
unsafe extern "C" fn msitrap_rs_mappable(guest: *const Guest, first: u64, count: u64) -> RawRun {
    // SAFETY: the contract.
    match unsafe { guest_at(guest) }.map(|guest| guest.mappable(first, count)) {
        Some(run) => RawRun { length: run.length, mappable: run.mappable },
        None => RawRun { length: count, mappable: true },
    }
}

/// Dom0 writes `size` bytes at `offset` of a device's configuration space; false when the write
/// must not happen, or did already, else `value` holds what is left of it.
///
/// # Safety
/// The contract at the top of this file; `value` is readable and writable.
#[unsafe(no_mangle)]
unsafe extern "C" fn msitrap_rs_host_write(
    guest: *const Guest,
    domain: *mut Domain,
    sbdf: u32,
    offset: u16,
    size: u8,
    value: &mut u32,
) -> bool {
    // SAFETY: the contract.
    let Some(guest) = (unsafe { guest_at(guest) }) else { return true };
    let Some(access) = ConfigAccess::at(offset, size) else { return true };
    match guest.host_write(Sbdf(sbdf), access, *value, &mut Xen(domain)) {
        Some(kept) => {
            *value = kept;
            true
        }
        None => false,
    }
}

/// The device may have lost what it was told: it is told again.
///
/// # Safety
/// The contract at the top of this file.
#[unsafe(no_mangle)]
unsafe extern "C" fn msitrap_rs_restore(guest: *const Guest, domain: *mut Domain, sbdf: u32) {
    // SAFETY: the contract.
    if let Some(guest) = unsafe { guest_at(guest) } {
        guest.restore(Sbdf(sbdf), &mut Xen(domain));
    }
}

/// The host slept, and all devices may have lost what they were told.
///
/// # Safety
/// The contract at the top of this file.
#[unsafe(no_mangle)]
unsafe extern "C" fn msitrap_rs_resume(guest: *const Guest, domain: *mut Domain) {
    // SAFETY: the contract.
    if let Some(guest) = unsafe { guest_at(guest) } {
        guest.resume(&mut Xen(domain));
    }
}

/// Somebody tried what is refused: `attempt` is one of `enum msitrap_attempt`, `caller` the number
/// of the domain.
///
/// # Safety
/// The contract at the top of this file.
#[unsafe(no_mangle)]
unsafe extern "C" fn msitrap_rs_refuse(guest: *const Guest, domain: *mut Domain, sbdf: u32, attempt: u8, caller: u16) {
    // SAFETY: the contract.
    if let (Some(guest), Some(attempt)) = (unsafe { guest_at(guest) }, Attempt::from_number(attempt)) {
        guest.refuse(Sbdf(sbdf), attempt, caller.into(), &mut Xen(domain));
    }
}

/// Required by the language; the link gate proves that nothing reaches it.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}
