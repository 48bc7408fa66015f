// SPDX-License-Identifier: GPL-2.0-only
//! The table's BAR where no system puts it: outside of anything, over RAM, over the interrupt
//! controllers, at what a size probe leaves, with odd upper halves. Each time the device works when
//! the BAR is back.

use crate::mmio;
use crate::{Device, Message, Msix, apic, cases, check, time, vcpu};

/// No part of the image is there, and a guest of 32 MiB has it.
const RAM: usize = 30 << 20;
const PATTERN: u32 = 0x600d_f00d;
const PLACES: [(&str, usize); 9] = [
    ("at zero", 0),
    ("at what a size probe leaves", 0xffff_fff0),
    ("below 1 MiB", 0xa_0000),
    ("over RAM", RAM),
    ("over the I/O APIC", 0xfec0_0000),
    ("over the local APICs", 0xfee0_0000),
    ("over the last page below", 0xffff_f000),
    ("where Xen has pages of its own", 0xfeff_8000),
    ("where an emulated device may be", 0xfed0_0000),
];
/// Of a 64-bit BAR.
const UPPER: [u32; 5] = [1, 0xff, 0x1_0000, 0x8000_0000, !0];
const STAY_MS: u64 = 5;

pub fn run(device: &dyn Device) {
    let function = device.function();
    let msix = Msix::of(function);
    let bar = msix.table_bar();
    let home = function.bar(bar);
    msix.enable(true);
    msix.program(0, cases::message());
    mmio::write(RAM, PATTERN);
    let upper = UPPER.map(|upper| ("with an upper half", (upper as usize) << 32 | home));
    let wide = if function.is_wide(bar) { &upper[..] } else { &[] };
    for &(what, place) in PLACES.iter().chain(wide) {
        // Nobody is to be disturbed where it stands now.
        vcpu::undisturbed(|| {
            function.move_bar(bar, place);
            time::spin(STAY_MS);
            function.move_bar(bar, home);
        });
        works(what, device, msix);
    }
    let seen = mmio::read::<u32>(RAM);
    check::that(
        format_args!("RAM that was covered holds {seen:#x}"),
        [PATTERN, !0].contains(&seen),
    );
    probe_while_decoded(device, msix, home);
}

fn works(what: &str, device: &dyn Device, msix: Msix) {
    check::entry_reads_back(what, (msix, 0), cases::message());
    msix.program(1, Message::fixed(apic::id(), cases::FIRST));
    check::delivers(what, device, 2, (0, cases::VECTOR));
    check::delivers(what, (device, 1), 1, (0, cases::FIRST));
}

/// A size probe without decoding being turned off, as some systems make it.
fn probe_while_decoded(device: &dyn Device, msix: Msix, home: usize) {
    let (function, bar) = (device.function(), msix.table_bar());
    for _ in 0..3 {
        vcpu::undisturbed(|| {
            function.write_bar(bar, !0);
            function.write_bar(bar, home);
        });
        works("probed while decoded", device, msix);
    }
    msix.enable(false);
}
