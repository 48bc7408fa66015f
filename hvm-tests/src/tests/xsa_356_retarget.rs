// SPDX-License-Identifier: GPL-2.0-only
//! XSA-356: interrupts that come without a pause while their target changes all the time.

use crate::interrupts::{count, forget, total};
use crate::{Device, Message, Msi, cases, check, time, vcpu};

const SETTLE_MS: u64 = 50;

pub fn run(device: &dyn Device) {
    let Some(ids) = vcpu::start() else { return };
    let msi = Msi::of(device.function());
    let messages = ids.map(|id| Message::fixed(id, cases::VECTOR));
    msi.program(messages[0]);
    msi.enable(true);
    forget();
    let mut turn = 0;
    let raised = time::during(cases::STORM_MS, || {
        turn = 1 - turn;
        device.raise(0);
        msi.program(messages[turn]);
        device.acknowledge(0);
    });
    time::wait(SETTLE_MS);
    let (first, second) = (count(0, cases::VECTOR), count(1, cases::VECTOR));
    let held =
        first + second == total() && u64::from(total()) <= raised * u64::from(1 + device.surplus());
    check::that(
        format_args!("{raised} raised: {first} and {second} came of {}", total()),
        held && total() != 0,
    );
    for (target, message) in messages.into_iter().enumerate() {
        msi.program(message);
        check::delivers("afterwards", device, 3, (target, cases::VECTOR));
    }
    msi.enable(false);
}
