// SPDX-License-Identifier: GPL-2.0-only
//! XSA-131: each byte of both capabilities, and of the dwords around, is written with all zeros,
//! all ones and others: what says what the device is does not change.

use crate::pci::Function;
use crate::{Device, Msi, Msix, cases, check, msi, msix};

const VALUES: [u8; 4] = [0xff, 0x00, 0x5a, 0xa5];
/// Bytes of the MSI-X capability.
const MSIX_LENGTH: u8 = 12;

pub fn run(device: &dyn Device) {
    let function = device.function();
    let (msi, msix) = (Msi::of(function), Msix::of(function));
    let length = msi.data() + 4 + if msi.mask().is_some() { 8 } else { 0 };
    let fixed = || {
        [
            function.read::<u16>(msi.start()).into(),
            u32::from(msi.control() & (msi::CAPABLE | msi::WIDE | msi::MASKABLE)),
            function.read::<u16>(msix.start()).into(),
            msix.size(),
            msix.read::<u32>(msix::TABLE),
            msix.read::<u32>(msix::PBA),
        ]
    };
    let before = fixed();
    for value in VALUES {
        for register in bytes(msi.start(), length).chain(bytes(msix.start(), MSIX_LENGTH)) {
            function.write(register, value);
            check::that(
                format_args!("{value:#x} at {register:#x}: nothing fixed changes"),
                fixed() == before,
            );
        }
        write_all(function, &[msi.start() + msi::CONTROL + 1, msix.start() + msix::CONTROL + 1], 0);
        msi.write(msi::CONTROL, 0u16);
    }
    if let Some(mask) = msi.mask() {
        msi.write(mask, 0u32);
    }
    msi.program(cases::message());
    msi.enable(true);
    check::after_pending();
    check::delivers("MSI afterwards", device, 2, (0, cases::VECTOR));
    msi.enable(false);
    msix.program(0, cases::message());
    msix.enable(true);
    check::after_pending();
    check::delivers("MSI-X afterwards", device, 2, (0, cases::VECTOR));
    msix.enable(false);
}

fn bytes(start: u8, length: u8) -> impl Iterator<Item = u8> {
    start..start + length
}

fn write_all(function: Function, registers: &[u8], value: u8) {
    registers.iter().for_each(|&register| function.write(register, value));
}
