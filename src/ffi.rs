// SPDX-License-Identifier: GPL-2.0-only
//! The boundary to C: every symbol, and all that is unsafe but the types of [`crate::memory`].
//!
//! `msitrap_rs_*` are called by the shim (Xen's `arch/x86/hvm/msitrap.c`), `msitrap_xen_*` are
//! its services. The prototypes stand in Xen's `asm/hvm/msitrap.h`; both sides assert the
//! layouts they share.
//!
//! Contract of every `msitrap_rs_*` function: `guest` is null or came from
//! [`msitrap_rs_guest_create`] and was not yet destroyed; `domain` is the guest's domain and
//! lives throughout the call; the lock rules of [`crate::host::guest`] hold.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::ffi::{c_char, c_int, c_void};
use core::mem::offset_of;
use core::num::NonZeroI32;
use core::panic::PanicInfo;
use core::ptr::NonNull;

use lock_api::{GuardNoSend, RawMutex};
use static_assertions::{const_assert, const_assert_eq};
use x86_64::PhysAddr;

use crate::core::access::ConfigAccess;
use crate::core::address::{GuestFunction, Sbdf};
use crate::core::layout::Frames;
use crate::core::learn::{HostBar, Mapping};
use crate::core::message::BoundMessage;
use crate::core::power::PowerRegisters;
use crate::core::spec::BAR_COUNT;
use crate::core::table::Entry;
use crate::core::trust::Distrust;
use crate::host::budget::Budget;
use crate::host::guest::{Guest, GuestAccess};
use crate::host::hardware::{Detail, Errno, Hardware, Line, Pirq, TableMemory};
use crate::host::managed::{Answer, Known, KnownMsi, KnownMsix, Outcome};
use crate::host::msix::Vector;
use crate::host::refusals::Attempt;
use crate::memory::{Owned, Window};

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

/// What Xen knows of a device: `struct msitrap_device`.
#[repr(C)]
pub struct RawDevice {
    table_first: u64,
    table_last: u64,
    pba_first: u64,
    pba_last: u64,
    sbdf: u32,
    physical: u32,
    msi: u16,
    msix: u16,
    msix_vectors: u16,
    power: u16,
    express: u16,
    features: u16,
    msi_vectors: u8,
    msi_mappable: u8,
    bound: u8,
    function: u8,
    table: u32,
    reserved: u32,
}

/// An answer to a read of memory: `struct msitrap_memory`.
#[repr(C)]
pub struct RawMemory {
    value: u64,
    answered: bool,
}

/// The guest's lock, a `spinlock_t` of Xen's and what its checks need: `struct msitrap_lock`.
#[repr(transparent)]
pub struct XenLock(UnsafeCell<[u64; 4]>);

/// A guest whose lock is Xen's.
pub type XenGuest = Guest<XenLock>;

const_assert_eq!(size_of::<RawAccess>(), 8);
const_assert_eq!(offset_of!(RawAccess, bdf), 0);
const_assert_eq!(offset_of!(RawAccess, register), 2);
const_assert_eq!(offset_of!(RawAccess, port), 4);
const_assert_eq!(offset_of!(RawAccess, size), 6);
const_assert_eq!(offset_of!(RawAccess, mergeable), 7);
const_assert_eq!(size_of::<RawAnswer>(), 8);
const_assert_eq!(offset_of!(RawAnswer, value), 0);
const_assert_eq!(offset_of!(RawAnswer, mask), 4);
const_assert_eq!(size_of::<RawMessage>(), 5);
const_assert_eq!(offset_of!(RawMessage, vector), 0);
const_assert_eq!(offset_of!(RawMessage, destination), 1);
const_assert_eq!(offset_of!(RawMessage, delivery_mode), 2);
const_assert_eq!(offset_of!(RawMessage, destination_logical), 3);
const_assert_eq!(offset_of!(RawMessage, redirection_hint), 4);
const_assert_eq!(size_of::<RawBar>(), 24);
const_assert_eq!(offset_of!(RawBar, address), 0);
const_assert_eq!(offset_of!(RawBar, size), 8);
const_assert_eq!(offset_of!(RawBar, is_64bit), 16);
const_assert_eq!(size_of::<RawDevice>(), 64);
const_assert_eq!(offset_of!(RawDevice, table_first), 0);
const_assert_eq!(offset_of!(RawDevice, table_last), 8);
const_assert_eq!(offset_of!(RawDevice, pba_first), 16);
const_assert_eq!(offset_of!(RawDevice, pba_last), 24);
const_assert_eq!(offset_of!(RawDevice, sbdf), 32);
const_assert_eq!(offset_of!(RawDevice, physical), 36);
const_assert_eq!(offset_of!(RawDevice, msi), 40);
const_assert_eq!(offset_of!(RawDevice, msix), 42);
const_assert_eq!(offset_of!(RawDevice, msix_vectors), 44);
const_assert_eq!(offset_of!(RawDevice, power), 46);
const_assert_eq!(offset_of!(RawDevice, express), 48);
const_assert_eq!(offset_of!(RawDevice, features), 50);
const_assert_eq!(offset_of!(RawDevice, msi_vectors), 52);
const_assert_eq!(offset_of!(RawDevice, msi_mappable), 53);
const_assert_eq!(offset_of!(RawDevice, bound), 54);
const_assert_eq!(offset_of!(RawDevice, function), 55);
const_assert_eq!(offset_of!(RawDevice, table), 56);
const_assert_eq!(offset_of!(RawDevice, reserved), 60);
const_assert_eq!(size_of::<RawMemory>(), 16);
const_assert_eq!(offset_of!(RawMemory, value), 0);
const_assert_eq!(offset_of!(RawMemory, answered), 8);
const_assert_eq!(size_of::<XenLock>(), 32);
// One allocation per guest with managed devices, from Xen's heap.
const_assert!(size_of::<XenGuest>() <= 28 * 1024);

unsafe extern "C" {
    fn msitrap_xen_alloc(size: usize, align: usize) -> *mut c_void;
    fn msitrap_xen_free(memory: *mut c_void);
    fn msitrap_xen_lock_init(lock: *mut c_void, domain: *mut Domain);
    fn msitrap_xen_lock(lock: *mut c_void);
    fn msitrap_xen_unlock(lock: *mut c_void);
    fn msitrap_xen_log(
        domain: *const Domain,
        sbdf: u32,
        warning: bool,
        text: *const c_char,
        form: u8,
        number: u64,
    );
    fn msitrap_xen_config_read(sbdf: u32, register: u16) -> u32;
    fn msitrap_xen_config_write(sbdf: u32, offset: u16, size: u8, value: u32);
    fn msitrap_xen_bars(domain: *const Domain, sbdf: u32, bars: *mut RawBar);
    fn msitrap_xen_check_frames(domain: *const Domain, sbdf: u32, first: u64, last: u64) -> c_int;
    fn msitrap_xen_map_msi(domain: *mut Domain, sbdf: u32, vectors: u8) -> c_int;
    fn msitrap_xen_map_msix(domain: *mut Domain, sbdf: u32, vector: u16) -> c_int;
    fn msitrap_xen_unmap(domain: *mut Domain, pirq: c_int);
    fn msitrap_xen_bind(domain: *mut Domain, pirq: c_int, message: *const RawMessage) -> c_int;
    fn msitrap_xen_unbind(domain: *mut Domain, pirq: c_int);
    fn msitrap_xen_mask(domain: *mut Domain, pirq: c_int, masked: bool);
    fn msitrap_xen_reprogram(domain: *mut Domain, pirq: c_int) -> c_int;
    fn msitrap_xen_set_away(domain: *mut Domain, sbdf: u32, away: bool) -> bool;
    fn msitrap_xen_open(frame: u64, count: u64) -> *mut c_void;
    fn msitrap_xen_close(mapping: *mut c_void);
    fn msitrap_xen_memory_read(at: *const c_void, size: u8) -> u64;
    fn msitrap_xen_memory_write(at: *mut c_void, size: u8, value: u64);
    fn msitrap_xen_now() -> u64;
    fn msitrap_xen_settle_at(domain: *mut Domain, sbdf: u32, time: u64);
    fn msitrap_xen_settle_soon(domain: *mut Domain, sbdf: u32);
}

// SAFETY: the lock within is Xen's, made for several processors.
unsafe impl Sync for XenLock {}
// SAFETY: a lock that nobody holds may go anywhere.
unsafe impl Send for XenLock {}

impl XenLock {
    /// Makes it a lock of a domain's.
    ///
    /// # Safety
    /// Nobody uses it yet, it stays where it is, and the domain outlives it.
    unsafe fn init(&self, domain: *mut Domain) {
        // SAFETY: the contract.
        unsafe { msitrap_xen_lock_init(self.0.get().cast(), domain) }
    }
}

// SAFETY: Xen's spin locks exclude each other's holders.
unsafe impl RawMutex for XenLock {
    // Not a lock yet: `init` makes it one.
    #[allow(clippy::declare_interior_mutable_const)]
    const INIT: Self = Self(UnsafeCell::new([0; 4]));

    type GuardMarker = GuardNoSend;

    fn lock(&self) {
        // SAFETY: initialised, as every guest's is when it is created.
        unsafe { msitrap_xen_lock(self.0.get().cast()) };
        // Nothing behind the lock is done speculatively, even where the return from the call above
        // was mispredicted (Xen's block_lock_speculation). SAFETY: waits for what came before, and
        // changes nothing.
        unsafe { asm!("lfence", options(nostack, preserves_flags)) };
    }

    fn try_lock(&self) -> bool {
        // Nobody tries: every holder lets go soon.
        false
    }

    unsafe fn unlock(&self) {
        // SAFETY: held by the caller.
        unsafe { msitrap_xen_unlock(self.0.get().cast()) }
    }
}

/// Xen, for the devices of one domain, within one hold of the lock.
struct Xen {
    domain: *mut Domain,
    budget: Budget,
    /// When the hold began, in nanoseconds; None when its length does not matter.
    begin: Option<u64>,
}

impl Xen {
    fn of(domain: *mut Domain) -> Self {
        Self { domain, budget: Budget::access(), begin: Some(now()) }
    }
}

fn now() -> u64 {
    // SAFETY: reads a clock.
    unsafe { msitrap_xen_now() }
}

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

/// Gives back memory of Xen's heap.
unsafe fn free<T>(start: NonNull<T>, _: usize) {
    // SAFETY: it came from `allocate`, once.
    unsafe { msitrap_xen_free(start.as_ptr().cast()) }
}

/// Elements in memory of Xen's heap, each a copy of `element`.
fn allocate<T: Copy>(length: usize, element: T) -> Result<Owned<T>, Errno> {
    let size = length.checked_mul(size_of::<T>()).ok_or(Errno::NO_MEMORY)?;
    // SAFETY: a plain allocation.
    let memory = unsafe { msitrap_xen_alloc(size, align_of::<T>()) };
    let start = NonNull::new(memory.cast::<T>()).ok_or(Errno::NO_MEMORY)?;
    for index in 0..length {
        // SAFETY: within the allocation.
        let place = unsafe { start.add(index) };
        // SAFETY: ours alone.
        unsafe { place.write(element) };
    }
    // SAFETY: all of them are initialised, and nobody else's.
    Ok(unsafe { Owned::new(start, length, free) })
}

impl Hardware for Xen {
    fn budget(&mut self) -> &mut Budget {
        if let Some(begin) = self.begin {
            self.budget.pass(now().saturating_sub(begin));
        }
        &mut self.budget
    }

    fn read_config(&mut self, device: Sbdf, register: u16) -> u32 {
        // SAFETY: reads a register of a function that exists while it is managed.
        unsafe { msitrap_xen_config_read(device.0, register) }
    }

    fn write_config(&mut self, device: Sbdf, offset: u16, size: u8, value: u32) {
        // SAFETY: writes a register of a function that exists while it is managed.
        unsafe { msitrap_xen_config_write(device.0, offset, size, value) }
    }

    fn bars(&mut self, device: Sbdf) -> [Option<HostBar>; BAR_COUNT] {
        let mut bars = [const { RawBar { address: 0, size: 0, is_64bit: 0 } }; BAR_COUNT];
        // SAFETY: the domain lives throughout the call, and `bars` is written within it.
        unsafe { msitrap_xen_bars(self.domain, device.0, bars.as_mut_ptr()) };
        bars.map(|bar| {
            (bar.size != 0).then(|| HostBar {
                address: PhysAddr::new_truncate(bar.address),
                size: bar.size,
                is_64bit: bar.is_64bit != 0,
            })
        })
    }

    fn check_frames(&mut self, device: Sbdf, frames: Frames) -> Result<(), Distrust> {
        // SAFETY: the domain lives throughout the call.
        match unsafe { msitrap_xen_check_frames(self.domain, device.0, frames.first, frames.last) }
        {
            0 => Ok(()),
            2 => Err(Distrust::Ram),
            3 => Err(Distrust::XensOwn),
            4 => Err(Distrust::OthersTable),
            _ => Err(Distrust::NotGranted),
        }
    }

    fn map_msi(&mut self, device: Sbdf, vectors: u8) -> Result<Pirq, Errno> {
        // SAFETY: the domain lives throughout the call, and no lock of Xen's that it takes is held.
        check_pirq(unsafe { msitrap_xen_map_msi(self.domain, device.0, vectors) })
    }

    fn map_msix(&mut self, device: Sbdf, vector: u16) -> Result<Pirq, Errno> {
        // SAFETY: as for `map_msi`.
        check_pirq(unsafe { msitrap_xen_map_msix(self.domain, device.0, vector) })
    }

    fn unmap(&mut self, pirq: Pirq) {
        // SAFETY: as for `map_msi`.
        unsafe { msitrap_xen_unmap(self.domain, pirq.0.get()) }
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
        check(unsafe { msitrap_xen_bind(self.domain, pirq.0.get(), &raw) })
    }

    fn unbind(&mut self, pirq: Pirq) {
        // SAFETY: as for `map_msi`.
        unsafe { msitrap_xen_unbind(self.domain, pirq.0.get()) }
    }

    fn set_masked(&mut self, pirq: Pirq, masked: bool) {
        // SAFETY: as for `map_msi`.
        unsafe { msitrap_xen_mask(self.domain, pirq.0.get(), masked) }
    }

    fn reprogram(&mut self, pirq: Pirq) -> Result<(), Errno> {
        // SAFETY: as for `map_msi`.
        check(unsafe { msitrap_xen_reprogram(self.domain, pirq.0.get()) })
    }

    fn set_away(&mut self, device: Sbdf, away: bool) -> bool {
        // SAFETY: as for `map_msi`.
        unsafe { msitrap_xen_set_away(self.domain, device.0, away) }
    }

    fn allocate_table(&mut self, vectors: u16) -> Result<TableMemory, Errno> {
        let entries = allocate(vectors.into(), Entry::RESET)?;
        let vectors = allocate(vectors.into(), Vector::UNUSED)?;
        Ok(TableMemory { entries, vectors })
    }

    fn open(&mut self, frames: Frames) -> Result<Window, Errno> {
        // SAFETY: a mapping of its own, of frames that are a device's.
        let mapping = unsafe { msitrap_xen_open(frames.first, frames.count()) };
        let mapping = NonNull::new(mapping).ok_or(Errno::NO_MEMORY)?.as_ptr().expose_provenance();
        // SAFETY: just mapped, and `close` takes it back.
        Ok(unsafe { Window::new(frames, mapping) })
    }

    fn close(&mut self, window: Window) {
        // SAFETY: it came from `open` and is given up.
        unsafe { msitrap_xen_close(core::ptr::with_exposed_provenance_mut(window.mapping())) }
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

    fn now(&mut self) -> u64 {
        now()
    }

    fn settle_at(&mut self, device: Sbdf, time: u64) {
        // SAFETY: as for `map_msi`.
        unsafe { msitrap_xen_settle_at(self.domain, device.0, time) }
    }

    fn settle_soon(&mut self, device: Sbdf) {
        // SAFETY: as for `map_msi`.
        unsafe { msitrap_xen_settle_soon(self.domain, device.0) }
    }

    fn log(&mut self, device: Sbdf, line: Line) {
        let (form, number) = match line.detail {
            Detail::None => (0, 0),
            Detail::Value(number) => (1, number),
            Detail::Number(number) => (2, number),
            Detail::Domain(domain) => (3, domain.into()),
        };
        // SAFETY: `text` is terminated and lives for ever.
        unsafe {
            msitrap_xen_log(self.domain, device.0, line.warning, line.text.as_ptr(), form, number)
        }
    }
}

/// What a new guest starts as: copied from here, because it is larger than Xen's stack bears.
static EMPTY: XenGuest = Guest::empty();

/// Allocates what is kept for a guest; null when there is no memory.
///
/// # Safety
/// `domain` is the guest's, and outlives what this returns.
#[unsafe(no_mangle)]
unsafe extern "C" fn msitrap_rs_guest_create(domain: *mut Domain) -> *mut XenGuest {
    // SAFETY: a plain allocation.
    let memory = unsafe { msitrap_xen_alloc(size_of::<XenGuest>(), align_of::<XenGuest>()) };
    let Some(guest) = NonNull::new(memory.cast::<XenGuest>()) else { return core::ptr::null_mut() };
    // SAFETY: the memory is ours, and of this size and alignment; `EMPTY` is never used, so the
    // copy is the one owner of the value.
    unsafe { guest.copy_from_nonoverlapping(NonNull::from(&EMPTY), 1) };
    // SAFETY: just written, and nobody else's yet.
    let lock = unsafe { guest.as_ref() }.lock();
    // SAFETY: it is not locked or unlocked through this.
    let raw = unsafe { lock.raw() };
    // SAFETY: nobody uses it yet, and the contract.
    unsafe { raw.init(domain) };
    guest.as_ptr()
}

/// Frees what is kept for a guest whose devices were all released and whose vCPUs are gone.
///
/// # Safety
/// Nobody uses `guest` during or after the call.
#[unsafe(no_mangle)]
unsafe extern "C" fn msitrap_rs_guest_destroy(guest: *mut XenGuest) {
    // SAFETY: it came from `msitrap_rs_guest_create`, and is the last use.
    unsafe { guest.drop_in_place() };
    // SAFETY: as above.
    unsafe { msitrap_xen_free(guest.cast()) }
}

/// The guest behind a pointer of C's.
///
/// # Safety
/// The contract at the top of this file.
unsafe fn guest_at<'a>(guest: *const XenGuest) -> Option<&'a XenGuest> {
    // SAFETY: null, or alive by the contract; shared references only, the state is locked within.
    unsafe { guest.as_ref() }
}

impl RawDevice {
    fn known(&self) -> Known {
        let frames = [
            Frames { first: self.table_first, last: self.table_last },
            Frames { first: self.pba_first, last: self.pba_last },
        ];
        Known {
            sbdf: Sbdf(self.sbdf),
            physical: (self.physical != u32::MAX).then_some(Sbdf(self.physical)),
            msi: (self.msi != 0).then_some(KnownMsi {
                position: self.msi,
                vectors: self.msi_vectors,
                mappable: self.msi_mappable,
            }),
            msix: (self.msix != 0).then_some(KnownMsix {
                position: self.msix,
                vectors: self.msix_vectors,
                table: self.table,
                frames: (self.table_first != 0).then_some(frames),
            }),
            power: PowerRegisters {
                power: self.power,
                express: self.express,
                features: self.features,
            },
            function: (self.bound != 0).then_some(GuestFunction(self.function)),
        }
    }
}

/// Manages a device that is about to be assigned: 1, 0 when it has nothing to manage, or a negative
/// errno.
///
/// # Safety
/// The contract at the top of this file; `device` can be read.
#[unsafe(no_mangle)]
unsafe extern "C" fn msitrap_rs_manage(
    guest: *const XenGuest,
    domain: *mut Domain,
    device: &RawDevice,
) -> c_int {
    // SAFETY: the contract.
    let Some(guest) = (unsafe { guest_at(guest) }) else { return 0 };
    match guest.manage(&device.known(), &mut Xen::of(domain)) {
        Ok(managed) => managed.into(),
        Err(errno) => errno.0.saturating_neg(),
    }
}

/// Turns a device off before the guest loses it; true when there is more to do.
///
/// # Safety
/// The contract at the top of this file.
#[unsafe(no_mangle)]
unsafe extern "C" fn msitrap_rs_quiesce(
    guest: *const XenGuest,
    domain: *mut Domain,
    sbdf: u32,
) -> bool {
    // SAFETY: the contract.
    unsafe { guest_at(guest) }.is_some_and(|guest| guest.quiesce(Sbdf(sbdf), &mut Xen::of(domain)))
}

/// Forgets a device that is quiesced.
///
/// # Safety
/// The contract at the top of this file.
#[unsafe(no_mangle)]
unsafe extern "C" fn msitrap_rs_release(guest: *const XenGuest, domain: *mut Domain, sbdf: u32) {
    // SAFETY: the contract.
    if let Some(guest) = unsafe { guest_at(guest) } {
        guest.release(Sbdf(sbdf), &mut Xen::of(domain));
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
unsafe extern "C" fn msitrap_rs_config_read(
    guest: *const XenGuest,
    domain: *mut Domain,
    raw: RawAccess,
) -> RawAnswer {
    // SAFETY: the contract.
    let answer = match (unsafe { guest_at(guest) }, decode(raw)) {
        (Some(guest), Some(access)) => guest.read(access, raw.mergeable != 0, &mut Xen::of(domain)),
        _ => Answer::FORWARD,
    };
    RawAnswer { value: answer.value, mask: answer.mask }
}

/// The guest writes configuration space: an [`Outcome`].
///
/// # Safety
/// The contract at the top of this file.
#[unsafe(no_mangle)]
unsafe extern "C" fn msitrap_rs_config_write(
    guest: *const XenGuest,
    domain: *mut Domain,
    raw: RawAccess,
    value: u32,
) -> u8 {
    // SAFETY: the contract.
    let outcome = match (unsafe { guest_at(guest) }, decode(raw)) {
        (Some(guest), Some(access)) => guest.write(access, value, &mut Xen::of(domain)),
        _ => Outcome::Forward,
    };
    outcome as u8
}

/// The device model mapped `count` frames of host memory into the guest.
///
/// # Safety
/// The contract at the top of this file.
#[unsafe(no_mangle)]
unsafe extern "C" fn msitrap_rs_mapped(
    guest: *const XenGuest,
    domain: *mut Domain,
    guest_frame: u64,
    machine_frame: u64,
    count: u64,
) {
    // SAFETY: the contract.
    if let Some(guest) = unsafe { guest_at(guest) } {
        guest.mapped(&Mapping { guest_frame, machine_frame, count }, &mut Xen::of(domain));
    }
}

/// Whether Xen answers for the guest's memory at `address`.
///
/// # Safety
/// The contract at the top of this file.
#[unsafe(no_mangle)]
unsafe extern "C" fn msitrap_rs_answers(guest: *const XenGuest, address: u64) -> bool {
    // SAFETY: the contract.
    unsafe { guest_at(guest) }.is_some_and(|guest| guest.answers(address))
}

/// The guest reads `size` bytes of memory at `address`.
///
/// # Safety
/// The contract at the top of this file.
#[unsafe(no_mangle)]
unsafe extern "C" fn msitrap_rs_memory_read(
    guest: *const XenGuest,
    domain: *mut Domain,
    address: u64,
    size: u8,
) -> RawMemory {
    // SAFETY: the contract.
    let value = unsafe { guest_at(guest) }
        .and_then(|guest| guest.read_memory(address, size, &mut Xen::of(domain)));
    RawMemory { value: value.unwrap_or(u64::MAX), answered: value.is_some() }
}

/// The guest writes `size` bytes of memory at `address`: an [`Outcome`].
///
/// # Safety
/// The contract at the top of this file.
#[unsafe(no_mangle)]
unsafe extern "C" fn msitrap_rs_memory_write(
    guest: *const XenGuest,
    domain: *mut Domain,
    address: u64,
    size: u8,
    value: u64,
) -> u8 {
    // SAFETY: the contract.
    let guest = unsafe { guest_at(guest) };
    let write = |guest: &XenGuest| guest.write_memory(address, size, value, &mut Xen::of(domain));
    guest.map_or(Outcome::Forward, write) as u8
}

/// Dom0 writes `size` bytes at `offset` of a device's configuration space: an [`Outcome`].
///
/// # Safety
/// The contract at the top of this file.
#[unsafe(no_mangle)]
unsafe extern "C" fn msitrap_rs_host_write(
    guest: *const XenGuest,
    domain: *mut Domain,
    sbdf: u32,
    offset: u16,
    size: u8,
    value: u32,
) -> u8 {
    // SAFETY: the contract.
    let Some(guest) = (unsafe { guest_at(guest) }) else { return Outcome::Gone as u8 };
    let Some(access) = ConfigAccess::at(offset, size) else { return Outcome::Refused as u8 };
    guest.host_write(Sbdf(sbdf), access, value, &mut Xen::of(domain)) as u8
}

/// Goes on with what could not be finished for a device: an [`Outcome`].
///
/// # Safety
/// The contract at the top of this file.
#[unsafe(no_mangle)]
unsafe extern "C" fn msitrap_rs_settle(
    guest: *const XenGuest,
    domain: *mut Domain,
    sbdf: u32,
) -> u8 {
    // SAFETY: the contract.
    let more = unsafe { guest_at(guest) }
        .is_some_and(|guest| guest.settle(Sbdf(sbdf), &mut Xen::of(domain)));
    let outcome = if more { Outcome::Retry } else { Outcome::Done };
    outcome as u8
}

/// The device may have lost what it was programmed with; `msitrap_rs_settle` goes on with it.
///
/// # Safety
/// The contract at the top of this file.
#[unsafe(no_mangle)]
unsafe extern "C" fn msitrap_rs_restore(guest: *const XenGuest, domain: *mut Domain, sbdf: u32) {
    // SAFETY: the contract.
    if let Some(guest) = unsafe { guest_at(guest) } {
        guest.restore(Sbdf(sbdf), &mut Xen::of(domain));
    }
}

/// The host slept, and all devices may have lost what they were programmed with; no domain runs.
///
/// # Safety
/// The contract at the top of this file.
#[unsafe(no_mangle)]
unsafe extern "C" fn msitrap_rs_resume(guest: *const XenGuest, domain: *mut Domain) {
    // SAFETY: the contract.
    if let Some(guest) = unsafe { guest_at(guest) } {
        guest.resume(&mut Xen { domain, budget: Budget::resume(), begin: None });
    }
}

/// Stops a device's DMA; false when it is not managed.
///
/// # Safety
/// The contract at the top of this file.
#[unsafe(no_mangle)]
unsafe extern "C" fn msitrap_rs_stop_dma(
    guest: *const XenGuest,
    domain: *mut Domain,
    sbdf: u32,
) -> bool {
    // SAFETY: the contract.
    unsafe { guest_at(guest) }.is_some_and(|guest| guest.stop_dma(Sbdf(sbdf), &mut Xen::of(domain)))
}

/// Somebody tried what is refused: `attempt` is one of `enum msitrap_attempt`, `caller` the number
/// of the domain.
///
/// # Safety
/// The contract at the top of this file.
#[unsafe(no_mangle)]
unsafe extern "C" fn msitrap_rs_refuse(
    guest: *const XenGuest,
    domain: *mut Domain,
    sbdf: u32,
    attempt: u8,
    caller: u16,
) {
    // SAFETY: the contract.
    let guest = unsafe { guest_at(guest) };
    if let (Some(guest), Some(attempt)) = (guest, Attempt::from_number(attempt)) {
        guest.refuse(Sbdf(sbdf), attempt, caller, &mut Xen::of(domain));
    }
}

/// Required by the language; the link gate proves that nothing reaches it.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}
