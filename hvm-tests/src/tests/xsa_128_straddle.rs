// SPDX-License-Identifier: GPL-2.0-only
//! XSA-128: accesses that cross the end of a register's dword, over the whole capability and its
//! neighbours: each byte lands where it would alone, and no other changes. Emulated hardware
//! without Xen may drop such an access as a whole.

use crate::msi::CONTROL;
use crate::pci::{DATA, Function, Width};
use crate::{Device, Msi, cases, check, hypervisor};

const PATTERNS: [u32; 3] = [0, !0, 0x5aa5_c33c];

pub fn run(device: &dyn Device) {
    let function = device.function();
    let msi = Msi::of(function);
    let end = msi.data() + 4 + if msi.mask().is_some() { 8 } else { 0 };
    for on in [false, true] {
        for dword in (0..end).step_by(4) {
            msi.program(cases::message());
            msi.enable(on);
            let place = Place(function, msi.start() + dword);
            for pattern in PATTERNS {
                place.crossed::<u16>(3, pattern);
                (1..=3).for_each(|lane| place.crossed::<u32>(lane, pattern));
            }
            if let Some(mask) = msi.mask() {
                msi.write(mask, 0u32);
            }
            msi.program(cases::message());
            msi.enable(on);
            check::equal(
                format_args!("enable after +{dword:#x}"),
                u16::from(on),
                msi.control() & 1,
            );
        }
    }
    check::after_pending();
    check::delivers("afterwards", device, 2, (0, cases::VECTOR));
    msi.write(CONTROL, 0u16);
}

/// One dword of a function.
struct Place(Function, u8);

impl Place {
    fn read(&self) -> u32 {
        self.0.read(self.1)
    }

    /// The dwords at both sides.
    fn beside(&self) -> [u32; 2] {
        [self.0.read(self.1 - 4), self.0.read(self.1 + 4)]
    }

    /// What is written from byte `lane` on and beyond the dword's end has the effect of its bytes
    /// within.
    fn crossed<W: Width>(&self, lane: u16, value: u32) {
        let (before, beside) = (self.read(), self.beside());
        let port = || self.0.select(self.1) + lane;
        W::output(port(), W::of(value));
        let seen = self.read();
        self.0.write(self.1, before);
        for byte in lane..4 {
            u8::output(self.0.select(self.1) + byte, (value >> (8 * (byte - lane))) as u8);
        }
        let alone = self.read();
        let what = format_args!("{} bytes of {value:#x} at port {:#x}", W::BYTES, DATA + lane);
        if !hypervisor::bare() || seen != before {
            check::equal(format_args!("{:#x}: {what}", self.1), alone, seen);
        }
        check::that(
            format_args!("{:#x}: {what}: no other dword changes", self.1),
            self.beside() == beside,
        );
    }
}
