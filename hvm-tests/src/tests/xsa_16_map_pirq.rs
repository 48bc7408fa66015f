// SPDX-License-Identifier: GPL-2.0-only
//! XSA-16: indexes of interrupt lines that do not exist, mapped and unmapped. Each is refused, and
//! the device goes on.

use crate::xen::{self, Kind, Map};
use crate::{Device, Msi, cases, check};

pub fn run(device: &dyn Device) {
    let msi = Msi::of(device.function());
    msi.program(cases::message());
    msi.enable(true);
    for number in [-1, i32::MIN, i32::MAX, 256, 0x1_0000, 0x4000_0000] {
        for pirq in [-1, number] {
            let mut map = Map { index: number, pirq, ..Map::new(Kind::Gsi) };
            check::refused(format_args!("map of line {number} as {pirq}"), map.ask());
        }
        check::refused(format_args!("unmap of {number}"), xen::unmap(number));
        check::refused(
            format_args!("bind of {number}"),
            xen::bind(number as u32).err().unwrap_or(0),
        );
    }
    check::delivers("afterwards", device, 2, (0, cases::VECTOR));
    msi.enable(false);
}
