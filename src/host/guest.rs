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

    /// Whether the device is managed.
    pub fn manages(&self, sbdf: Sbdf) -> bool {
        self.state.lock().device(sbdf).is_some()
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
