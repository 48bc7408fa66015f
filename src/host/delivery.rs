// SPDX-License-Identifier: GPL-2.0-only
//! Makes a device's interrupts follow what its guest may have: one of INTx, MSI and MSI-X, and
//! the one that goes is off before the one that comes is on.

use crate::core::address::Sbdf;
use crate::core::device::{Messages, Wanted};
use crate::host::hardware::{Errno, Hardware};
use crate::host::msi::HostMsi;
use crate::host::msix::{HostMsix, Scope};

/// Who says whether a device's memory is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoding {
    /// Its own Command register, which says this.
    Own(bool),
    /// Its physical function.
    PhysicalFunction,
}

/// What a device's interrupts were last told. Nothing here is ever read back from the device.
#[derive(Debug)]
pub struct Delivery {
    device: Sbdf,
    intx_disabled: bool,
    decoding: Decoding,
    msi: Option<HostMsi>,
    msix: Option<HostMsix>,
}

impl Delivery {
    /// The capabilities as taken charge of, with INTx and memory as they are.
    pub fn new(
        device: Sbdf,
        intx_disabled: bool,
        decoding: Decoding,
        msi: Option<HostMsi>,
        msix: Option<HostMsix>,
    ) -> Self {
        Self { device, intx_disabled, decoding, msi, msix }
    }

    /// Whether INTx is off in hardware.
    pub fn intx_disabled(&self) -> bool {
        self.intx_disabled
    }

    /// Who says whether the device's memory is decoded.
    pub fn decoding(&self) -> Decoding {
        self.decoding
    }

    /// Whether the MSI-X table and pending bits can be reached.
    pub fn reachable(&self, hardware: &mut impl Hardware) -> bool {
        match self.decoding {
            Decoding::Own(decoded) => decoded,
            Decoding::PhysicalFunction => hardware.decoded_by_physical_function(self.device).unwrap_or(false),
        }
    }

    /// The hardware's side of MSI-X.
    pub fn msix(&self) -> Option<&HostMsix> {
        self.msix.as_ref()
    }

    /// Takes MSI-X away, which must be off, with all that it had allocated.
    pub fn take_msix(&mut self) -> Option<HostMsix> {
        self.msix.take()
    }

    /// Takes note of what the device's own Command register says of memory decoding; MSI-X is
    /// held before it ends.
    pub fn set_decoded(&mut self, decoded: bool, hardware: &mut impl Hardware) {
        if let Some(msix) = self.msix.as_mut().filter(|_| !decoded) {
            msix.hold(hardware);
        }
        self.decoding = Decoding::Own(decoded);
    }

    /// Makes the hardware do what is wanted, where `scope` says what changed.
    ///
    /// # Errors
    /// Xen's: MSI, or vectors of MSI-X, stay off, until a later call succeeds.
    pub fn follow(&mut self, wanted: &Wanted<'_>, scope: Scope, hardware: &mut impl Hardware) -> Result<(), Errno> {
        if !matches!(wanted.messages, Messages::Msi(_)) {
            self.msi.iter_mut().for_each(|msi| msi.turn_off(hardware));
        }
        if !matches!(wanted.messages, Messages::Msix(_)) {
            self.msix.iter_mut().for_each(|msix| msix.turn_off(hardware));
        }
        // INTx goes before messages come, and comes back no sooner than they are off.
        self.set_intx_disabled(wanted.intx_disable, hardware);
        let reachable = self.reachable(hardware);
        match (&wanted.messages, &mut self.msi, &mut self.msix) {
            (Messages::Msi(wanted), Some(msi), _) => msi.turn_on(wanted, hardware),
            (Messages::Msix(wanted), _, Some(msix)) if reachable => msix.turn_on(wanted, scope, hardware),
            (Messages::Msix(_), _, Some(msix)) => {
                msix.hold(hardware);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether a capability that is enabled reads as if it were not: the device was reset.
    pub fn is_lost(&self, hardware: &mut impl Hardware) -> bool {
        self.msi.as_ref().is_some_and(|msi| msi.is_lost(hardware))
            || self.msix.as_ref().is_some_and(|msix| msix.is_lost(hardware))
    }

    /// Tells the device again all that it was told: INTx before messages.
    ///
    /// # Errors
    /// Xen's; what could not be told is off then, until [`Delivery::follow`].
    pub fn restore(&mut self, hardware: &mut impl Hardware) -> Result<(), Errno> {
        hardware.set_intx_disable(self.device, self.intx_disabled);
        let reachable = self.reachable(hardware);
        let msi = self.msi.as_mut().map_or(Ok(()), |msi| msi.restore(hardware));
        let msix = match &mut self.msix {
            Some(msix) if reachable => msix.restore(hardware),
            Some(msix) => {
                msix.turn_off(hardware);
                Ok(())
            }
            None => Ok(()),
        };
        msi.and(msix)
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
    use crate::core::access::ByteEnables;
    use crate::core::device::Device;
    use crate::core::msi::Msi;
    use crate::core::msix::{Msix, MsixRegisters};
    use crate::core::table::Entry;
    use crate::host::msix::Vector;
    use crate::host::recorder::{Recorder, DEVICE};

    const MSI: u16 = 0x40;
    const MSIX: u16 = 0xa0;

    /// A guest's side and a hardware's side of a device without a table in reach, taken.
    struct Pair {
        device: Device,
        delivery: Delivery,
        hardware: Recorder,
    }

    impl Pair {
        fn new() -> Self {
            let mut hardware = Recorder::default();
            let registers = MsixRegisters { position: MSIX, header: 0x11, table: 0, pending: 0x800 };
            let msix = Msix::new(registers, vec![Entry::RESET].leak());
            let device = Device::new(Some(Msi::new(MSI, 0x0080_0005)), Some(msix));
            let host_msi = HostMsi::take(DEVICE, 0x42, &mut hardware);
            let vectors = vec![Vector::UNUSED].leak();
            let host_msix = HostMsix::take(DEVICE, 0xa2, None, vectors, &mut hardware);
            let delivery = Delivery::new(DEVICE, false, Decoding::Own(true), Some(host_msi), Some(host_msix));
            assert_eq!(hardware.told(), "0x42=0x0, 0xa2=0x0");
            Self { device, delivery, hardware }
        }

        /// The guest writes, and the hardware follows; what was done.
        fn write(&mut self, register: u16, value: u32) -> String {
            self.device.write(register, ByteEnables::ALL, value);
            let _ = self.delivery.follow(&self.device.wanted(), Scope::Device, &mut self.hardware);
            self.hardware.told()
        }

        fn program(&mut self) {
            assert_eq!(self.write(0x44, 0xfee0_0000), "");
            assert_eq!(self.write(0x4c, 0x51), "");
        }
    }

    #[test]
    fn enable_is_last_on_and_first_off() {
        let mut pair = Pair::new();
        pair.program();
        assert_eq!(pair.write(MSI, 0x1_0000), "intx off, map 1 vectors, bind 50 0x51, unmask 50, 0x42=0x1");
        assert!(pair.delivery.intx_disabled());
        assert_eq!(pair.write(MSI, 0), "0x42=0x0, unbind 50, unmap 50, intx on");
        assert!(!pair.delivery.intx_disabled());
    }

    #[test]
    fn enabled_with_nothing_to_deliver_is_silent() {
        let mut pair = Pair::new();
        assert_eq!(pair.write(MSI, 0x1_0000), "intx off");
        assert_eq!(pair.write(MSI, 0), "intx on");
    }

    #[test]
    fn the_guests_own_intx_disable_stays() {
        let mut pair = Pair::new();
        pair.program();
        assert_eq!(pair.write(4, 0x0400), "intx off");
        assert_eq!(pair.write(MSI, 0x1_0000), "map 1 vectors, bind 50 0x51, unmask 50, 0x42=0x1");
        assert_eq!(pair.write(MSI, 0), "0x42=0x0, unbind 50, unmap 50");
        assert_eq!(pair.write(4, 0), "intx on");
    }

    #[test]
    fn release_ends_delivery_and_restores_intx() {
        let mut pair = Pair::new();
        pair.program();
        pair.write(MSI, 0x1_0000);
        let _ = pair.delivery.follow(&pair.device.released(), Scope::Device, &mut pair.hardware);
        assert_eq!(pair.hardware.told(), "0x42=0x0, unbind 50, unmap 50, intx on");
        assert!(pair.delivery.take_msix().is_some());
    }

    #[test]
    fn a_virtual_function_asks_its_physical_one() {
        let mut pair = Pair::new();
        pair.delivery.decoding = Decoding::PhysicalFunction;
        for (decoded, reachable) in [(Some(true), true), (Some(false), false), (None, false)] {
            pair.hardware.physical_function = decoded;
            assert_eq!(pair.delivery.reachable(&mut pair.hardware), reachable);
        }
        pair.delivery.set_decoded(false, &mut pair.hardware);
        assert_eq!(pair.delivery.decoding(), Decoding::Own(false));
    }
}
