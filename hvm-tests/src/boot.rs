// SPDX-License-Identifier: GPL-2.0-only
//! From the first Rust instruction to the end of the test.

use core::arch::global_asm;
use core::panic::PanicInfo;

use crate::{apic, hypervisor, interrupts, ioapic, report, say, tables, time};

global_asm!(include_str!("boot.S"), options(att_syntax));

unsafe extern "Rust" {
    fn test_main();
}

/// Where the assembly calls Rust on the first vCPU.
#[unsafe(no_mangle)]
extern "C" fn first_vcpu() -> ! {
    tables::load(0);
    interrupts::silence_legacy();
    apic::enable();
    time::calibrate();
    ioapic::catch_intx();
    x86_64::instructions::interrupts::enable();
    // SAFETY: each image defines it through `test!`.
    unsafe { test_main() };
    report::finish()
}

/// Announces the image and runs its test.
pub fn run(name: &str, body: fn()) {
    say!("--- msitrap HVM tests ---");
    match hypervisor::version() {
        Some((major, minor)) => say!("Environment: HVM 64bit, Xen {major}.{minor}"),
        None => say!("Environment: bare"),
    }
    say!("Test: {name}");
    body();
}

#[panic_handler]
fn panic(information: &PanicInfo) -> ! {
    report::error(format_args!("{information}"));
    report::finish()
}
