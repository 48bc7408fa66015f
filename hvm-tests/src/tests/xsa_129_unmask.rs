// SPDX-License-Identifier: GPL-2.0-only
//! XSA-129: the mask bit is the guest's to see, not the hardware's: without a valid message,
//! unmasking lets nothing through; and however often it changes, each interrupt that was raised
//! arrives once at most.

use crate::interrupts::{count, forget, total};
use crate::{Device, Message, Msi, cases, check, invalid, report, time};

const ROUNDS: u32 = 20;
const SETTLE_MS: u64 = 50;

pub fn run(device: &dyn Device) {
    let msi = Msi::of(device.function());
    device.function().disable_intx(true);
    let Some(mask) = msi.mask() else {
        return report::skip(format_args!("the device's MSI has no mask bits"));
    };
    let toggle = || [1, 0u32].into_iter().for_each(|value| msi.write(mask, value));
    for message in [Message::RESET, invalid::elsewhere(cases::message())] {
        msi.program(message);
        msi.enable(true);
        check::silent("no valid message", || {
            (0..ROUNDS).for_each(|_| {
                toggle();
                device.raise(0);
                toggle();
                device.acknowledge(0);
            });
        });
        msi.enable(false);
    }
    msi.program(cases::message());
    msi.enable(true);
    check::after_pending();
    forget();
    let raised = time::during(cases::STORM_MS, || {
        toggle();
        device.raise(0);
        toggle();
        device.acknowledge(0);
    });
    time::wait(SETTLE_MS);
    let seen = total();
    let held = u64::from(seen) <= raised && seen != 0 && seen == count(0, cases::VECTOR);
    check::that(format_args!("expected 1 to {raised} interrupts, saw {seen}"), held);
    check::delivers("afterwards", device, 2, (0, cases::VECTOR));
    msi.enable(false);
}
