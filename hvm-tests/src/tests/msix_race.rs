// SPDX-License-Identifier: GPL-2.0-only
//! One vCPU works on an entry as fast as it can while the other turns memory decoding off and on,
//! moves the table, or turns MSI-X off and on.

use crate::pci::SPARE;
use crate::{Device, Message, Msix, apic, cases, check, hypervisor, time, vcpu};

const PHASE_MS: u64 = 400;

pub fn run(device: &dyn Device) {
    if vcpu::start().is_none() {
        return;
    }
    let function = device.function();
    let msix = Msix::of(function);
    let home = function.bar(msix.table_bar());
    let moved =
        || [SPARE, home].into_iter().for_each(|place| function.move_bar(msix.table_bar(), place));
    let steps: [(&str, &dyn Fn()); 4] = [
        ("memory decoding off and on", &|| {
            [false, true].into_iter().for_each(|on| function.decode(on))
        }),
        ("the table moves", &moved),
        ("MSI-X off and on", &|| [false, true].into_iter().for_each(|on| msix.enable(on))),
        ("the function mask", &|| [0xc000, 0x8000].into_iter().for_each(|bits| msix.set(bits))),
    ];
    // QEMU itself fails when memory moves that another vCPU uses; under Xen nothing of QEMU's
    // moves.
    let steps = if hypervisor::bare() { &steps[2..] } else { &steps };
    for &(what, step) in steps {
        msix.enable(true);
        msix.program(0, cases::message());
        vcpu::beside(&|| work(msix), || {
            time::during(PHASE_MS, step);
        });
        device.registers().follow();
        msix.enable(true);
        msix.program(1, Message::fixed(apic::id(), cases::FIRST));
        check::entry_reads_back(what, (msix, 0), cases::message());
        check::after_pending();
        check::delivers(what, device, 2, (0, cases::VECTOR));
        check::delivers(what, (device, 1), 2, (0, cases::FIRST));
        msix.enable(false);
    }
}

/// What the second vCPU repeats, on the second entry; a table that is not there swallows it.
fn work(msix: Msix) {
    msix.program(1, Message::fixed(0, cases::FIRST));
    msix.message(1);
    msix.mask(1, true);
    msix.pending(1);
}
