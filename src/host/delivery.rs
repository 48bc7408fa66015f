// SPDX-License-Identifier: GPL-2.0-only
//! Makes a device's interrupts be what its guest may have: one of INTx, MSI and MSI-X, and the one
//! that goes is off before the one that comes is on.

use crate::core::address::Sbdf;
use crate::core::device::{Messages, Wanted};
use crate::core::power::Transition;
use crate::core::spec::{Command, COMMAND, NO_ANSWER, RESET_TIME, WAKE_TIME};
use crate::host::hardware::{Hardware, Incomplete};
use crate::host::msi::HostMsi;
use crate::host::msix::{HostMsix, Memory, Scope};

/// Who says whether a device's memory is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoding {
    /// Its own Command register, which says this.
    Own(bool),
    /// The Command register of its physical function.
    PhysicalFunction(Sbdf),
}

/// Whether the device is there to be programmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    /// It is.
    Present,
    /// It sleeps: configuration space answers, its memory does not. `lost`: it was put to sleep
    /// before it was back from where it had been, and is left alone until it wakes.
    Asleep { lost: bool },
    /// It comes back from sleep or a reset, at this time (in nanoseconds) at the latest; nobody
    /// touches it before.
    Returning(u64),
}

/// What a device's interrupts were last programmed with. Nothing here is ever read back from the
/// device.
#[derive(Debug)]
pub struct Delivery {
    device: Sbdf,
    intx_disabled: bool,
    decoding: Decoding,
    presence: Presence,
    /// Whether Xen's own code is kept away from the device's memory.
    away: bool,
    /// Whether MSI-X is held because the physical function does not decode memory.
    waits: bool,
    /// Whether the device's DMA was stopped, and dom0 has not written Command since.
    dma_stopped: bool,
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
        Self {
            device,
            intx_disabled,
            decoding,
            presence: Presence::Present,
            away: true,
            waits: false,
            dma_stopped: false,
            msi,
            msix,
        }
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
        !self.away
            && self.presence == Presence::Present
            && match self.decoding {
                Decoding::Own(decoded) => decoded,
                Decoding::PhysicalFunction(physical) => command(physical, hardware).memory_space(),
            }
    }

    /// Keeps everybody away from the device's memory while it cannot be reached. When it can be
    /// again, what Xen's own code wanted to write meanwhile is written.
    fn update_away(&mut self, hardware: &mut impl Hardware) {
        let away = self.presence != Presence::Present || self.decoding == Decoding::Own(false);
        if away == self.away || !hardware.set_away(self.device, away) {
            return;
        }
        self.away = away;
        if let Some(msix) = self.msix.as_mut().filter(|_| !away) {
            msix.program_again();
        }
    }

    /// Whether configuration space can be reached.
    pub fn answers(&self) -> bool {
        matches!(self.presence, Presence::Present | Presence::Asleep { lost: false })
    }

    /// The hardware's side of MSI-X.
    pub fn msix(&self) -> Option<&HostMsix> {
        self.msix.as_ref()
    }

    /// Takes the mappings of the MSI-X table and pending bits away, to be given back; all is off.
    pub fn take_memory(&mut self) -> Option<Memory> {
        self.msix.take().and_then(HostMsix::into_memory)
    }

    /// Takes note of what the device's own Command register says of memory decoding; MSI-X is
    /// held before it ends.
    pub fn set_decoded(&mut self, decoded: bool, hardware: &mut impl Hardware) {
        if let Decoding::PhysicalFunction(_) = self.decoding {
            return;
        }
        self.decoding = Decoding::Own(decoded);
        self.update_away(hardware);
        if let Some(msix) = self.msix.as_mut().filter(|_| !decoded) {
            msix.hold(hardware);
        }
    }

    /// What the device says of memory decoding here can make less of it reachable, never more.
    pub fn check_decoded(&mut self, hardware: &mut impl Hardware) {
        if self.decoding == Decoding::Own(true) && !decodes(self.device, hardware) {
            self.set_decoded(false, hardware);
        }
    }

    /// A write to configuration space is about to take the device away: MSI-X is held, and nobody
    /// touches what will not answer.
    pub fn leave(&mut self, transition: Transition, hardware: &mut impl Hardware) {
        let lost = !self.answers();
        let until = match (transition, self.presence) {
            (Transition::Sleep, _) => None,
            (Transition::Wake, Presence::Present) => return,
            (Transition::Wake, Presence::Returning(until)) => {
                Some(until.max(hardware.now().saturating_add(WAKE_TIME)))
            }
            (Transition::Wake, Presence::Asleep { lost: false }) => {
                Some(hardware.now().saturating_add(WAKE_TIME))
            }
            // What it came back from may have been a reset, which may not be over.
            (Transition::Wake, Presence::Asleep { lost: true }) | (Transition::Reset, _) => {
                Some(hardware.now().saturating_add(RESET_TIME))
            }
        };
        self.presence = until.map_or(Presence::Asleep { lost }, Presence::Returning);
        self.update_away(hardware);
        if let Some(msix) = self.msix.as_mut().filter(|_| transition != Transition::Wake) {
            msix.hold(hardware);
        }
        if transition == Transition::Reset {
            self.set_decoded(false, hardware);
        }
        if let Some(until) = until {
            hardware.settle_at(self.device, until);
        }
    }

    /// The host slept: a device that slept before has power again, and nobody may say so.
    pub fn resume(&mut self, hardware: &mut impl Hardware) {
        if let Presence::Asleep { .. } = self.presence {
            let until = hardware.now().saturating_add(RESET_TIME);
            self.presence = Presence::Returning(until);
            hardware.settle_at(self.device, until);
        }
    }

    /// Whether the device is back from where it was: then it has lost what it was programmed with,
    /// or may have. Nobody's word brings it back sooner than the specification has it.
    pub fn come_back(&mut self, hardware: &mut impl Hardware) -> bool {
        let Presence::Returning(until) = self.presence else { return false };
        let now = hardware.now();
        if now < until {
            return false;
        }
        if command(self.device, hardware).0 == NO_ANSWER {
            // Not yet. It is looked for again.
            let until = now.saturating_add(RESET_TIME);
            self.presence = Presence::Returning(until);
            hardware.settle_at(self.device, until);
            return false;
        }
        self.presence = Presence::Present;
        self.lose(hardware);
        self.check_decoded(hardware);
        self.update_away(hardware);
        true
    }

    /// Whether it was put to sleep and nobody was seen to wake it.
    pub fn sleeps(&self) -> bool {
        matches!(self.presence, Presence::Asleep { .. })
    }

    /// Whether MSI-X is held until the physical function decodes memory again, of which nobody
    /// tells.
    pub fn waits(&self) -> bool {
        self.waits
    }

    /// Makes the hardware do what is wanted, where `scope` says what changed.
    ///
    /// # Errors
    /// MSI, or vectors of MSI-X, stay off until a later call succeeds; after [`Incomplete::Retry`]
    /// that one should come soon.
    pub fn apply(
        &mut self,
        wanted: &Wanted<'_>,
        scope: Scope,
        hardware: &mut impl Hardware,
    ) -> Result<(), Incomplete> {
        if !self.answers() {
            return Ok(());
        }
        self.update_away(hardware);
        let reachable = self.reachable(hardware);
        if !matches!(wanted.messages, Messages::Msi(_)) {
            self.msi.iter_mut().for_each(|msi| msi.turn_off(hardware));
        }
        if let Some(msix) =
            self.msix.as_mut().filter(|_| !matches!(wanted.messages, Messages::Msix(_)))
        {
            msix.turn_off(reachable, hardware)?;
        }
        // INTx goes before messages come, and comes back no sooner than they are off.
        self.set_intx_disabled(wanted.intx_disable, hardware);
        match (&wanted.messages, &mut self.msi, &mut self.msix) {
            (Messages::Msi(wanted), Some(msi), _) => msi.turn_on(wanted, hardware),
            (Messages::Msix(wanted), _, Some(msix)) if reachable => {
                if core::mem::take(&mut self.waits) {
                    msix.program_again();
                }
                msix.turn_on(wanted, scope, hardware)
            }
            (Messages::Msix(_), _, Some(msix)) => {
                msix.hold(hardware);
                if let (Decoding::PhysicalFunction(_), Presence::Present) =
                    (self.decoding, self.presence)
                {
                    self.waits = true;
                    let again = hardware.now().saturating_add(RESET_TIME);
                    hardware.settle_at(self.device, again);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Turns everything off, wherever the device is, with INTx as given. Nobody waits for the
    /// device's memory meanwhile, however slowly it answers.
    ///
    /// # Errors
    /// [`Incomplete::Retry`]: nothing is delivered any more, and there is more to give back.
    pub fn silence(
        &mut self,
        intx_disabled: bool,
        hardware: &mut impl Hardware,
    ) -> Result<(), Incomplete> {
        self.msi.iter_mut().for_each(|msi| msi.turn_off(hardware));
        let reachable = self.reachable(hardware);
        if let Some(msix) = &mut self.msix {
            msix.hold(hardware);
            if reachable {
                msix.mask_vectors(hardware)?;
            }
        }
        self.keep_away(hardware);
        if let Some(msix) = &mut self.msix {
            msix.turn_off(false, hardware)?;
        }
        self.set_intx_disabled(intx_disabled, hardware);
        Ok(())
    }

    fn keep_away(&mut self, hardware: &mut impl Hardware) {
        if !self.away {
            self.away = hardware.set_away(self.device, true);
        }
    }

    /// Whether a capability that is enabled reads as if it were not: the device was reset. What it
    /// answers decides no more than whether it is programmed with the same once more.
    pub fn is_lost(&self, hardware: &mut impl Hardware) -> bool {
        self.msi.as_ref().is_some_and(|msi| msi.is_lost(hardware))
            || self.msix.as_ref().is_some_and(|msix| msix.is_lost(hardware))
    }

    /// The device was reset: INTx is off again where it was, and [`Delivery::apply`] programs the
    /// messages again.
    pub fn lose(&mut self, hardware: &mut impl Hardware) {
        self.write_command(hardware);
        self.msi.iter_mut().for_each(|msi| msi.lose(hardware));
        self.msix.iter_mut().for_each(|msix| msix.lose(hardware));
    }

    fn set_intx_disabled(&mut self, disabled: bool, hardware: &mut impl Hardware) {
        if self.intx_disabled != disabled {
            self.intx_disabled = disabled;
            self.write_command(hardware);
        }
    }
    /// Stops the device's DMA until dom0 writes Command: its Bus Master bit is cleared.
    pub fn stop_dma(&mut self, hardware: &mut impl Hardware) {
        self.dma_stopped = true;
        if command(self.device, hardware).0 == NO_ANSWER {
            // What else it had enabled is not known: nothing is, until dom0 writes Command.
            self.set_decoded(false, hardware);
            hardware.write_config(self.device, COMMAND, 1, 0);
        } else {
            self.write_command(hardware);
        }
    }

    /// Dom0 decides on the device's DMA again.
    pub fn allow_dma(&mut self) {
        self.dma_stopped = false;
    }

    /// Writes INTx-disable, and Bus Master once DMA was stopped, as they have to be, whatever the
    /// device says of them. Where nothing answers, or says so, the other bits are not known: then
    /// only the half is written that has INTx-disable.
    fn write_command(&self, hardware: &mut impl Hardware) {
        let mut changed = command(self.device, hardware);
        if changed.0 == NO_ANSWER {
            changed = Command(0);
            changed.set_intx_disable(self.intx_disabled);
            let high = u32::from(changed.0 >> 8);
            hardware.write_config(self.device, COMMAND.saturating_add(1), 1, high);
            return;
        }
        changed.set_intx_disable(self.intx_disabled);
        if self.dma_stopped {
            changed.set_bus_master(false);
        }
        hardware.write_config(self.device, COMMAND, 2, changed.0.into());
    }
}

/// A function's Command register. What it says of other bits than the one to be changed goes back
/// to the same function, and decides nothing.
pub fn command(device: Sbdf, hardware: &mut impl Hardware) -> Command {
    Command(hardware.read_config(device, COMMAND) as u16)
}

fn decodes(device: Sbdf, hardware: &mut impl Hardware) -> bool {
    let command = command(device, hardware);
    command.0 != NO_ANSWER && command.memory_space()
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
    use crate::host::recorder::{Recorder, DEVICE, PHYSICAL};
    use crate::memory::Owned;

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
            let registers =
                MsixRegisters { position: MSIX, header: 0x11, table: 0, pending: 0x800 };
            let msix = Msix::new(registers, Owned::of(vec![Entry::RESET]));
            let device = Device::new(Some(Msi::new(MSI, 0x0080_0005, 1)), Some(msix));
            let host_msi = HostMsi::take(DEVICE, 0x42, &mut hardware);
            let vectors = Owned::of(vec![Vector::UNUSED]);
            let host_msix = HostMsix::take(DEVICE, 0xa2, None, vectors, &mut hardware);
            let mut delivery =
                Delivery::new(DEVICE, false, Decoding::Own(true), Some(host_msi), Some(host_msix));
            delivery.update_away(&mut hardware);
            assert_eq!(hardware.told(), "0x42=0x0, 0xa2=0x0, here");
            Self { device, delivery, hardware }
        }

        /// The guest writes, and the hardware follows; what was done.
        fn write(&mut self, register: u16, value: u32) -> String {
            self.device.write(register, ByteEnables::ALL, value);
            let _ = self.delivery.apply(&self.device.wanted(), Scope::Device, &mut self.hardware);
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
        assert_eq!(
            pair.write(MSI, 0x1_0000),
            "intx off, map 1 vectors, bind 50 0x51, unmask 50, 0x42=0x1"
        );
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
        let _ = pair.delivery.silence(false, &mut pair.hardware);
        assert_eq!(pair.hardware.told(), "0x42=0x0, unbind 50, unmap 50, away, intx on");
        assert!(pair.delivery.take_memory().is_none() && pair.delivery.msix().is_none());
    }

    #[test]
    fn a_virtual_function_asks_its_physical_one() {
        let mut pair = Pair::new();
        pair.delivery.decoding = Decoding::PhysicalFunction(PHYSICAL);
        for decoded in [true, false] {
            pair.hardware.physical_function = decoded;
            assert_eq!(pair.delivery.reachable(&mut pair.hardware), decoded);
        }
        pair.delivery.set_decoded(true, &mut pair.hardware);
        assert_eq!(pair.delivery.decoding(), Decoding::PhysicalFunction(PHYSICAL));
    }

    #[test]
    fn a_device_that_sleeps_is_not_reached_and_loses_what_it_had() {
        let mut pair = Pair::new();
        pair.program();
        pair.write(MSI, 0x1_0000);
        pair.delivery.leave(Transition::Sleep, &mut pair.hardware);
        assert_eq!(pair.hardware.told(), "away");
        assert!(!pair.delivery.reachable(&mut pair.hardware) && pair.delivery.answers());
        assert!(!pair.delivery.come_back(&mut pair.hardware), "asleep is not on its way back");
        pair.delivery.leave(Transition::Wake, &mut pair.hardware);
        assert!(!pair.delivery.answers());
        // Nothing reaches it meanwhile.
        assert_eq!(pair.write(MSI, 0), "");
        assert_eq!(pair.write(MSI, 0x1_0000), "");
        assert!(!pair.delivery.come_back(&mut pair.hardware));
        pair.hardware.time += WAKE_TIME;
        assert!(pair.delivery.come_back(&mut pair.hardware));
        assert_eq!(pair.hardware.told(), "intx off, 0x42=0x0, here");
        assert_eq!(pair.write(MSI, 0x1_0000), "again 50, 0x42=0x1");
        // Awake already: nothing changes.
        pair.delivery.leave(Transition::Wake, &mut pair.hardware);
        assert_eq!(pair.hardware.told(), "");
    }

    #[test]
    fn a_reset_ends_memory_decoding_until_its_owner_brings_it_back() {
        let mut pair = Pair::new();
        pair.delivery.leave(Transition::Reset, &mut pair.hardware);
        assert_eq!(
            (pair.hardware.told(), pair.delivery.decoding()),
            ("away".into(), Decoding::Own(false))
        );
        // Nobody's word makes it there sooner.
        pair.delivery.set_decoded(true, &mut pair.hardware);
        pair.hardware.time = RESET_TIME - 1;
        assert!(!pair.delivery.come_back(&mut pair.hardware));
        assert!(!pair.delivery.reachable(&mut pair.hardware));
        pair.delivery.set_decoded(false, &mut pair.hardware);
        pair.hardware.time = RESET_TIME;
        assert!(pair.delivery.come_back(&mut pair.hardware));
        assert_eq!(pair.hardware.told(), "intx on");
        assert!(!pair.delivery.reachable(&mut pair.hardware));
        pair.delivery.set_decoded(true, &mut pair.hardware);
        assert_eq!(pair.hardware.told(), "here");
        assert!(pair.delivery.reachable(&mut pair.hardware));
    }

    #[test]
    fn what_sleeps_is_not_reached_even_where_xen_cannot_be_told() {
        let mut pair = Pair::new();
        assert!(pair.delivery.reachable(&mut pair.hardware));
        pair.hardware.unlisted = true;
        pair.delivery.leave(Transition::Sleep, &mut pair.hardware);
        assert!(!pair.delivery.reachable(&mut pair.hardware));
    }

    #[test]
    fn put_to_sleep_on_its_way_back_it_is_left_alone_until_it_wakes() {
        let mut pair = Pair::new();
        pair.program();
        pair.write(MSI, 0x1_0000);
        pair.delivery.leave(Transition::Reset, &mut pair.hardware);
        pair.delivery.leave(Transition::Sleep, &mut pair.hardware);
        pair.hardware.told();
        pair.hardware.time = RESET_TIME;
        assert!(!pair.delivery.come_back(&mut pair.hardware) && !pair.delivery.answers());
        assert_eq!(pair.write(MSI, 0x1_0000), "");
        pair.delivery.leave(Transition::Wake, &mut pair.hardware);
        pair.hardware.time += WAKE_TIME;
        assert!(!pair.delivery.come_back(&mut pair.hardware), "its reset may not be over");
        pair.hardware.time += RESET_TIME;
        assert!(pair.delivery.come_back(&mut pair.hardware));
        assert_eq!(pair.hardware.told(), "intx off, 0x42=0x0");
        assert_eq!(pair.write(MSI, 0x1_0000), "again 50, 0x42=0x1");
    }

    #[test]
    fn a_device_on_its_way_back_can_be_silenced() {
        let mut pair = Pair::new();
        pair.program();
        pair.write(MSI, 0x1_0000);
        pair.delivery.leave(Transition::Reset, &mut pair.hardware);
        pair.hardware.told();
        assert_eq!(pair.delivery.silence(false, &mut pair.hardware), Ok(()));
        assert_eq!(pair.hardware.told(), "0x42=0x0, unbind 50, unmap 50, intx on");
    }
}
