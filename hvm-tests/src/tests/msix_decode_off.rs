// SPDX-License-Identifier: GPL-2.0-only
//! With memory decoding off, nobody answers at the table: writes are lost, reads are ones. On
//! again, all is as before.

use crate::msix::VECTOR_CONTROL;
use crate::{Device, Msix, cases, check, hypervisor};

pub fn run(device: &dyn Device) {
    let function = device.function();
    let msix = Msix::of(function);
    msix.enable(true);
    msix.program(0, cases::message());
    for _ in 0..3 {
        check::delivers("decoding on", device, 2, (0, cases::VECTOR));
        function.decode(false);
        msix.mask(0, true);
        msix.set_entry(0, 0, 0x1234_5678u32);
        let seen = [msix.entry::<u32>(0, 0), msix.entry::<u32>(0, VECTOR_CONTROL)];
        function.decode(true);
        if !hypervisor::bare() {
            check::equal(format_args!("address while decoding is off"), !0u32, seen[0]);
            check::equal(format_args!("vector control while decoding is off"), !0u32, seen[1]);
        }
        check::entry_reads_back("decoding on again", (msix, 0), cases::message());
        check::equal(
            format_args!("vector control afterwards"),
            0u32,
            msix.entry::<u32>(0, VECTOR_CONTROL),
        );
    }
    check::delivers("afterwards", device, 2, (0, cases::VECTOR));
    msix.enable(false);
}
