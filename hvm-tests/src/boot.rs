// SPDX-License-Identifier: GPL-2.0-only
//! From the first Rust instruction to the end of the test.

use core::arch::global_asm;
use core::panic::PanicInfo;

use crate::{apic, hypervisor, interrupts, ioapic, report, suite, tables, time};

global_asm!(include_str!("boot.S"), options(att_syntax));

/// Where the assembly calls Rust on the first vCPU.
#[unsafe(no_mangle)]
extern "C" fn first_vcpu() -> ! {
    tables::load(0);
    hypervisor::set_up();
    interrupts::silence_legacy();
    apic::enable();
    time::calibrate();
    ioapic::catch_intx();
    x86_64::instructions::interrupts::enable();
    suite::run();
    report::finish()
}

#[panic_handler]
fn panic(information: &PanicInfo) -> ! {
    report::error(format_args!("{information}"));
    report::finish()
}
