// SPDX-License-Identifier: GPL-2.0-only
//! What is underneath: Xen, or hardware as emulated without it.

use core::arch::{asm, x86_64::__cpuid};

use x86_64::instructions::{hlt, port::PortWriteOnly};
use x86_64::registers::model_specific::Msr;

// Xen's public interface: hypercall number, its command and the reason it takes.
const SCHED_OP: u64 = 29;
const SCHEDOP_SHUTDOWN: u64 = 2;
const SHUTDOWN_POWEROFF: u32 = 0;
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

/// Ends the guest, or the emulator.
pub fn power_off() -> ! {
    if let Some(base) = leaves() {
        // SAFETY: the page is set aside for it, and Xen reads the reason before it stops this guest.
        unsafe { shutdown(__cpuid(base + 2).ebx) };
    }
    // SAFETY: nothing else listens on this port.
    unsafe { PortWriteOnly::new(DEBUG_EXIT).write(0u8) };
    loop {
        hlt();
    }
}

/// Has Xen fill the hypercall page through `msr` and asks for power-off.
unsafe fn shutdown(msr: u32) {
    let page = &raw const HYPERCALL_PAGE as u64;
    let reason = SHUTDOWN_POWEROFF;
    // SAFETY: promised by the caller.
    unsafe {
        Msr::new(msr).write(page);
        asm!(
            "call {entry}",
            entry = in(reg) page + 32 * SCHED_OP,
            inlateout("rdi") SCHEDOP_SHUTDOWN => _,
            inlateout("rsi") &raw const reason => _,
            out("rax") _, out("rcx") _, out("r11") _,
        );
    }
}
