// SPDX-License-Identifier: GPL-2.0-only
//! Every valid way to address an interrupt from an entry, and level for what can only mean edge.

use crate::{Device, Msix, cases, check, vcpu};

const TIMES: u32 = 2;

pub fn run(device: &dyn Device) {
    let Some(ids) = vcpu::start() else { return };
    let msix = Msix::of(device.function());
    msix.enable(true);
    for (what, vcpu, message) in cases::ways(ids) {
        msix.program(0, message);
        check::entry_reads_back(what, (msix, 0), message);
        check::delivers(what, device, TIMES, (vcpu, cases::VECTOR));
    }
    msix.enable(false);
}
