// SPDX-License-Identifier: GPL-2.0-only
//! Every register of a device's message capabilities written in every way, and INTx-disable.

use crate::device::Device;

const COMMAND: u64 = 0x04;
const INTX_DISABLE: u32 = 1 << 10;
const MEMORY: u32 = 1 << 1;
const ONLY_COMMAND: u32 = 0xffff;
const WIDTHS: [usize; 3] = [1, 2, 4];

/// A way to a device's registers.
pub trait Way {
    /// The widths it has, in bytes.
    fn widths(&self) -> &[usize];
    /// Writes a register of so many bytes.
    fn write(&self, register: u64, width: usize, value: u32) -> Result<(), String>;
}

/// The configuration file in sysfs: in a stub domain it leads to xen-pciback, in dom0 to ports
/// 0xCF8 and 0xCFC.
impl Way for Device {
    fn widths(&self) -> &[usize] {
        &WIDTHS
    }

    fn write(&self, register: u64, width: usize, value: u32) -> Result<(), String> {
        self.write(register, width, value)
    }
}

/// Writes all ones, all zeros and each bit alone, and each time puts back what was there; a line
/// for each register and width: REGISTER/WIDTH, how many writes, how many failed, the bits that
/// changed.
pub fn try_all(device: &Device, way: &dyn Way) -> Result<String, String> {
    let mut lines = Vec::new();
    for (first, length) in device.message_registers()? {
        for register in first..first + length {
            let fitting = way.widths().iter().filter(|width| register % **width as u64 == 0);
            for width in fitting
                .filter(|width| register + **width as u64 <= first + length.next_multiple_of(4))
            {
                lines.push(Written::at(device, register, *width).by(way)?);
            }
        }
    }
    for width in way.widths() {
        let (register, bit) =
            if *width == 1 { (COMMAND + 1, INTX_DISABLE >> 8) } else { (COMMAND, INTX_DISABLE) };
        lines.push(Written::at(device, register, *width).only(bit, way)?);
    }
    Ok(lines.join("\n"))
}

/// Switches memory decoding off and on again.
pub fn toggle_memory(device: &Device, way: &dyn Way) -> Result<String, String> {
    Written::at(device, COMMAND, 2).only(MEMORY, way)
}

/// What became of the writes to one register in one width.
struct Written<'a> {
    device: &'a Device,
    register: u64,
    width: usize,
    tried: usize,
    failed: usize,
    changed: u32,
}

impl<'a> Written<'a> {
    fn at(device: &'a Device, register: u64, width: usize) -> Self {
        Self { device, register, width, tried: 0, failed: 0, changed: 0 }
    }

    fn by(mut self, way: &dyn Way) -> Result<String, String> {
        let before = self.device.read(self.register, self.width)?;
        let flipped = (0..8 * self.width).map(|bit| before ^ 1 << bit);
        for value in [u32::MAX, 0].into_iter().chain(flipped) {
            self.write(way, value, before)?;
        }
        Ok(self.line())
    }

    /// Sets and clears one bit of Command, and leaves the rest as it is: the guest is at work.
    fn only(mut self, bit: u32, way: &dyn Way) -> Result<String, String> {
        let before = self.device.read(self.register, self.width)? & ONLY_COMMAND;
        for value in [before | bit, before & !bit] {
            self.write(way, value, before)?;
        }
        Ok(self.line())
    }

    fn write(&mut self, way: &dyn Way, value: u32, before: u32) -> Result<(), String> {
        self.tried += 1;
        self.failed += usize::from(way.write(self.register, self.width, value).is_err());
        let after = self.device.read(self.register, self.width)?;
        // Of a dword with Command in it, the other half is Status, which changes by itself.
        let watched = if self.register == COMMAND { ONLY_COMMAND } else { u32::MAX };
        self.changed |= (after ^ before) & watched;
        if (after ^ before) & watched != 0 {
            // Where writing fails, there is nothing to put back.
            let _ = way.write(self.register, self.width, before);
        }
        Ok(())
    }

    fn line(&self) -> String {
        let Self { register, width, tried, failed, changed, .. } = self;
        format!("{register:#x}/{width} tried={tried} failed={failed} changed={changed:#x}")
    }
}
