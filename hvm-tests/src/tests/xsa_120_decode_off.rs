// SPDX-License-Identifier: GPL-2.0-only
//! XSA-120: while memory decoding is off, everything is asked for that reaches into the table:
//! masks, the function mask, MSI-X off and on. On again, what was asked of configuration space has
//! happened.

use crate::msix::{ENABLE, FUNCTION_MASK};
use crate::{Device, Message, cases, check, time};

const ROUNDS: u32 = 4;
const SETTLE_MS: u64 = 20;

pub fn run(device: &dyn Device) {
    let function = device.function();
    function.disable_intx(true);
    let (msix, _) = cases::each_its_own(device, 2);
    let at = (0, cases::FIRST);
    for round in 0..ROUNDS {
        check::delivers("decoding on", device, 2, at);
        function.decode(false);
        for bits in [ENABLE | FUNCTION_MASK, ENABLE, 0, FUNCTION_MASK, ENABLE, 0] {
            msix.set(bits);
            msix.mask(0, round % 2 == 0);
            msix.write_message(1, Message::RESET);
            check::equal(
                format_args!("control while decoding is off"),
                bits >> 14,
                msix.control() >> 14,
            );
        }
        function.decode(true);
        check::delivers_nothing("turned off meanwhile", device);
        function.decode(false);
        msix.set(ENABLE);
        function.decode(true);
        // What was pending comes first.
        time::wait(SETTLE_MS);
        check::equal(format_args!("control's upper bits"), 2u16, msix.control() >> 14);
    }
    check::delivers("afterwards", device, 2, at);
    check::delivers("another entry", (device, 1), 2, (0, cases::FIRST + 1));
    msix.enable(false);
}
