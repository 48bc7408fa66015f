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
