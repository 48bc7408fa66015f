// SPDX-License-Identifier: GPL-2.0-only
//! Each register of the capability keeps the bits that hardware lets a driver write, and no others.

use crate::msi::{ADDRESS, CAPABLE, CONTROL, ENABLE, MULTIPLE};
use crate::{Device, Message, Msi, check, hypervisor};

const PATTERNS: [u32; 7] = [0, !0, 0xa5a5_a5a5, 0x5a5a_5a5a, 0xfee0_0000, 0x0000_4051, 0x8000_0001];
const ADDRESS_BITS: u32 = !3;
const UPPER_BITS: u32 = !0;
const DATA_BITS: u32 = 0xffff;

pub fn run(device: &dyn Device) {
    let msi = Msi::of(device.function());
    let before = msi.control();
    check::equal(
        format_args!("control at start: enable and multiple message enable"),
        0u16,
        before & (ENABLE | MULTIPLE),
    );
    check::that(
        format_args!("control at start: at most 32 vectors, saw {before:#x}"),
        before & CAPABLE <= 5 << 1,
    );

    for enable in [0, ENABLE] {
        let others = before & !ENABLE;
        msi.write(CONTROL, others | enable);
        check::equal(format_args!("control"), others | enable, msi.control());
        registers(msi, if enable == 0 { "MSI off" } else { "MSI on" });
        check::equal(format_args!("control after the registers"), others | enable, msi.control());
    }
    msi.enable(false);
    fixed_bits(msi, before);
    clamp(msi, before);
    msi.enable(false);
}

fn registers(msi: Msi, state: &str) {
    for pattern in PATTERNS {
        register(msi, (state, "address", ADDRESS), pattern, ADDRESS_BITS);
        if let Some(upper) = msi.upper() {
            register(msi, (state, "upper address", upper), pattern, UPPER_BITS);
        }
        data(msi, state, pattern);
    }
    // All of them keep their own value at once.
    let upper = msi.upper().map_or(0, |_| 0x1234_5678);
    let message = Message { address: 0xfee0_1000, upper, data: 0x4123 };
    msi.program(message);
    check::reads_back(state, msi, message);
}

fn register(msi: Msi, (state, name, offset): (&str, &str, u8), pattern: u32, writable: u32) {
    msi.write(offset, pattern);
    check::equal(
        format_args!("{state}: {name} after writing {pattern:#x}"),
        pattern & writable,
        msi.read::<u32>(offset),
    );
}

/// The upper half of the dword is reserved, so zero; QEMU's own devices keep what is written there.
fn data(msi: Msi, state: &str, pattern: u32) {
    if hypervisor::bare() {
        msi.write(msi.data(), pattern);
        let seen = u32::from(msi.read::<u16>(msi.data()));
        check::equal(
            format_args!("{state}: data after writing {pattern:#x}"),
            pattern & DATA_BITS,
            seen,
        );
    } else {
        register(msi, (state, "data", msi.data()), pattern, DATA_BITS);
    }
}

/// The header and what control tells of the device cannot be written.
fn fixed_bits(msi: Msi, before: u16) {
    let header = msi.read::<u16>(0);
    msi.write(0, !header);
    check::equal(format_args!("header after writing its complement"), header, msi.read::<u16>(0));
    let writable = ENABLE | MULTIPLE;
    msi.write(CONTROL, !before & !writable);
    check::equal(
        format_args!("control's read-only bits after writing their complement"),
        before & !writable,
        msi.control(),
    );
}

/// More vectors than the device has are never in use.
fn clamp(msi: Msi, before: u16) {
    let capable = (before & CAPABLE) >> 1;
    for asked in 0..8u16 {
        msi.write(CONTROL, before & !(ENABLE | MULTIPLE) | asked << 4 | ENABLE);
        let used = (msi.control() & MULTIPLE) >> 4;
        check::equal(
            format_args!("log2 of vectors in use, {asked} asked for, {capable} there"),
            asked.min(capable),
            used,
        );
        msi.enable(false);
    }
}
