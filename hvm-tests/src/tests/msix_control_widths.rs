// SPDX-License-Identifier: GPL-2.0-only
//! Enable and function mask are reached by each access that covers them.

use crate::msix::{CONTROL, ENABLE, FUNCTION_MASK};
use crate::{Device, Msix, cases, check};

/// One way to give control a value.
type Write = fn(Msix, u16);
const WAYS: [(&str, Write); 3] = [
    ("4 bytes at the header", |msix, control| msix.write(0, u32::from(control) << 16 | 0xffff)),
    ("2 bytes at control", |msix, control| msix.write(CONTROL, control)),
    ("1 byte at control's upper half", |msix, control| {
        msix.write(CONTROL + 1, (control >> 8) as u8)
    }),
];

pub fn run(device: &dyn Device) {
    let msix = Msix::of(device.function());
    let (header, size) = (msix.read::<u16>(0), msix.control());
    msix.program(0, cases::message());
    for (what, write) in WAYS {
        write(msix, ENABLE);
        check::equal(format_args!("{what}: control"), size | ENABLE, msix.control());
        check::delivers(what, device, 2, (0, cases::VECTOR));
        write(msix, ENABLE | FUNCTION_MASK);
        check::delivers_nothing(what, device);
        check::lets_through(what, device, || write(msix, ENABLE), (0, cases::VECTOR));
        msix.write(CONTROL, !0u8);
        check::delivers(
            "1 byte at control's lower half, which has neither",
            device,
            2,
            (0, cases::VECTOR),
        );
        write(msix, 0);
        check::equal(format_args!("{what}: control, off"), size, msix.control());
        check::equal(format_args!("{what}: header"), header, msix.read::<u16>(0));
    }
}
