// SPDX-License-Identifier: GPL-2.0-only
//! The guest ends while everything is on and the device raises as fast as it can. Nothing of it may
//! stay behind.

use crate::{Device, Message, Msi, Msix, cases, check, report, time, vcpu};

const WHILE_MS: u64 = 100;

/// For devices that raise by one write to a register, which both vCPUs may do at once.
struct Raised<'a>(&'a dyn Device);

// SAFETY: see there.
unsafe impl Sync for Raised<'_> {}

impl Raised<'_> {
    fn again(&self) {
        (0..self.0.sources().min(4)).for_each(|n| self.0.raise(n));
    }
}

pub fn run(device: &dyn Device) {
    let Some(ids) = vcpu::start() else { return };
    let at = (1, cases::VECTOR);
    match Msix::find(device.function()) {
        Some(_) => drop(cases::each_its_own(device, 4)),
        None => {
            let msi = Msi::of(device.function());
            msi.program(Message::fixed(ids[1], cases::VECTOR));
            msi.enable(true);
            check::delivers("before the end", device, 2, at);
        }
    }
    let raised = Raised(device);
    vcpu::beside(&|| raised.again(), || {
        time::spin(WHILE_MS);
        report::finish()
    });
}
