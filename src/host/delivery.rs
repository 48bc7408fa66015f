// SPDX-License-Identifier: GPL-2.0-only
//! Makes a device's interrupts follow what its guest may have, in the one order that is safe:
//! the enable bit is the last write when turning on and the first when turning off, and INTx is
//! off before MSI is on.

use crate::core::address::Sbdf;
use crate::core::device::Wanted;
use crate::core::message::BoundMessage;
use crate::core::msi::MsiDelivery;
use crate::core::spec::MsiControl;
use crate::host::hardware::{Errno, Hardware, Pirq};

/// What the hardware was last told. Nothing here is ever read back from the device.
#[derive(Debug)]
pub struct Delivery {
    device: Sbdf,
    control_register: u16,
    intx_disabled: bool,
    pirq: Option<Pirq>,
    bound: Option<BoundMessage>,
    masked: bool,
    enabled: bool,
}

impl Delivery {
    /// Takes charge of a device: MSI off, INTx as it is (`intx_disabled`).
    pub fn take(device: Sbdf, control_register: u16, intx_disabled: bool, hardware: &mut impl Hardware) -> Self {
        let mut delivery =
            Self { device, control_register, intx_disabled, pirq: None, bound: None, masked: true, enabled: true };
        delivery.set_enabled(false, hardware);
        delivery
    }

    /// Whether INTx is off in hardware.
    pub fn intx_disabled(&self) -> bool {
        self.intx_disabled
    }

    /// Makes the hardware do what is wanted. On failure MSI is off and the next call tries again.
    pub fn follow(&mut self, wanted: &Wanted, hardware: &mut impl Hardware) -> Result<(), Errno> {
        let result = match wanted.msi {
            Some(msi) => self.turn_on(&msi, hardware),
            None => {
                self.turn_off(hardware);
                Ok(())
            }
        };
        if result.is_err() {
            self.turn_off(hardware);
        }
        // Only now: INTx may come back no sooner than MSI is off.
        self.set_intx_disabled(wanted.intx_disable, hardware);
        result
    }

    fn turn_on(&mut self, msi: &MsiDelivery, hardware: &mut impl Hardware) -> Result<(), Errno> {
        self.set_intx_disabled(true, hardware);
        let pirq = match self.pirq {
            Some(pirq) => pirq,
            None => hardware.map(self.device)?,
        };
        self.pirq = Some(pirq);
        if self.bound != Some(msi.message) {
            hardware.bind(pirq, &msi.message)?;
            self.bound = Some(msi.message);
        }
        if self.masked != msi.masked {
            hardware.set_masked(pirq, msi.masked);
            self.masked = msi.masked;
        }
        self.set_enabled(true, hardware);
        Ok(())
    }

    fn turn_off(&mut self, hardware: &mut impl Hardware) {
        self.set_enabled(false, hardware);
        let Some(pirq) = self.pirq.take() else { return };
        if self.bound.take().is_some() {
            hardware.unbind(pirq);
        }
        self.masked = true;
        hardware.unmap(pirq);
    }

    fn set_enabled(&mut self, enabled: bool, hardware: &mut impl Hardware) {
        if self.enabled != enabled {
            let mut control = MsiControl(0);
            control.set_enable(enabled);
            hardware.write_config(self.device, self.control_register, control.0);
            self.enabled = enabled;
        }
    }

    fn set_intx_disabled(&mut self, disabled: bool, hardware: &mut impl Hardware) {
        if self.intx_disabled != disabled {
            hardware.set_intx_disable(self.device, disabled);
            self.intx_disabled = disabled;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::learn::HostBar;
    use crate::core::message::GuestMessage;
    use crate::core::spec::BAR_COUNT;
    use core::ffi::CStr;

    const DEVICE: Sbdf = Sbdf(0x20);
    const PIRQ: Pirq = Pirq(55);

    /// Writes down what is done to it; from the call named on, mapping or binding fails.
    #[derive(Default)]
    struct Recorder {
        done: Vec<String>,
        failing: &'static str,
    }

    impl Recorder {
        /// What was done since the last time.
        fn told(&mut self) -> String {
            std::mem::take(&mut self.done).join(", ")
        }

        fn attempt(&mut self, call: &str) -> Result<(), Errno> {
            self.done.push(call.into());
            if self.failing == call {
                return Err(Errno::NO_SPACE);
            }
            Ok(())
        }
    }

    impl Hardware for Recorder {
        fn read_config(&mut self, _: Sbdf, _: u16) -> u32 {
            0
        }

        fn write_config(&mut self, _: Sbdf, register: u16, value: u16) {
            self.done.push(format!("{register:#x}={value}"));
        }

        fn msi_position(&mut self, _: Sbdf) -> Option<u16> {
            None
        }

        fn bars(&mut self, _: Sbdf) -> [Option<HostBar>; BAR_COUNT] {
            [None; BAR_COUNT]
        }

        fn set_intx_disable(&mut self, _: Sbdf, disable: bool) {
            self.done.push(format!("intx {}", if disable { "off" } else { "on" }));
        }

        fn map(&mut self, _: Sbdf) -> Result<Pirq, Errno> {
            self.attempt("map").map(|()| PIRQ)
        }

        fn unmap(&mut self, _: Pirq) {
            self.done.push("unmap".into());
        }

        fn bind(&mut self, _: Pirq, _: &BoundMessage) -> Result<(), Errno> {
            self.attempt("bind")
        }

        fn unbind(&mut self, _: Pirq) {
            self.done.push("unbind".into());
        }

        fn set_masked(&mut self, _: Pirq, masked: bool) {
            self.done.push(if masked { "mask" } else { "unmask" }.into());
        }

        fn log(&mut self, _: Sbdf, _: &'static CStr, _: u64) {}
    }

    const OFF: Wanted = Wanted { intx_disable: false, msi: None };

    fn on(vector: u32, masked: bool) -> Wanted {
        let message = GuestMessage { address: 0xfee0_0000, data: vector }.validate().ok();
        Wanted { intx_disable: true, msi: message.map(|message| MsiDelivery { message, masked }) }
    }

    fn taken() -> (Delivery, Recorder) {
        let mut hardware = Recorder::default();
        let delivery = Delivery::take(DEVICE, 0x42, false, &mut hardware);
        assert_eq!(hardware.told(), "0x42=0");
        (delivery, hardware)
    }

    #[test]
    fn enable_is_last_on_and_first_off() {
        let (mut delivery, mut hardware) = taken();
        assert_eq!(delivery.follow(&on(0x51, false), &mut hardware), Ok(()));
        assert_eq!(hardware.told(), "intx off, map, bind, unmask, 0x42=1");
        assert_eq!(delivery.follow(&OFF, &mut hardware), Ok(()));
        assert_eq!(hardware.told(), "0x42=0, unbind, unmap, intx on");
        assert!(!delivery.intx_disabled());
    }

    #[test]
    fn nothing_is_done_twice() {
        let (mut delivery, mut hardware) = taken();
        assert_eq!(delivery.follow(&OFF, &mut hardware), Ok(()));
        assert_eq!(hardware.told(), "");
        for _ in 0..2 {
            assert_eq!(delivery.follow(&on(0x51, false), &mut hardware), Ok(()));
        }
        assert_eq!(hardware.told(), "intx off, map, bind, unmask, 0x42=1");
    }

    #[test]
    fn another_message_binds_again() {
        let (mut delivery, mut hardware) = taken();
        assert_eq!(delivery.follow(&on(0x51, false), &mut hardware), Ok(()));
        hardware.told();
        assert_eq!(delivery.follow(&on(0x52, false), &mut hardware), Ok(()));
        assert_eq!(hardware.told(), "bind");
    }

    #[test]
    fn a_masked_vector_stays_masked() {
        let (mut delivery, mut hardware) = taken();
        assert_eq!(delivery.follow(&on(0x51, true), &mut hardware), Ok(()));
        assert_eq!(hardware.told(), "intx off, map, bind, 0x42=1");
        assert_eq!(delivery.follow(&on(0x51, false), &mut hardware), Ok(()));
        assert_eq!(hardware.told(), "unmask");
        assert_eq!(delivery.follow(&on(0x51, true), &mut hardware), Ok(()));
        assert_eq!(hardware.told(), "mask");
    }

    #[test]
    fn a_failure_leaves_msi_off_and_is_tried_again() {
        for (failing, done) in [("map", "intx off, map"), ("bind", "intx off, map, bind, unmap")] {
            let (mut delivery, mut hardware) = taken();
            hardware.failing = failing;
            assert_eq!(delivery.follow(&on(0x51, false), &mut hardware), Err(Errno::NO_SPACE));
            assert_eq!(hardware.told(), done);
            hardware.failing = "";
            assert_eq!(delivery.follow(&on(0x51, false), &mut hardware), Ok(()));
            assert_eq!(hardware.told(), "map, bind, unmask, 0x42=1");
        }
    }

    #[test]
    fn a_failed_rebind_turns_off_first() {
        let (mut delivery, mut hardware) = taken();
        assert_eq!(delivery.follow(&on(0x51, false), &mut hardware), Ok(()));
        hardware.told();
        hardware.failing = "bind";
        assert_eq!(delivery.follow(&on(0x52, false), &mut hardware), Err(Errno::NO_SPACE));
        assert_eq!(hardware.told(), "bind, 0x42=0, unbind, unmap");
    }
}
