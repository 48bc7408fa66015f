// SPDX-License-Identifier: GPL-2.0-only
//! One guest: its managed devices, and what it wrote into the headers of its functions.
//!
//! Locking: one lock per guest, taken first by every method that changes anything. It may be
//! taken with Xen's domctl lock and pcidevs_lock held, never with d->pci_lock, event_lock or an
//! interrupt's lock held, because [`Hardware`] takes those. Never taken in interrupt context.

use core::sync::atomic::{AtomicBool, Ordering};

use spin::Mutex;

use crate::core::access::ConfigAccess;
use crate::core::address::{GuestFunction, Sbdf};
use crate::core::learn::{Headers, Mapping};
use crate::host::hardware::{Errno, Hardware};
use crate::host::managed::{Answer, Managed};

/// Managed devices a guest may have: the slots of the guest's bus.
pub const DEVICES: usize = 32;

/// What msitrap keeps for a guest, from its first managed device to its end.
#[derive(Debug)]
pub struct Guest {
    state: Mutex<State>,
    /// Which functions are learned: looked at without the lock, so that accesses to others
    /// cost a load.
    learned: [AtomicBool; GuestFunction::COUNT],
}

#[derive(Debug)]
struct State {
    devices: [Option<Managed>; DEVICES],
    headers: Headers,
}

/// An access of the guest's to configuration space.
#[derive(Clone, Copy, Debug)]
pub struct GuestAccess {
    /// Whose configuration space.
    pub function: GuestFunction,
    /// Where in it.
    pub access: ConfigAccess,
}

impl Guest {
    /// A guest without devices.
    pub const fn empty() -> Self {
        Self {
            state: Mutex::new(State { devices: [const { None }; DEVICES], headers: Headers::EMPTY }),
            learned: [const { AtomicBool::new(false) }; GuestFunction::COUNT],
        }
    }

    /// Manages a device that was just assigned; false when it has nothing to manage.
    ///
    /// # Errors
    /// `EEXIST` when it is managed already, `ENOSPC` when the guest has [`DEVICES`] devices.
    pub fn manage(&self, sbdf: Sbdf, hardware: &mut impl Hardware) -> Result<bool, Errno> {
        let mut state = self.state.lock();
        if state.device(sbdf).is_some() {
            return Err(Errno::EXISTS);
        }
        let slot = state.devices.iter_mut().find(|slot| slot.is_none()).ok_or(Errno::NO_SPACE)?;
        *slot = Managed::take(sbdf, hardware);
        Ok(slot.is_some())
    }

    /// Releases a device, if it is managed.
    pub fn release(&self, sbdf: Sbdf, hardware: &mut impl Hardware) {
        let mut state = self.state.lock();
        let found = state.devices.iter_mut().find(|slot| slot.as_ref().is_some_and(|device| device.sbdf() == sbdf));
        let Some(mut device) = found.and_then(Option::take) else { return };
        device.release(hardware);
        if let Some(function) = device.function() {
            self.set_learned(function, false);
        }
    }

    /// The guest reads configuration space. `mergeable` says whether the device model's answer
    /// can be completed with bits of Xen's.
    pub fn read(&self, guest: GuestAccess, mergeable: bool, hardware: &mut impl Hardware) -> Answer {
        if !self.is_learned(guest.function) {
            return Answer::FORWARD;
        }
        let mut state = self.state.lock();
        let device = state.function(guest.function);
        device.map_or(Answer::FORWARD, |device| device.read(guest.access, mergeable, hardware))
    }

    /// The guest writes configuration space; true when the device model must not see it.
    pub fn write(&self, guest: GuestAccess, value: u32, hardware: &mut impl Hardware) -> bool {
        let GuestAccess { function, access } = guest;
        let observed = Headers::concerns(access.register);
        if !observed && !self.is_learned(function) {
            return false;
        }
        let mut state = self.state.lock();
        if observed {
            state.headers.observe(function, access.register, access.enables, access.to_dword(value));
        }
        state.function(function).is_some_and(|device| device.write(access, value, hardware))
    }

    /// The device model mapped host memory into the guest: learns every device that shows.
    pub fn mapped(&self, mapping: &Mapping, hardware: &mut impl Hardware) {
        let State { devices, headers } = &mut *self.state.lock();
        for device in devices.iter_mut().flatten().filter(|device| device.function().is_none()) {
            let found = headers.find(device.bars(), mapping).filter(|function| !self.is_learned(*function));
            if let Some(function) = found {
                self.set_learned(function, true);
                device.learn(function, headers.command(function), hardware);
            }
        }
    }

    /// Dom0 writes configuration space of a device; what remains of it, or None.
    pub fn host_write(&self, sbdf: Sbdf, access: ConfigAccess, value: u32) -> Option<u32> {
        match self.state.lock().device(sbdf) {
            Some(device) => device.host_write(access, value),
            None => Some(value),
        }
    }

    fn is_learned(&self, function: GuestFunction) -> bool {
        self.learned.get(usize::from(function.0)).is_some_and(|flag| flag.load(Ordering::Acquire))
    }

    fn set_learned(&self, function: GuestFunction, learned: bool) {
        if let Some(flag) = self.learned.get(usize::from(function.0)) {
            flag.store(learned, Ordering::Release);
        }
    }
}

impl State {
    fn device(&mut self, sbdf: Sbdf) -> Option<&mut Managed> {
        self.devices.iter_mut().flatten().find(|device| device.sbdf() == sbdf)
    }

    fn function(&mut self, function: GuestFunction) -> Option<&mut Managed> {
        self.devices.iter_mut().flatten().find(|device| device.function() == Some(function))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::learn::HostBar;
    use crate::core::message::BoundMessage;
    use crate::core::spec::BAR_COUNT;
    use crate::host::hardware::Pirq;
    use core::ffi::CStr;
    use x86_64::PhysAddr;

    const FUNCTION: GuestFunction = GuestFunction(0x18);
    const BAR: Mapping = Mapping { guest_frame: 0xf2000, machine_frame: 0xfea00, count: 0x100 };

    /// Devices with a 64-bit MSI capability at 0x40 and 1 MiB of memory, except those in `plain`.
    #[derive(Default)]
    struct Devices {
        plain: Option<Sbdf>,
        enabled: bool,
    }

    impl Hardware for Devices {
        fn read_config(&mut self, _: Sbdf, register: u16) -> u32 {
            if register == 0x40 {
                0x0080_0005
            } else {
                0
            }
        }

        fn write_config(&mut self, _: Sbdf, _: u16, value: u16) {
            self.enabled = value == 1;
        }

        fn msi_position(&mut self, device: Sbdf) -> Option<u16> {
            (self.plain != Some(device)).then_some(0x40)
        }

        fn bars(&mut self, _: Sbdf) -> [Option<HostBar>; BAR_COUNT] {
            let bar = HostBar { address: PhysAddr::new(0xfea0_0000), size: 0x10_0000, is_64bit: false };
            [Some(bar), None, None, None, None, None]
        }

        fn set_intx_disable(&mut self, _: Sbdf, _: bool) {}

        fn map(&mut self, _: Sbdf) -> Result<Pirq, Errno> {
            Ok(Pirq(55))
        }

        fn unmap(&mut self, _: Pirq) {}

        fn bind(&mut self, _: Pirq, _: &BoundMessage) -> Result<(), Errno> {
            Ok(())
        }

        fn unbind(&mut self, _: Pirq) {}

        fn set_masked(&mut self, _: Pirq, _: bool) {}

        fn log(&mut self, _: Sbdf, _: &'static CStr, _: u64) {}
    }

    fn at(register: u16, size: u8) -> Option<GuestAccess> {
        ConfigAccess::at(register, size).map(|access| GuestAccess { function: FUNCTION, access })
    }

    fn write(guest: &Guest, hardware: &mut Devices, register: u16, value: u32) -> Option<bool> {
        at(register, 4).map(|access| guest.write(access, value, hardware))
    }

    /// A guest that has one device and placed it.
    fn learned(hardware: &mut Devices) -> Guest {
        let guest = Guest::empty();
        assert_eq!(guest.manage(Sbdf(0x20), hardware), Ok(true));
        assert_eq!(write(&guest, hardware, 0x10, 0xf200_0000), Some(false));
        assert_eq!(write(&guest, hardware, 0x04, 0x2), Some(false));
        guest.mapped(&BAR, hardware);
        guest
    }

    fn manages(guest: &Guest, sbdf: Sbdf) -> bool {
        guest.state.lock().device(sbdf).is_some()
    }

    #[test]
    fn a_device_is_managed_once() {
        let (guest, mut hardware) = (Guest::empty(), Devices::default());
        assert_eq!(guest.manage(Sbdf(1), &mut hardware), Ok(true));
        assert_eq!(guest.manage(Sbdf(1), &mut hardware), Err(Errno::EXISTS));
        assert!(manages(&guest, Sbdf(1)));
        guest.release(Sbdf(1), &mut hardware);
        assert!(!manages(&guest, Sbdf(1)));
        assert_eq!(guest.manage(Sbdf(1), &mut hardware), Ok(true));
    }

    #[test]
    fn devices_are_limited() {
        let (guest, mut hardware) = (Guest::empty(), Devices::default());
        for device in 0..DEVICES as u32 {
            assert_eq!(guest.manage(Sbdf(device), &mut hardware), Ok(true));
        }
        assert_eq!(guest.manage(Sbdf(0xffff), &mut hardware), Err(Errno::NO_SPACE));
    }

    #[test]
    fn without_msi_there_is_nothing_to_manage() {
        let (guest, mut hardware) = (Guest::empty(), Devices { plain: Some(Sbdf(1)), enabled: false });
        assert_eq!(guest.manage(Sbdf(1), &mut hardware), Ok(false));
        assert!(!manages(&guest, Sbdf(1)));
    }

    #[test]
    fn until_learned_the_device_model_answers() {
        let (guest, mut hardware) = (Guest::empty(), Devices::default());
        assert_eq!(guest.manage(Sbdf(0x20), &mut hardware), Ok(true));
        assert_eq!(write(&guest, &mut hardware, 0x44, 0xfee0_0000), Some(false));
        let answer = at(0x44, 4).map(|access| guest.read(access, true, &mut hardware));
        assert_eq!(answer, Some(Answer::FORWARD));
    }

    #[test]
    fn learned_registers_are_xens() {
        let mut hardware = Devices::default();
        let guest = learned(&mut hardware);
        assert_eq!(write(&guest, &mut hardware, 0x44, 0xfee0_0000), Some(true));
        let answer = at(0x44, 4).map(|access| guest.read(access, true, &mut hardware));
        assert_eq!(answer, Some(Answer { value: 0xfee0_0000, mask: u32::MAX }));
        assert_eq!(write(&guest, &mut hardware, 0x4c, 0x51), Some(true));
        assert_eq!(write(&guest, &mut hardware, 0x40, 0x1_0000), Some(true));
        assert!(hardware.enabled);
    }

    #[test]
    fn the_header_is_merged_with_the_device_models() {
        let mut hardware = Devices::default();
        let guest = learned(&mut hardware);
        let read = |size, mergeable, hardware: &mut Devices| {
            at(if size == 2 { 0x42 } else { 0x40 }, size).map(|access| guest.read(access, mergeable, hardware))
        };
        assert_eq!(read(4, true, &mut hardware), Some(Answer { value: 0x0080_0000, mask: 0xffff_0000 }));
        assert_eq!(read(4, false, &mut hardware), Some(Answer { value: 0x0080_0005, mask: u32::MAX }));
        assert_eq!(read(2, true, &mut hardware), Some(Answer { value: 0x80, mask: 0xffff }));
        assert_eq!(read(1, true, &mut hardware), Some(Answer::FORWARD));
    }

    #[test]
    fn release_turns_off_and_forgets_the_function() {
        let mut hardware = Devices::default();
        let guest = learned(&mut hardware);
        for (register, value) in [(0x44, 0xfee0_0000), (0x4c, 0x51), (0x40, 0x1_0000)] {
            write(&guest, &mut hardware, register, value);
        }
        guest.release(Sbdf(0x20), &mut hardware);
        assert!(!hardware.enabled);
        assert_eq!(write(&guest, &mut hardware, 0x44, 0), Some(false));
    }

    #[test]
    fn dom0_keeps_its_hands_off() {
        let mut hardware = Devices::default();
        let guest = learned(&mut hardware);
        let write = |register, size, value| {
            ConfigAccess::at(register, size).map(|access| guest.host_write(Sbdf(0x20), access, value))
        };
        assert_eq!(write(0x42, 2, 0x81), Some(None));
        assert_eq!(write(0x4c, 2, 0x41), Some(None));
        assert_eq!(write(0x04, 2, 0x0406), Some(Some(0x0006)));
        assert_eq!(write(0x0d, 1, 0x40), Some(Some(0x40)));
        let other = ConfigAccess::at(0x42, 2).map(|access| guest.host_write(Sbdf(0x28), access, 0x81));
        assert_eq!(other, Some(Some(0x81)));
    }
}
