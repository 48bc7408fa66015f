// SPDX-License-Identifier: GPL-2.0-only
//! Every valid way to address an interrupt, and level for what MSI can only mean as edge.

use crate::interrupts::{count, total};
use crate::{Device, Message, Msi, cases, check, vcpu};

const VECTOR: u8 = 0x73;
const TIMES: u32 = 3;
/// The lowest vector that is no exception, and the highest the framework leaves free.
const EDGES: [u8; 2] = [0x20, 0xdf];

pub fn run(device: &dyn Device) {
    let Some(ids) = vcpu::start() else { return };
    let msi = Msi::of(device.function());
    msi.program(cases::message());
    msi.enable(true);
    for (what, vcpu, message) in cases::ways(ids) {
        msi.program(message);
        check::reads_back(what, msi, message);
        check::delivers(what, device, TIMES, (vcpu, cases::VECTOR));
    }
    several(device, msi);
    for vector in EDGES {
        msi.program(Message::fixed(ids[0], vector));
        check::delivers("vector at the edge", device, TIMES, (0, vector));
    }
    msi.enable(false);
}

/// A logical destination of both vCPUs.
fn several(device: &dyn Device, msi: Msi) {
    msi.program(Message::logical(0b11, VECTOR));
    check::delivers_as("fixed to both: expected 1 on each vCPU", device, || {
        count(0, VECTOR) == 1 && count(1, VECTOR) == 1 && total() == 2
    });
    msi.program(Message::lowest_priority(0b11, VECTOR));
    check::delivers_as("lowest priority of both: expected 1 on either vCPU", device, || {
        count(0, VECTOR) + count(1, VECTOR) == 1 && total() == 1
    });
}
