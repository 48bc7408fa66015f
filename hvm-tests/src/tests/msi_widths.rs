// SPDX-License-Identifier: GPL-2.0-only
//! Accesses of 1, 2 and 4 bytes at every offset inside each dword of the capability.

use crate::msi::{ADDRESS, CONTROL, ENABLE};
use crate::pci::Width;
use crate::{Device, Message, Msi, apic, check, hypervisor};

const VECTOR: u8 = 0x54;
/// Bytes of a capability with a 64-bit address and no mask bits, to the end of the dword with the
/// data.
const LONGEST: usize = 16;
const ROUNDS: u32 = 4;

pub fn run(device: &dyn Device) {
    let msi = Msi::of(device.function());
    let mut model = Model::of(msi);
    let mut values = Values(0x1234_5678);
    for _ in 0..ROUNDS {
        for offset in 0..model.length {
            access::<u8>(msi, &mut model, offset, &mut values);
            access::<u16>(msi, &mut model, offset, &mut values);
            access::<u32>(msi, &mut model, offset, &mut values);
        }
    }
    msi.enable(false);
    enable_by_any_width(device, msi);
    message_by_bytes(device, msi);
}

/// A capability as hardware keeps it: bytes, and which of their bits can be written.
struct Model {
    /// How many bytes of it are judged.
    length: u8,
    bytes: [u8; LONGEST],
    writable: [u8; LONGEST],
}

impl Model {
    fn of(msi: Msi) -> Self {
        let data = msi.data();
        // QEMU's own devices keep what is written to the reserved half of the data's dword.
        let length = data + if hypervisor::bare() { 2 } else { 4 };
        let mut writable = [0; LONGEST];
        writable[usize::from(CONTROL)] = ENABLE as u8;
        writable[usize::from(ADDRESS)..usize::from(data) + 2].fill(0xff);
        writable[usize::from(ADDRESS)] = 0xfc;
        let mut bytes = [0; LONGEST];
        (0..length).for_each(|offset| bytes[usize::from(offset)] = msi.read(offset));
        Self { length, bytes, writable }
    }

    fn write(&mut self, offset: usize, bytes: u8, value: u32) {
        for (n, new) in value.to_le_bytes().into_iter().take(bytes.into()).enumerate() {
            let (byte, mask) = (&mut self.bytes[offset + n], self.writable[offset + n]);
            *byte = *byte & !mask | new & mask;
        }
    }

    fn read(&self, offset: usize, bytes: u8) -> u32 {
        (0..usize::from(bytes)).map(|n| u32::from(self.bytes[offset + n]) << (8 * n)).sum()
    }
}

/// Values without pattern, the same in every run.
struct Values(u32);

impl Values {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }
}

/// One write, if it stays inside its dword, and every read of the dword after it.
fn access<W: Width>(msi: Msi, model: &mut Model, offset: u8, values: &mut Values) {
    if !possible::<W>(offset) {
        return;
    }
    let value = vectors_kept_single(values.next(), offset);
    msi.write(offset, W::of(value));
    model.write(offset.into(), W::BYTES, value);
    let dword = offset & !3;
    for at in dword..dword + 4 {
        look::<u8>(msi, model, (offset, W::BYTES, value), at);
        look::<u16>(msi, model, (offset, W::BYTES, value), at);
        look::<u32>(msi, model, (offset, W::BYTES, value), at);
    }
}

/// Whether the access stays inside its dword; QEMU on its own drops those that are not aligned.
fn possible<W: Width>(offset: u8) -> bool {
    offset % 4 + W::BYTES <= 4 && (offset % W::BYTES == 0 || !hypervisor::bare())
}

fn look<W: Width>(msi: Msi, model: &Model, (offset, bytes, value): (u8, u8, u32), at: u8) {
    if !possible::<W>(at) || at + W::BYTES > model.length {
        return;
    }
    check::equal(
        format_args!(
            "{} bytes read at +{at:#x} after {value:#x} written as {bytes} bytes at +{offset:#x}",
            W::BYTES
        ),
        model.read(at.into(), W::BYTES),
        msi.read::<W>(at).wide(),
    );
}

/// The value with multiple message enable zero, wherever in it that lies: msi-readback looks at it.
fn vectors_kept_single(value: u32, offset: u8) -> u32 {
    match offset {
        0..=CONTROL => value & !(0x70 << (8 * (CONTROL - offset))),
        _ => value,
    }
}

/// One way to give control a value.
type Write = fn(Msi, u16);

/// The enable bit, reached by each access that covers it; what they write to the header is lost.
fn enable_by_any_width(device: &dyn Device, msi: Msi) {
    msi.program(Message::fixed(apic::id(), VECTOR));
    let header = msi.read::<u16>(0);
    let off = msi.control();
    let ways: [(&str, bool, Write); 4] = [
        ("4 bytes at the header", possible::<u32>(0), |msi, control| {
            msi.write(0, u32::from(control) << 16 | 0xffff)
        }),
        ("2 bytes from the next pointer on", possible::<u16>(1), |msi, control| {
            msi.write(1, control << 8 | 0xff)
        }),
        ("2 bytes at control", possible::<u16>(CONTROL), |msi, control| {
            msi.write(CONTROL, control)
        }),
        ("1 byte at control", possible::<u8>(CONTROL), |msi, control| {
            msi.write(CONTROL, control as u8)
        }),
    ];
    for (what, _, write) in ways.into_iter().filter(|&(_, possible, _)| possible) {
        for control in [off | ENABLE, off] {
            write(msi, control);
            check::equal(format_args!("{what}: header"), header, msi.read::<u16>(0));
            check::equal(format_args!("{what}: control"), control, msi.control());
            if control & ENABLE != 0 {
                check::delivers(what, device, 2, (0, VECTOR));
            } else {
                // With MSI off the device would fall back to INTx.
                device.function().disable_intx(true);
                check::delivers_nothing(what, device);
                device.function().disable_intx(false);
            }
        }
    }
    msi.enable(true);
    msi.write(CONTROL + 1, !(off >> 8) as u8);
    check::delivers(
        "1 byte at control's upper half, which has no enable bit",
        device,
        2,
        (0, VECTOR),
    );
    msi.write(0, !header);
    check::delivers("2 bytes at the header, which has no enable bit", device, 2, (0, VECTOR));
    msi.enable(false);
}

/// A message written byte by byte is the message that arrives.
fn message_by_bytes(device: &dyn Device, msi: Msi) {
    let message = Message::fixed(apic::id(), VECTOR + 1);
    msi.program(Message { address: 0, upper: 0, data: 0 });
    for (offset, byte) in (ADDRESS..).zip(message.address.to_le_bytes()) {
        msi.write(offset, byte);
    }
    for (offset, byte) in (msi.data()..).zip(message.data.to_le_bytes()) {
        msi.write(offset, byte);
    }
    check::reads_back("byte by byte", msi, message);
    msi.enable(true);
    check::delivers("byte by byte", device, 2, (0, VECTOR + 1));
    msi.enable(false);
}
