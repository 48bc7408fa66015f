// SPDX-License-Identifier: GPL-2.0-only
//! What is underneath: Xen, or hardware as emulated without it.

use core::arch::{asm, x86_64::__cpuid};

use x86_64::instructions::{hlt, port::PortWriteOnly};
use x86_64::registers::model_specific::Msr;

// Xen's public interface: hypercall number, its command and the reason it takes.
const SCHED_OP: u64 = 29;
const SCHEDOP_YIELD: u64 = 0;
const SCHEDOP_SHUTDOWN: u64 = 2;
const SHUTDOWN_POWEROFF: u32 = 0;
/// Xen's answer to what it does not do: -ENOSYS.
const NOT_DONE: i64 = -38;
/// The port of QEMU's isa-debug-exit device.
const DEBUG_EXIT: u16 = 0xf4;

#[repr(align(4096))]
struct Page(#[expect(dead_code, reason = "Xen writes it and it is called")] [u8; 4096]);

/// Filled by Xen with code; every byte is `ret` until then.
#[unsafe(link_section = ".text.hypercall")]
static HYPERCALL_PAGE: Page = Page([0xc3; 4096]);

/// The first of Xen's CPUID leaves, unless Xen is not there.
fn leaves() -> Option<u32> {
    (0x4000_0000..0x4001_0000).step_by(0x100).find(|&leaf| {
        let id = __cpuid(leaf);
        [id.ebx, id.ecx, id.edx].map(u32::to_le_bytes) == [*b"XenV", *b"MMXe", *b"nVMM"]
    })
}

/// Xen's version, or nothing on plain hardware.
pub fn version() -> Option<(u32, u32)> {
    leaves().map(|base| {
        let version = __cpuid(base + 1).eax;
        (version >> 16, version & 0xffff)
    })
}

/// Whether the test runs without Xen, where a message is what the hardware makes of it.
pub fn bare() -> bool {
    leaves().is_none()
}

/// Has Xen fill the hypercall page.
pub(crate) fn set_up() {
    if let Some(base) = leaves() {
        // SAFETY: the page is set aside for it.
        unsafe { Msr::new(__cpuid(base + 2).ebx).write(&raw const HYPERCALL_PAGE as u64) };
    }
}

/// Makes the hypercall `number` with a command and what it works on; Xen's answer, below zero an
/// error. Plain hardware does nothing, and that is its answer.
pub fn call<A>(number: u64, command: u64, argument: &mut A) -> i64 {
    let answer;
    // SAFETY: the page holds Xen's code, or returns at once; the callers' arguments have Xen's own
    // layout.
    unsafe {
        asm!(
            "call {entry}",
            entry = in(reg) &raw const HYPERCALL_PAGE as u64 + 32 * number,
            inlateout("rdi") command => _,
            inlateout("rsi") argument => _,
            inlateout("rax") NOT_DONE => answer,
            out("rcx") _, out("r11") _,
        );
    }
    answer
}

/// Lets another vCPU run that may share the processor; without Xen nothing does.
pub fn give_way() {
    call(SCHED_OP, SCHEDOP_YIELD, &mut ());
    core::hint::spin_loop();
}

/// Ends the guest, or the emulator.
pub fn power_off() -> ! {
    call(SCHED_OP, SCHEDOP_SHUTDOWN, &mut { SHUTDOWN_POWEROFF });
    // SAFETY: nothing else listens on this port.
    unsafe { PortWriteOnly::new(DEBUG_EXIT).write(0u8) };
    loop {
        hlt();
    }
}
