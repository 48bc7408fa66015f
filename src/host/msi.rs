// SPDX-License-Identifier: GPL-2.0-only
//! The hardware's side of MSI: what a device's MSI was last told. Nothing is read back.

use crate::core::address::Sbdf;
use crate::core::message::BoundBlock;
use crate::core::msi::MsiDelivery;
use crate::core::spec::{MsiControl, MSI_VECTORS_LOG2_MAX};
use crate::host::hardware::{read_control, Errno, Hardware, Pirq};

/// A device's MSI in hardware.
#[derive(Debug)]
pub struct HostMsi {
    device: Sbdf,
    control_register: u16,
    enabled: bool,
    /// The interrupt of the first vector, and how many follow it, as log2.
    mapped: Option<(Pirq, u8)>,
    bound: Option<BoundBlock>,
    /// The guest's mask as last set: bit `n` for vector `n`.
    mask: u32,
}

impl HostMsi {
    /// Takes charge of it, and switches it off.
    pub fn take(device: Sbdf, control_register: u16, hardware: &mut impl Hardware) -> Self {
        let mut msi = Self { device, control_register, enabled: true, mapped: None, bound: None, mask: u32::MAX };
        msi.turn_off(hardware);
        msi
    }

    /// Delivers as wanted; the enable bit is the last write.
    ///
    /// # Errors
    /// Xen's; MSI is off then, and the next call tries again.
    pub fn turn_on(&mut self, wanted: &MsiDelivery, hardware: &mut impl Hardware) -> Result<(), Errno> {
        let result = self.prepare(wanted, hardware);
        match result {
            Ok(()) => self.set_enabled(true, hardware),
            Err(_) => self.turn_off(hardware),
        }
        result
    }

    /// Delivers nothing; the enable bit is the first write.
    pub fn turn_off(&mut self, hardware: &mut impl Hardware) {
        self.set_enabled(false, hardware);
        let Some((first, _)) = self.mapped.take() else { return };
        if let Some(block) = self.bound.take() {
            unbind(first, block.vectors(), hardware);
        }
        self.mask = u32::MAX;
        hardware.unmap(first);
    }

    /// Whether it is enabled and reads as if it were not.
    pub fn is_lost(&self, hardware: &mut impl Hardware) -> bool {
        self.enabled && !MsiControl(read_control(self.device, self.control_register, hardware)).enable()
    }

    /// Tells the device again what it was told; the enable bit is the last write.
    ///
    /// # Errors
    /// Xen's; MSI is off then.
    pub fn restore(&mut self, hardware: &mut impl Hardware) -> Result<(), Errno> {
        let Some((first, log2)) = self.mapped else { return Ok(()) };
        self.set_enabled(false, hardware);
        for nth in 0..1u8 << log2.min(MSI_VECTORS_LOG2_MAX) {
            if let Err(errno) = hardware.reprogram(first.nth(nth)) {
                self.turn_off(hardware);
                return Err(errno);
            }
        }
        self.set_enabled(true, hardware);
        Ok(())
    }

    fn prepare(&mut self, wanted: &MsiDelivery, hardware: &mut impl Hardware) -> Result<(), Errno> {
        let first = self.map(&wanted.block, hardware)?;
        self.bind(first, wanted.block, hardware)?;
        self.set_mask(first, wanted, hardware);
        Ok(())
    }

    fn map(&mut self, block: &BoundBlock, hardware: &mut impl Hardware) -> Result<Pirq, Errno> {
        match self.mapped {
            Some((first, log2)) if log2 == block.vectors_log2() => Ok(first),
            _ => {
                // Another count is another message in hardware: only while MSI is off.
                self.turn_off(hardware);
                let first = hardware.map_msi(self.device, block.vectors())?;
                self.mapped = Some((first, block.vectors_log2()));
                Ok(first)
            }
        }
    }

    fn bind(&mut self, first: Pirq, block: BoundBlock, hardware: &mut impl Hardware) -> Result<(), Errno> {
        if self.bound == Some(block) {
            return Ok(());
        }
        for (message, nth) in block.messages().zip(0..) {
            if let Err(errno) = hardware.bind(first.nth(nth), &message) {
                // The ones behind are still bound where this replaces a block: turning off ends them.
                if self.bound.is_none() {
                    unbind(first, nth, hardware);
                }
                return Err(errno);
            }
        }
        self.bound = Some(block);
        Ok(())
    }

    fn set_mask(&mut self, first: Pirq, wanted: &MsiDelivery, hardware: &mut impl Hardware) {
        for nth in 0..wanted.block.vectors() {
            let bit = 1u32 << nth;
            if (self.mask ^ wanted.mask) & bit != 0 {
                hardware.set_masked(first.nth(nth), wanted.mask & bit != 0);
                self.mask ^= bit;
            }
        }
    }

    fn set_enabled(&mut self, enabled: bool, hardware: &mut impl Hardware) {
        if self.enabled != enabled {
            let mut control = MsiControl(0);
            control.set_enable(enabled);
            control.set_multiple_message_enable(self.mapped.map_or(0, |(_, log2)| log2));
            hardware.write_config(self.device, self.control_register, 2, control.0.into());
            self.enabled = enabled;
        }
    }
}

fn unbind(first: Pirq, vectors: u8, hardware: &mut impl Hardware) {
    for nth in 0..vectors {
        hardware.unbind(first.nth(nth));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::message::GuestMessage;
    use crate::host::recorder::{Recorder, DEVICE};

    fn wanted(vector: u32, log2: u8, mask: u32) -> Option<MsiDelivery> {
        let message = GuestMessage { address: 0xfee0_0000, data: vector };
        message.validate_block(log2).ok().map(|block| MsiDelivery { block, mask })
    }

    /// Taken, and told what is wanted: what was done, and whether it worked.
    fn turn_on(msi: &mut HostMsi, hardware: &mut Recorder, wanted: Option<MsiDelivery>) -> (String, bool) {
        let worked = wanted.is_some_and(|wanted| msi.turn_on(&wanted, hardware).is_ok());
        (hardware.told(), worked)
    }

    fn taken() -> (HostMsi, Recorder) {
        let mut hardware = Recorder::default();
        let msi = HostMsi::take(DEVICE, 0x42, &mut hardware);
        assert_eq!(hardware.told(), "0x42=0x0");
        (msi, hardware)
    }

    #[test]
    fn every_vector_is_bound_before_enable() {
        let (mut msi, mut hardware) = taken();
        let done = "map 4 vectors, bind 50 0x50, bind 51 0x51, bind 52 0x52, bind 53 0x53, \
            unmask 50, unmask 52, unmask 53, 0x42=0x21";
        assert_eq!(turn_on(&mut msi, &mut hardware, wanted(0x50, 2, 2)), (done.into(), true));
        msi.turn_off(&mut hardware);
        assert_eq!(hardware.told(), "0x42=0x20, unbind 50, unbind 51, unbind 52, unbind 53, unmap 50");
    }

    #[test]
    fn another_count_is_set_up_anew_while_off() {
        let (mut msi, mut hardware) = taken();
        turn_on(&mut msi, &mut hardware, wanted(0x50, 1, 0));
        let done = "0x42=0x10, unbind 50, unbind 51, unmap 50, map 1 vectors, bind 52 0x50, unmask 52, 0x42=0x1";
        assert_eq!(turn_on(&mut msi, &mut hardware, wanted(0x50, 0, 0)), (done.into(), true));
    }

    #[test]
    fn nothing_is_done_twice() {
        let (mut msi, mut hardware) = taken();
        turn_on(&mut msi, &mut hardware, wanted(0x51, 0, 0));
        assert_eq!(turn_on(&mut msi, &mut hardware, wanted(0x51, 0, 0)), (String::new(), true));
        assert_eq!(turn_on(&mut msi, &mut hardware, wanted(0x52, 0, 0)), ("bind 50 0x52".into(), true));
        msi.turn_off(&mut hardware);
        hardware.told();
        msi.turn_off(&mut hardware);
        assert_eq!(hardware.told(), "");
    }

    #[test]
    fn masks_follow_one_by_one() {
        let (mut msi, mut hardware) = taken();
        turn_on(&mut msi, &mut hardware, wanted(0x50, 1, 3));
        for (mask, done) in [(2, "unmask 50"), (0, "unmask 51"), (3, "mask 50, mask 51"), (0xffff_fff3, "")] {
            assert_eq!(turn_on(&mut msi, &mut hardware, wanted(0x50, 1, mask)), (done.into(), true));
        }
    }

    #[test]
    fn a_failure_leaves_msi_off_and_is_tried_again() {
        let bound = "map 2 vectors, bind 50 0x50, bind 51 0x51, unbind 50, unmap 50";
        for (failing, more, done, again) in [("map", 0, "map 2 vectors", 50), ("bind", 1, bound, 52)] {
            let (mut msi, mut hardware) = taken();
            hardware.failing = (failing, more);
            assert_eq!(turn_on(&mut msi, &mut hardware, wanted(0x50, 1, 3)), (done.into(), false));
            hardware.failing = ("", 0);
            let next = again + 1;
            let done = format!("map 2 vectors, bind {again} 0x50, bind {next} 0x51, 0x42=0x11");
            assert_eq!(turn_on(&mut msi, &mut hardware, wanted(0x50, 1, 3)), (done, true));
        }
    }

    #[test]
    fn told_again_the_message_comes_before_enable() {
        let (mut msi, mut hardware) = taken();
        assert_eq!((msi.restore(&mut hardware), msi.is_lost(&mut hardware)), (Ok(()), false));
        turn_on(&mut msi, &mut hardware, wanted(0x50, 1, 0));
        assert!(!msi.is_lost(&mut hardware));
        hardware.lost = true;
        assert!(msi.is_lost(&mut hardware));
        assert_eq!(msi.restore(&mut hardware), Ok(()));
        assert_eq!(hardware.told(), "0x42=0x10, again 50, again 51, 0x42=0x11");
        hardware.failing = ("again", 1);
        assert!(msi.restore(&mut hardware).is_err());
        assert_eq!(hardware.told(), "0x42=0x10, again 50, again 51, unbind 50, unbind 51, unmap 50");
        assert!(!msi.is_lost(&mut hardware));
    }

    #[test]
    fn a_failed_rebind_turns_off_first() {
        let (mut msi, mut hardware) = taken();
        turn_on(&mut msi, &mut hardware, wanted(0x50, 1, 0));
        hardware.failing = ("bind", 1);
        let done = "bind 50 0x60, bind 51 0x61, 0x42=0x10, unbind 50, unbind 51, unmap 50";
        assert_eq!(turn_on(&mut msi, &mut hardware, wanted(0x60, 1, 0)), (done.into(), false));
    }
}
