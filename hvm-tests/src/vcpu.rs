// SPDX-License-Identifier: GPL-2.0-only
//! The two vCPUs: the first runs the test, the second takes interrupts, and now and then works
//! beside the first.

use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, Ordering};

use x86_64::instructions::interrupts::{enable, enable_and_hlt, without_interrupts};

use crate::{apic, hypervisor, report, tables, time};

/// How many vCPUs the framework can use.
pub const COUNT: usize = 2;

/// Below 1 MiB, where a start-up IPI can point.
const START: usize = 0x8000;
/// A vCPU that shows no sign of life in this time has none. Time goes on while the host runs
/// something else, so this is long: all waits for another vCPU end with its first sign.
pub const PATIENCE_MS: u64 = 60_000;

static SECOND_RUNS: AtomicBool = AtomicBool::new(false);
static SECOND_ID: AtomicU8 = AtomicU8::new(0);

/// What the second vCPU repeats; it may use what both may use at once.
type Work<'a> = &'a (dyn Fn() + Sync);

/// The `Work` that the second vCPU is to repeat, or null.
static WORK: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());
/// The `Work` that the second vCPU began last, or null since it found none.
static BEGUN: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());
/// Whether the second vCPU may use what `WORK` was: set before it looks there, cleared after it
/// found null.
static BUSY: AtomicBool = AtomicBool::new(false);

unsafe extern "C" {
    static trampoline: u8;
    static trampoline_end: u8;
}

/// The number of the calling vCPU: 0 or 1.
pub fn index() -> usize {
    usize::from(
        SECOND_RUNS.load(Ordering::Acquire) && apic::id() == SECOND_ID.load(Ordering::Relaxed),
    )
}

/// Starts the second vCPU unless it runs; the APIC IDs of both. Without one the test ends in an
/// error.
pub fn start() -> Option<[u8; COUNT]> {
    let first = apic::id();
    let runs = SECOND_RUNS.load(Ordering::Acquire);
    let second = if runs { Some(SECOND_ID.load(Ordering::Relaxed)) } else { start_second() };
    if second.is_none() {
        report::error(format_args!("the second vCPU does not start"));
    }
    second.map(|second| [first, second])
}

fn start_second() -> Option<u8> {
    let length = &raw const trampoline_end as usize - &raw const trampoline as usize;
    // SAFETY: low memory is RAM that nothing else uses.
    unsafe { ptr::copy_nonoverlapping(&raw const trampoline, START as *mut u8, length) };
    apic::set_logical_id(1);
    apic::send_init();
    time::wait(10);
    apic::send_start_up((START >> 12) as u8);
    let runs = time::until(PATIENCE_MS, || SECOND_RUNS.load(Ordering::Acquire));
    runs.then(|| SECOND_ID.load(Ordering::Relaxed))
}

/// Where the assembly calls Rust on the second vCPU.
#[unsafe(no_mangle)]
extern "C" fn second_vcpu() -> ! {
    tables::load(1);
    SECOND_ID.store(apic::id(), Ordering::Relaxed);
    apic::enable();
    apic::set_logical_id(2);
    SECOND_RUNS.store(true, Ordering::Release);
    enable();
    loop {
        // In this order: `beside` takes the work away first, and looks whether it is in use
        // afterwards.
        BUSY.store(true, Ordering::SeqCst);
        let work = WORK.load(Ordering::SeqCst);
        BEGUN.store(work, Ordering::Release);
        // SAFETY: `beside` keeps the work until this vCPU is not busy any more.
        match unsafe { work.cast::<Work>().as_ref() } {
            Some(work) => work(),
            None => {
                BUSY.store(false, Ordering::Release);
                enable_and_hlt();
            }
        }
    }
}

/// The second vCPU, which must run, repeats `work` while the first does what `meanwhile` says.
pub fn beside(work: Work, meanwhile: impl FnOnce()) {
    WORK.store((&raw const work).cast_mut().cast(), Ordering::SeqCst);
    if time::until(PATIENCE_MS, || !BEGUN.load(Ordering::Acquire).is_null()) {
        meanwhile();
    } else {
        report::error(format_args!("the second vCPU does not work"));
    }
    WORK.store(ptr::null_mut(), Ordering::SeqCst);
    while BUSY.load(Ordering::SeqCst) || !BEGUN.load(Ordering::Acquire).is_null() {
        hypervisor::give_way();
    }
}

/// Does `action` while no vCPU takes interrupts, nor so much as looks at its local APIC.
pub fn undisturbed(action: impl FnOnce()) {
    if !SECOND_RUNS.load(Ordering::Acquire) {
        return without_interrupts(action);
    }
    let [held, over] = [const { AtomicBool::new(false) }; 2];
    let hold = || {
        without_interrupts(|| {
            held.store(true, Ordering::Release);
            wait_for(&over);
        });
    };
    beside(&hold, || {
        wait_for(&held);
        without_interrupts(action);
        over.store(true, Ordering::Release);
    });
}

/// Does `action`, which changes where memory of devices is, with the other vCPU still.
///
/// QEMU may take an access that another vCPU makes at that moment for one to some other memory. If
/// that was the end of an interrupt, the vCPU takes no more. Under Xen nothing of QEMU's moves, and
/// whoever works beside the first vCPU is to meet what moves.
pub fn while_memory_moves(action: impl FnOnce()) {
    let idle = WORK.load(Ordering::Acquire).is_null();
    if hypervisor::bare() && idle && index() == 0 { undisturbed(action) } else { action() }
}

fn wait_for(flag: &AtomicBool) {
    while !flag.load(Ordering::Acquire) {
        hypervisor::give_way();
    }
}
