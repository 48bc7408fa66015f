// SPDX-License-Identifier: GPL-2.0-only
//! An entry that is not masked keeps its message: what is written takes effect at the next unmask.

use crate::msix::DATA;
use crate::{Device, Message, Msix, check, vcpu};

const FIRST: u8 = 0x53;
const SECOND: u8 = 0x64;
const TIMES: u32 = 2;

pub fn run(device: &dyn Device) {
    let Some(ids) = vcpu::start() else { return };
    let msix = Msix::of(device.function());
    msix.enable(true);
    msix.program(0, Message::fixed(ids[0], FIRST));
    check::delivers("before", device, TIMES, (0, FIRST));
    msix.set_entry(0, DATA, u32::from(SECOND));
    check::delivers("data written, not masked", device, TIMES, (0, FIRST));
    let other = Message::fixed(ids[1], SECOND);
    msix.write_message(0, other);
    check::entry_reads_back("written, not masked", (msix, 0), other);
    check::delivers("written, not masked", device, TIMES, (0, FIRST));
    msix.mask(0, false);
    check::delivers("unmasked without having been masked", device, TIMES, (0, FIRST));
    msix.mask(0, true);
    msix.mask(0, false);
    check::delivers("masked and unmasked", device, TIMES, (1, SECOND));
    msix.enable(false);
}
