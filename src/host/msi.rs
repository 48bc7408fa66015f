// SPDX-License-Identifier: GPL-2.0-only
//! The hardware's side of MSI: what a device's MSI was last programmed with. Nothing is read back.

use crate::core::address::Sbdf;
use crate::core::message::BoundBlock;
use crate::core::msi::MsiDelivery;
use crate::core::spec::{MsiControl, MSI_VECTORS_LOG2_MAX};
use crate::host::hardware::{read_control, Hardware, Incomplete, Pirq};

/// A device's MSI in hardware.
#[derive(Debug)]
pub struct HostMsi {
    device: Sbdf,
    control_register: u16,
    enabled: bool,
    mapped: Option<Mapped>,
}

/// The interrupts of a device's MSI.
#[derive(Debug)]
struct Mapped {
    /// That of the first vector.
    first: Pirq,
    /// How many there are, as log2.
    vectors_log2: u8,
    /// Whether the device has Xen's message.
    programmed: bool,
    /// How many, from the first on, may be bound.
    bound: u8,
    /// The block that all of them deliver.
    block: Option<BoundBlock>,
    /// The guest's mask as last set: bit `n` for vector `n`.
    mask: u32,
}

impl HostMsi {
    /// Takes charge of it, and switches it off.
    pub fn take(device: Sbdf, control_register: u16, hardware: &mut impl Hardware) -> Self {
        let mut msi = Self { device, control_register, enabled: true, mapped: None };
        msi.turn_off(hardware);
        msi
    }

    /// Delivers as wanted; the enable bit is the last write.
    ///
    /// # Errors
    /// After [`Incomplete::Failed`] MSI is off, and the next call tries again.
    pub fn turn_on(
        &mut self,
        wanted: &MsiDelivery,
        hardware: &mut impl Hardware,
    ) -> Result<(), Incomplete> {
        let result = self.prepare(wanted, hardware);
        match result {
            Ok(()) => self.set_enabled(true, hardware),
            // What delivers goes on doing so until the rest is done.
            Err(Incomplete::Retry) => {}
            Err(Incomplete::Failed(_)) => self.turn_off(hardware),
        }
        result
    }

    /// Delivers nothing; the enable bit is the first write.
    pub fn turn_off(&mut self, hardware: &mut impl Hardware) {
        self.set_enabled(false, hardware);
        let Some(mapped) = self.mapped.take() else { return };
        for nth in 0..mapped.bound {
            hardware.unbind(mapped.first.nth(nth));
        }
        hardware.unmap(mapped.first);
    }

    /// Whether it is enabled and reads as if it were not.
    pub fn is_lost(&self, hardware: &mut impl Hardware) -> bool {
        self.enabled
            && !MsiControl(read_control(self.device, self.control_register, hardware)).enable()
    }

    /// The device was reset: what it had been programmed with is written again by
    /// [`HostMsi::turn_on`], the enable bit last.
    pub fn lose(&mut self, hardware: &mut impl Hardware) {
        self.set_enabled(false, hardware);
        if let Some(mapped) = &mut self.mapped {
            mapped.programmed = false;
        }
    }

    fn prepare(
        &mut self,
        wanted: &MsiDelivery,
        hardware: &mut impl Hardware,
    ) -> Result<(), Incomplete> {
        let mapped = self.map(&wanted.block, hardware)?;
        mapped.program(hardware)?;
        mapped.bind(wanted.block, hardware)?;
        mapped.set_mask(wanted.mask, hardware);
        Ok(())
    }

    fn map(
        &mut self,
        block: &BoundBlock,
        hardware: &mut impl Hardware,
    ) -> Result<&mut Mapped, Incomplete> {
        let vectors_log2 = block.vectors_log2();
        if self.mapped.as_ref().is_some_and(|mapped| mapped.vectors_log2 != vectors_log2) {
            // Another count is another message in hardware: only while MSI is off.
            self.turn_off(hardware);
        }
        let mapped = match self.mapped.take() {
            Some(mapped) => mapped,
            None => {
                hardware.budget().take_calls(1)?;
                Mapped::new(hardware.map_msi(self.device, block.vectors())?, vectors_log2)
            }
        };
        Ok(self.mapped.insert(mapped))
    }

    fn set_enabled(&mut self, enabled: bool, hardware: &mut impl Hardware) {
        if self.enabled != enabled {
            let mut control = MsiControl(0);
            control.set_enable(enabled);
            control.set_multiple_message_enable(
                self.mapped.as_ref().map_or(0, |mapped| mapped.vectors_log2),
            );
            hardware.write_config(self.device, self.control_register, 2, control.0.into());
            self.enabled = enabled;
        }
    }
}

impl Mapped {
    fn new(first: Pirq, vectors_log2: u8) -> Self {
        Self { first, vectors_log2, programmed: true, bound: 0, block: None, mask: u32::MAX }
    }

    fn vectors(&self) -> u8 {
        1 << self.vectors_log2.min(MSI_VECTORS_LOG2_MAX)
    }

    /// Writes Xen's message and masks to a device that lost them.
    fn program(&mut self, hardware: &mut impl Hardware) -> Result<(), Incomplete> {
        if self.programmed {
            return Ok(());
        }
        hardware.budget().take_calls(self.vectors().into())?;
        for nth in 0..self.vectors() {
            hardware.reprogram(self.first.nth(nth))?;
        }
        self.programmed = true;
        Ok(())
    }

    /// Binds every vector, or those that were not yet when this had to stop.
    fn bind(&mut self, block: BoundBlock, hardware: &mut impl Hardware) -> Result<(), Incomplete> {
        if self.block == Some(block) {
            return Ok(());
        }
        // Each is bound, and may have its mask changed.
        hardware.budget().take_calls(u32::from(self.vectors()).saturating_mul(2))?;
        // While some deliver the new block and some the old one, it is neither.
        self.block = None;
        for (message, nth) in block.messages().zip(0..) {
            hardware.bind(self.first.nth(nth), &message)?;
            self.bound = self.bound.max(nth.saturating_add(1));
        }
        self.block = Some(block);
        Ok(())
    }

    fn set_mask(&mut self, wanted: u32, hardware: &mut impl Hardware) {
        for nth in 0..self.vectors() {
            let bit = 1u32 << nth;
            if (self.mask ^ wanted) & bit != 0 {
                hardware.set_masked(self.first.nth(nth), wanted & bit != 0);
                self.mask ^= bit;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::message::GuestMessage;
    use crate::host::budget::Budget;
    use crate::host::recorder::{Recorder, DEVICE};

    fn wanted(vector: u32, log2: u8, mask: u32) -> Option<MsiDelivery> {
        let message = GuestMessage { address: 0xfee0_0000, data: vector };
        message.validate_block(log2).ok().map(|block| MsiDelivery { block, mask })
    }

    /// Taken, and told what is wanted: what was done, and whether it worked.
    fn turn_on(
        msi: &mut HostMsi,
        hardware: &mut Recorder,
        wanted: Option<MsiDelivery>,
    ) -> (String, bool) {
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
        assert_eq!(
            hardware.told(),
            "0x42=0x20, unbind 50, unbind 51, unbind 52, unbind 53, unmap 50"
        );
    }

    #[test]
    fn another_count_is_set_up_anew_while_off() {
        let (mut msi, mut hardware) = taken();
        turn_on(&mut msi, &mut hardware, wanted(0x50, 1, 0));
        let done = "0x42=0x10, unbind 50, unbind 51, unmap 50, map 1 vectors, bind 52 0x50, \
                    unmask 52, 0x42=0x1";
        assert_eq!(turn_on(&mut msi, &mut hardware, wanted(0x50, 0, 0)), (done.into(), true));
    }

    #[test]
    fn nothing_is_done_twice() {
        let (mut msi, mut hardware) = taken();
        turn_on(&mut msi, &mut hardware, wanted(0x51, 0, 0));
        assert_eq!(turn_on(&mut msi, &mut hardware, wanted(0x51, 0, 0)), (String::new(), true));
        assert_eq!(
            turn_on(&mut msi, &mut hardware, wanted(0x52, 0, 0)),
            ("bind 50 0x52".into(), true)
        );
        msi.turn_off(&mut hardware);
        hardware.told();
        msi.turn_off(&mut hardware);
        assert_eq!(hardware.told(), "");
    }

    #[test]
    fn masks_follow_one_by_one() {
        let (mut msi, mut hardware) = taken();
        turn_on(&mut msi, &mut hardware, wanted(0x50, 1, 3));
        for (mask, done) in
            [(2, "unmask 50"), (0, "unmask 51"), (3, "mask 50, mask 51"), (0xffff_fff3, "")]
        {
            assert_eq!(
                turn_on(&mut msi, &mut hardware, wanted(0x50, 1, mask)),
                (done.into(), true)
            );
        }
    }

    #[test]
    fn a_failure_leaves_msi_off_and_is_tried_again() {
        let bound = "map 2 vectors, bind 50 0x50, bind 51 0x51, unbind 50, unmap 50";
        for (failing, more, done, again) in
            [("map", 0, "map 2 vectors", 50), ("bind", 1, bound, 52)]
        {
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
    fn after_a_reset_the_message_is_written_before_enable() {
        let (mut msi, mut hardware) = taken();
        msi.lose(&mut hardware);
        assert_eq!((hardware.told(), msi.is_lost(&mut hardware)), (String::new(), false));
        turn_on(&mut msi, &mut hardware, wanted(0x50, 1, 0));
        assert!(!msi.is_lost(&mut hardware));
        hardware.lost = true;
        assert!(msi.is_lost(&mut hardware));
        msi.lose(&mut hardware);
        assert_eq!(hardware.told(), "0x42=0x10");
        let done = ("again 50, again 51, 0x42=0x11".into(), true);
        assert_eq!(turn_on(&mut msi, &mut hardware, wanted(0x50, 1, 0)), done);
        msi.lose(&mut hardware);
        hardware.told();
        hardware.failing = ("again", 1);
        let done = ("again 50, again 51, unbind 50, unbind 51, unmap 50".into(), false);
        assert_eq!(turn_on(&mut msi, &mut hardware, wanted(0x50, 1, 0)), done);
        assert!(!msi.is_lost(&mut hardware));
    }

    #[test]
    fn where_xen_would_have_to_wait_the_rest_is_bound_later() {
        let (mut msi, mut hardware) = taken();
        hardware.waits = 2;
        let done = "map 4 vectors, bind 50 0x50, bind 51 0x51, bind 52 0x52";
        assert_eq!(turn_on(&mut msi, &mut hardware, wanted(0x50, 2, 0)), (done.into(), false));
        let done = "bind 50 0x50, bind 51 0x51, bind 52 0x52, bind 53 0x53, \
            unmask 50, unmask 51, unmask 52, unmask 53, 0x42=0x21";
        assert_eq!(turn_on(&mut msi, &mut hardware, wanted(0x50, 2, 0)), (done.into(), true));
        let (mut msi, mut hardware) = taken();
        hardware.waits = 1;
        turn_on(&mut msi, &mut hardware, wanted(0x50, 2, 0));
        msi.turn_off(&mut hardware);
        assert_eq!(hardware.told(), "unbind 50, unmap 50");
    }

    #[test]
    fn a_block_waits_for_a_hold_that_can_bind_it_whole() {
        let (mut msi, mut hardware) = taken();
        hardware.bounded = true;
        assert_eq!(hardware.budget().take_calls(Budget::CALLS.saturating_sub(64)), Ok(()));
        assert_eq!(
            turn_on(&mut msi, &mut hardware, wanted(0x60, 5, 0)),
            ("map 32 vectors".into(), false)
        );
        let (done, worked) = turn_on(&mut msi, &mut hardware, wanted(0x60, 5, 0));
        assert!(worked && done.ends_with("unmask 81, 0x42=0x51"), "{done}");
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
