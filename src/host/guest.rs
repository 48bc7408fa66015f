// SPDX-License-Identifier: GPL-2.0-only
//! One guest: its managed devices, and what it wrote into the headers of its functions.
//!
//! Locking: one lock per guest, taken first by every method that changes anything. It may be
//! taken with Xen's domctl lock and pcidevs_lock held, never with d->pci_lock, event_lock or an
//! interrupt's lock held, because [`Hardware`] takes those. Never taken in interrupt context.
//! It is a fair one: a guest's vCPUs that come back again and again must not keep dom0 waiting.
//! With it held nothing waits for another processor's softirqs, locks or guests, and at most one
//! [`Budget`] is spent.
//!
//! [`Budget`]: crate::host::budget::Budget

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use lock_api::{Mutex, RawMutex};

use crate::core::access::ConfigAccess;
use crate::core::address::{GuestFunction, Sbdf};
use crate::core::learn::{Found, Headers, Mapping};
use crate::host::hardware::{Detail, Errno, Hardware};
use crate::host::managed::{Answer, Known, Managed, MemoryAccess, Outcome, Range};
use crate::host::msix::Memory;
use crate::host::refusals::Attempt;

/// Managed devices a guest may have: the slots of the guest's bus.
pub const DEVICES: usize = 32;

/// What msitrap keeps for a guest, from when it gets a stub domain to its end.
#[derive(Debug)]
pub struct Guest<L: RawMutex> {
    state: Mutex<L, State>,
    /// Which functions are learned: looked at without the lock, so that accesses to others
    /// cost a load.
    learned: [AtomicBool; GuestFunction::COUNT],
    /// Where Xen may have to answer: looked at without the lock, so that accesses to other memory
    /// cost a few loads.
    trapped: Trapped,
}

#[derive(Debug)]
struct State {
    devices: [Option<Managed>; DEVICES],
    headers: Headers,
}

/// The guest's addresses of the pages where Xen answers. Each device has its own place, so that
/// what the guest does to one never hides another. A reader may see a range half changed: it is the
/// guest itself that moves that device meanwhile, and the lock decides.
#[derive(Debug)]
struct Trapped {
    /// Places below this one are looked at.
    used: AtomicUsize,
    /// For each device its table and its pending bits: the first address and the last.
    ranges: [[[AtomicU64; 2]; 2]; DEVICES],
}

/// An access of the guest's to configuration space.
#[derive(Clone, Copy, Debug)]
pub struct GuestAccess {
    /// Whose configuration space.
    pub function: GuestFunction,
    /// Where in it.
    pub access: ConfigAccess,
}

impl<L: RawMutex> Guest<L> {
    /// A guest without devices.
    pub const fn empty() -> Self {
        Self {
            state: Mutex::from_raw(
                L::INIT,
                State { devices: [const { None }; DEVICES], headers: Headers::EMPTY },
            ),
            learned: [const { AtomicBool::new(false) }; GuestFunction::COUNT],
            trapped: Trapped::none(),
        }
    }

    /// The lock, for who has to prepare it.
    pub fn lock(&self) -> &Mutex<L, impl Sized> {
        &self.state
    }

    /// Manages a device that is about to be assigned; false when it has nothing to manage. Devices
    /// are managed and released one at a time: the caller holds pcidevs_lock.
    ///
    /// # Errors
    /// `EEXIST` when it is managed already, `ENOSPC` when the guest has [`DEVICES`] devices,
    /// `EBUSY` when its function is another's, those of [`Managed::take`].
    pub fn manage(&self, known: &Known, hardware: &mut impl Hardware) -> Result<bool, Errno> {
        self.state.lock().room_for(known)?;
        // With the lock dropped: its memory is mapped and allocated.
        let mut device = None;
        Managed::take(known, &mut device, hardware)?;
        if device.is_none() {
            return Ok(false);
        }
        let result = self.insert(known, &mut device, hardware);
        // Where its function was learned for another device meanwhile, it is still here.
        if let Some(memory) = device.as_mut().and_then(Managed::take_memory) {
            memory.close(hardware);
        }
        result.map(|()| true)
    }

    #[inline(never)]
    fn insert(
        &self,
        known: &Known,
        device: &mut Option<Managed>,
        hardware: &mut impl Hardware,
    ) -> Result<(), Errno> {
        let mut state = self.state.lock();
        state.room_for(known)?;
        let State { devices, headers } = &mut *state;
        let Some(slot) = devices.iter_mut().find(|slot| slot.is_none()) else {
            return Err(Errno::NO_SPACE);
        };
        *slot = device.take();
        if let (Some(device), Some(function)) = (slot, known.function) {
            self.set_learned(function, true);
            device.learn(function, headers.command(function), hardware);
            self.publish(&state);
        }
        Ok(())
    }

    /// Turns a device off before the guest loses it; whether there is more to do.
    pub fn quiesce(&self, sbdf: Sbdf, hardware: &mut impl Hardware) -> bool {
        self.state.lock().device(sbdf).is_some_and(|device| device.quiesce(hardware))
    }

    /// Forgets a device that is quiesced.
    pub fn release(&self, sbdf: Sbdf, hardware: &mut impl Hardware) {
        // With the lock dropped: other processors have to forget the mappings.
        if let Some(memory) = self.remove(sbdf, hardware) {
            memory.close(hardware);
        }
    }

    fn remove(&self, sbdf: Sbdf, hardware: &mut impl Hardware) -> Option<Memory> {
        let mut state = self.state.lock();
        let State { devices, headers } = &mut *state;
        let slot = devices
            .iter_mut()
            .find(|slot| slot.as_ref().is_some_and(|device| device.sbdf() == sbdf))?;
        let memory = slot.as_mut().and_then(|device| {
            if let Some(function) = device.function() {
                self.set_learned(function, false);
                headers.forget(function);
            }
            device.release(hardware)
        });
        *slot = None;
        self.publish(&state);
        memory
    }

    /// The guest reads configuration space. `mergeable` says whether the device model's answer
    /// can be completed with bits of Xen's.
    pub fn read(
        &self,
        guest: GuestAccess,
        mergeable: bool,
        hardware: &mut impl Hardware,
    ) -> Answer {
        if !self.is_learned(guest.function) {
            return Answer::FORWARD;
        }
        let mut state = self.state.lock();
        let device = state.function(guest.function);
        device.map_or(Answer::FORWARD, |device| device.read(guest.access, mergeable, hardware))
    }

    /// The guest writes configuration space: [`Outcome::Forward`], `Done` or `Retry`.
    pub fn write(&self, guest: GuestAccess, value: u32, hardware: &mut impl Hardware) -> Outcome {
        let GuestAccess { function, access } = guest;
        let observed = Headers::concerns(access.register);
        if !observed && !self.is_learned(function) {
            return Outcome::Forward;
        }
        let mut state = self.state.lock();
        if observed {
            state.headers.observe(
                function,
                access.register,
                access.enables,
                access.to_dword(value),
            );
            self.publish(&state);
        }
        state
            .function(function)
            .map_or(Outcome::Forward, |device| device.write(access, value, hardware))
    }

    /// Whether Xen may have to answer for the guest's memory at `address`; takes no lock.
    pub fn answers(&self, address: u64) -> bool {
        self.trapped.contains(address)
    }

    /// The guest reads `size` bytes of memory at `address`; None when the device model answers.
    pub fn read_memory(&self, address: u64, size: u8, hardware: &mut impl Hardware) -> Option<u64> {
        let mut state = self.state.lock();
        let (device, access) = state.memory(address, size)?;
        Some(device.read_memory(access, hardware))
    }

    /// The guest writes `size` bytes of memory at `address`: [`Outcome::Forward`], `Done` or
    /// `Retry`.
    pub fn write_memory(
        &self,
        address: u64,
        size: u8,
        value: u64,
        hardware: &mut impl Hardware,
    ) -> Outcome {
        let mut state = self.state.lock();
        let Some((device, access)) = state.memory(address, size) else { return Outcome::Forward };
        device.write_memory(access, value, hardware)
    }

    /// The device model mapped host memory into the guest: learns every device that shows.
    pub fn mapped(&self, mapping: &Mapping, hardware: &mut impl Hardware) {
        let mut state = self.state.lock();
        let State { devices, headers } = &mut *state;
        for device in devices.iter_mut().flatten().filter(|device| device.function().is_none()) {
            match headers.find(device.bars(), mapping) {
                Found::Function(function) if self.is_learned(function) => {
                    device.not_learned(c"not learned: its function is another device's", hardware);
                }
                Found::Function(function) => {
                    self.set_learned(function, true);
                    device.learn(function, headers.command(function), hardware);
                    device.settle(hardware);
                }
                Found::Several => {
                    device.not_learned(c"not learned: several functions have its address", hardware)
                }
                Found::NoFunction => {
                    device.not_learned(c"not learned: no function has its address", hardware)
                }
                Found::Other => {}
            }
        }
        self.publish(&state);
    }

    /// Dom0 writes configuration space of a device: [`Outcome::Done`], `Refused` or `Gone`.
    pub fn host_write(
        &self,
        sbdf: Sbdf,
        access: ConfigAccess,
        value: u32,
        hardware: &mut impl Hardware,
    ) -> Outcome {
        let mut state = self.state.lock();
        state
            .device(sbdf)
            .map_or(Outcome::Gone, |device| device.host_write(access, value, hardware))
    }

    /// Goes on with what could not be finished for a device; whether there is still more.
    pub fn settle(&self, sbdf: Sbdf, hardware: &mut impl Hardware) -> bool {
        self.state.lock().device(sbdf).is_some_and(|device| device.settle(hardware))
    }

    /// Programs a device again with all that it was programmed with: dom0 says that it was reset.
    /// [`Guest::settle`] goes on with it.
    pub fn restore(&self, sbdf: Sbdf, hardware: &mut impl Hardware) {
        if let Some(device) = self.state.lock().device(sbdf) {
            device.restore(hardware);
        }
    }

    /// The same for all devices after the host slept, with a budget of its own: no domain runs yet.
    pub fn resume(&self, hardware: &mut impl Hardware) {
        for device in self.state.lock().devices.iter_mut().flatten() {
            device.resume(hardware);
        }
    }

    /// Stops a device's DMA; false when it is not managed.
    pub fn stop_dma(&self, sbdf: Sbdf, hardware: &mut impl Hardware) -> bool {
        let mut state = self.state.lock();
        let device = state.device(sbdf);
        device.is_some_and(|device| {
            device.stop_dma(hardware);
            true
        })
    }

    /// Counts what others than the guest tried with a device.
    pub fn refuse(&self, sbdf: Sbdf, attempt: Attempt, caller: u16, hardware: &mut impl Hardware) {
        if let Some(device) = self.state.lock().device(sbdf) {
            device.refuse(attempt, Detail::Domain(caller), hardware);
        }
    }

    fn is_learned(&self, function: GuestFunction) -> bool {
        self.learned.get(usize::from(function.0)).is_some_and(|flag| flag.load(Ordering::Acquire))
    }

    /// Renews [`Guest::trapped`].
    fn publish(&self, state: &State) {
        let trapped = |device: &Managed| device.trapped(&state.headers);
        self.trapped.publish(state.devices.iter().map(|slot| slot.as_ref().map(trapped)));
    }

    fn set_learned(&self, function: GuestFunction, learned: bool) {
        if let Some(flag) = self.learned.get(usize::from(function.0)) {
            flag.store(learned, Ordering::Release);
        }
    }
}

impl State {
    /// Whether another device can be managed.
    fn room_for(&mut self, known: &Known) -> Result<(), Errno> {
        if self.device(known.sbdf).is_some() {
            Err(Errno::EXISTS)
        } else if known.function.is_some_and(|function| self.function(function).is_some()) {
            Err(Errno::BUSY)
        } else if self.devices.iter().all(Option::is_some) {
            Err(Errno::NO_SPACE)
        } else {
            Ok(())
        }
    }

    fn device(&mut self, sbdf: Sbdf) -> Option<&mut Managed> {
        self.devices.iter_mut().flatten().find(|device| device.sbdf() == sbdf)
    }

    fn function(&mut self, function: GuestFunction) -> Option<&mut Managed> {
        self.devices.iter_mut().flatten().find(|device| device.function() == Some(function))
    }

    /// The device whose memory Xen answers for at the guest's address `address`, and where.
    fn memory(&mut self, address: u64, size: u8) -> Option<(&mut Managed, MemoryAccess)> {
        let Self { devices, headers } = self;
        devices.iter_mut().flatten().find_map(|device| {
            let access = device.memory_access(headers, address, size)?;
            Some((device, access))
        })
    }
}

impl Trapped {
    /// A range that contains nothing.
    const NOWHERE: Range = (u64::MAX, 0);

    const fn none() -> Self {
        Self {
            used: AtomicUsize::new(0),
            ranges: [const {
                [const { [AtomicU64::new(Self::NOWHERE.0), AtomicU64::new(Self::NOWHERE.1)] }; 2]
            }; DEVICES],
        }
    }

    fn contains(&self, address: u64) -> bool {
        self.ranges.iter().take(self.used.load(Ordering::Acquire)).flatten().any(|[first, last]| {
            (first.load(Ordering::Acquire)..=last.load(Ordering::Acquire)).contains(&address)
        })
    }

    /// Makes these the ranges of each place; None where there is no device. Called with the guest's
    /// lock held.
    fn publish(&self, devices: impl Iterator<Item = Option<[Option<Range>; 2]>>) {
        let mut used = 0;
        for (place, (device, ranges)) in devices.zip(&self.ranges).enumerate() {
            if device.is_some() {
                used = place.saturating_add(1);
            }
            for (range, [first, last]) in device.unwrap_or([None; 2]).into_iter().zip(ranges) {
                let (start, end) = range.unwrap_or(Self::NOWHERE);
                first.store(start, Ordering::Release);
                last.store(end, Ordering::Release);
            }
        }
        self.used.store(used, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::spec::COMMAND;
    use crate::core::spec::{RESET_TIME, WAKE_TIME};
    use crate::core::trust::Distrust;
    use crate::host::managed::KnownMsix;
    use crate::host::recorder::{Recorder, DEVICE, EXPRESS, KNOWN, PHYSICAL, POWER};

    type Guest = super::Guest<spin::Mutex<()>>;

    const FUNCTION: GuestFunction = GuestFunction(0x18);
    const BAR: Mapping = Mapping { guest_frame: 0xf2000, machine_frame: 0xfea00, count: 0x100 };
    const TABLE: u64 = 0xf200_2000;
    const PENDING: u64 = 0xf200_3000;
    const MASK_ALL: &str =
        "[0xfea0200c/4]=0x1, [0xfea0201c/4]=0x1, [0xfea0202c/4]=0x1, [0xfea0203c/4]=0x1";

    fn at(register: u16, size: u8) -> Option<GuestAccess> {
        ConfigAccess::at(register, size).map(|access| GuestAccess { function: FUNCTION, access })
    }

    fn known(sbdf: u32) -> Known {
        Known { sbdf: Sbdf(sbdf), ..KNOWN }
    }

    fn write(guest: &Guest, hardware: &mut Recorder, register: u16, value: u32) -> Option<Outcome> {
        at(register, 4).map(|access| guest.write(access, value, hardware))
    }

    fn host_write(
        guest: &Guest,
        hardware: &mut Recorder,
        access: (u16, u8),
        value: u32,
    ) -> Option<Outcome> {
        ConfigAccess::at(access.0, access.1)
            .map(|access| guest.host_write(DEVICE, access, value, hardware))
    }

    /// The guest places its device, and the device model maps it there.
    fn place(guest: &Guest, hardware: &mut Recorder) {
        assert_eq!(write(guest, hardware, 0x10, 0xf200_0000), Some(Outcome::Forward));
        assert_eq!(write(guest, hardware, 0x04, 0x2), Some(Outcome::Forward));
        guest.mapped(&BAR, hardware);
        hardware.told();
    }

    /// A guest that has one device and placed it.
    fn learned(hardware: &mut Recorder) -> Guest {
        let guest = Guest::empty();
        assert_eq!(guest.manage(&KNOWN, hardware), Ok(true));
        place(&guest, hardware);
        guest
    }

    /// MSI-X comes on, and its first vector is let go.
    fn deliver_later(guest: &Guest, hardware: &mut Recorder) {
        write(guest, hardware, 0xa0, 0x8000_0000);
        guest.write_memory(TABLE, 8, 0xfee0_0000, hardware);
        guest.write_memory(TABLE | 8, 8, 0x51, hardware);
    }

    /// The same, and it delivers.
    fn deliver(guest: &Guest, hardware: &mut Recorder) {
        deliver_later(guest, hardware);
        assert!(hardware.told().ends_with("map entry 0, bind 50 0x51, unmask 50"));
    }

    fn delivering(hardware: &mut Recorder) -> Guest {
        let guest = learned(hardware);
        deliver(&guest, hardware);
        guest
    }

    fn manages(guest: &Guest, sbdf: Sbdf) -> bool {
        guest.state.lock().device(sbdf).is_some()
    }

    #[test]
    fn a_device_is_managed_once() {
        let (guest, mut hardware) = (Guest::empty(), Recorder::default());
        assert_eq!(guest.manage(&known(1), &mut hardware), Ok(true));
        assert_eq!(guest.manage(&known(1), &mut hardware), Err(Errno::EXISTS));
        assert!(manages(&guest, Sbdf(1)));
        guest.release(Sbdf(1), &mut hardware);
        assert!(!manages(&guest, Sbdf(1)));
        assert_eq!(guest.manage(&known(1), &mut hardware), Ok(true));
    }

    #[test]
    fn devices_are_limited() {
        let (guest, mut hardware) = (Guest::empty(), Recorder::default());
        for device in 0..DEVICES as u32 {
            assert_eq!(guest.manage(&known(device), &mut hardware), Ok(true));
        }
        assert_eq!(guest.manage(&known(0xffff), &mut hardware), Err(Errno::NO_SPACE));
    }

    #[test]
    fn without_message_capabilities_there_is_nothing_to_manage() {
        let (guest, mut hardware) = (Guest::empty(), Recorder::default());
        assert_eq!(
            guest.manage(&Known { msi: None, msix: None, ..KNOWN }, &mut hardware),
            Ok(false)
        );
        assert!(!manages(&guest, DEVICE));
    }

    #[test]
    fn what_cannot_be_allocated_leaves_nothing_behind() {
        for (failing, more) in [("open", 0), ("open", 1), ("allocate", 0)] {
            let mut hardware = Recorder { failing: (failing, more), ..Recorder::default() };
            let guest = Guest::empty();
            assert_eq!(guest.manage(&KNOWN, &mut hardware), Err(Errno::NO_SPACE));
            assert_eq!(
                (manages(&guest, DEVICE), hardware.outstanding),
                (false, 0),
                "{failing} {more}"
            );
        }
    }

    #[test]
    fn until_learned_the_device_model_answers() {
        let (guest, mut hardware) = (Guest::empty(), Recorder::default());
        assert_eq!(guest.manage(&KNOWN, &mut hardware), Ok(true));
        assert_eq!(write(&guest, &mut hardware, 0x44, 0xfee0_0000), Some(Outcome::Forward));
        let answer = at(0x44, 4).map(|access| guest.read(access, true, &mut hardware));
        assert_eq!(answer, Some(Answer::FORWARD));
        assert!(!guest.answers(TABLE));
        assert_eq!(guest.read_memory(TABLE, 4, &mut hardware), None);
        assert_eq!(guest.write_memory(TABLE, 4, 0, &mut hardware), Outcome::Forward);
    }

    #[test]
    fn what_the_guest_wrote_into_command_before_counts() {
        let (guest, mut hardware) = (Guest::empty(), Recorder::default());
        assert_eq!(guest.manage(&KNOWN, &mut hardware), Ok(true));
        write(&guest, &mut hardware, 0x10, 0xf200_0000);
        write(&guest, &mut hardware, 0x04, 0x402);
        hardware.told();
        guest.mapped(&BAR, &mut hardware);
        assert_eq!(hardware.told(), "here, intx off");
    }

    #[test]
    fn a_function_stands_for_one_device() {
        let mut hardware = Recorder::default();
        let guest = learned(&mut hardware);
        hardware.said();
        // Its base address is there, too.
        assert_eq!(guest.manage(&known(0x28), &mut hardware), Ok(true));
        for expected in [&["not learned: its function is another device's"][..], &[]] {
            guest.mapped(&BAR, &mut hardware);
            assert_eq!(hardware.said(), expected);
        }
        guest.quiesce(DEVICE, &mut hardware);
        guest.release(DEVICE, &mut hardware);
        hardware.said();
        // What was written to the function is forgotten with its device.
        guest.mapped(&BAR, &mut hardware);
        assert_eq!(hardware.said(), [""; 0]);
        write(&guest, &mut hardware, 0x10, 0xf200_0000);
        write(&guest, &mut hardware, 0x04, 0x2);
        guest.mapped(&BAR, &mut hardware);
        assert_eq!(hardware.said(), ["learned as the guest's function: 0x18"]);
    }

    #[test]
    fn a_device_keeps_its_function() {
        let mut hardware = Recorder::default();
        let guest = learned(&mut hardware);
        hardware.said();
        let other = GuestFunction(0x20);
        for (register, value) in [(0x10, 0xe000_0000), (0x04, 0x2)] {
            let access =
                ConfigAccess::at(register, 4).map(|access| GuestAccess { function: other, access });
            assert_eq!(
                access.map(|access| guest.write(access, value, &mut hardware)),
                Some(Outcome::Forward)
            );
        }
        guest.mapped(&Mapping { guest_frame: 0xe0000, ..BAR }, &mut hardware);
        assert_eq!(hardware.said(), [""; 0]);
        assert_eq!(write(&guest, &mut hardware, 0x44, 0xfee0_0000), Some(Outcome::Done));
        assert_eq!((guest.answers(TABLE), guest.answers(0xe000_2000)), (true, false));
    }

    #[test]
    fn learned_registers_are_xens() {
        let mut hardware = Recorder::default();
        let guest = learned(&mut hardware);
        assert_eq!(write(&guest, &mut hardware, 0x44, 0xfee0_0000), Some(Outcome::Done));
        let answer = at(0x44, 4).map(|access| guest.read(access, true, &mut hardware));
        assert_eq!(answer, Some(Answer { value: 0xfee0_0000, mask: u32::MAX }));
        assert_eq!(write(&guest, &mut hardware, 0x4c, 0x51), Some(Outcome::Done));
        assert_eq!(write(&guest, &mut hardware, 0x40, 0x1_0000), Some(Outcome::Done));
        assert!(hardware.told().ends_with("0x42=0x1"));
    }

    #[test]
    fn the_header_is_merged_with_the_device_models() {
        let mut hardware = Recorder::default();
        let guest = learned(&mut hardware);
        let read = |size, mergeable, hardware: &mut Recorder| {
            at(if size == 2 { 0x42 } else { 0x40 }, size)
                .map(|access| guest.read(access, mergeable, hardware))
        };
        assert_eq!(
            read(4, true, &mut hardware),
            Some(Answer { value: 0x0186_0000, mask: 0xffff_0000 })
        );
        assert_eq!(
            read(4, false, &mut hardware),
            Some(Answer { value: 0x0186_0005, mask: u32::MAX })
        );
        assert_eq!(read(2, true, &mut hardware), Some(Answer { value: 0x186, mask: 0xffff }));
        assert_eq!(read(1, true, &mut hardware), Some(Answer::FORWARD));
    }

    #[test]
    fn the_pages_of_table_and_pending_bits_are_xens() {
        let mut hardware = Recorder::default();
        let guest = learned(&mut hardware);
        let answers = [0xf200_1fff, TABLE, 0xf200_2fff, PENDING, 0xf200_3fff, 0xf200_4000]
            .map(|at| guest.answers(at));
        assert_eq!(answers, [false, true, true, true, true, false]);
        assert_eq!(guest.read_memory(TABLE | 0xc, 4, &mut hardware), Some(1));
        assert_eq!(guest.read_memory(TABLE | 0xd, 2, &mut hardware), Some(u64::MAX));
        assert_eq!(hardware.told(), "");
    }

    #[test]
    fn registers_beside_reach_the_device_and_pending_bits_are_only_read() {
        let mut hardware = Recorder::default();
        let guest = learned(&mut hardware);
        assert_eq!(guest.read_memory(TABLE | 0x40, 2, &mut hardware), Some(0x5a));
        assert_eq!(guest.write_memory(TABLE | 0x40, 8, 7, &mut hardware), Outcome::Done);
        assert_eq!(guest.write_memory(TABLE | 0x41, 2, 7, &mut hardware), Outcome::Done);
        assert_eq!(hardware.told(), "read 0xfea02040/2, [0xfea02040/8]=0x7");
        assert_eq!(guest.read_memory(PENDING, 8, &mut hardware), Some(0x5a));
        assert_eq!(guest.write_memory(PENDING, 8, 7, &mut hardware), Outcome::Done);
        assert_eq!(guest.write_memory(PENDING | 8, 4, 7, &mut hardware), Outcome::Done);
        assert_eq!(hardware.told(), "read 0xfea03000/8, [0xfea03008/4]=0x7");
    }

    #[test]
    fn the_trap_follows_the_guests_base_address() {
        let mut hardware = Recorder::default();
        let guest = learned(&mut hardware);
        write(&guest, &mut hardware, 0x04, 0);
        assert!(!guest.answers(TABLE));
        write(&guest, &mut hardware, 0x10, 0xe000_0000);
        write(&guest, &mut hardware, 0x04, 0x2);
        assert_eq!((guest.answers(TABLE), guest.answers(0xe000_2000)), (false, true));
        assert_eq!(guest.read_memory(0xe000_200c, 4, &mut hardware), Some(1));
    }

    #[test]
    fn only_pages_of_table_and_pending_bits_take_the_lock() {
        let mut hardware = Recorder::default();
        let guest = learned(&mut hardware);
        let held = guest.state.lock();
        let answers = [0, 0xf200_0000, 0xf200_1fff, 0xf200_4000, 0xfee0_0000, u64::MAX]
            .map(|at| guest.answers(at));
        assert_eq!(answers, [false; 6]);
        assert!([TABLE, 0xf200_2fff, PENDING, 0xf200_3fff]
            .into_iter()
            .all(|at| guest.trapped.contains(at)));
        drop(held);
    }

    #[test]
    fn what_the_guest_does_to_one_device_hides_no_other() {
        let mut hardware = Recorder::default();
        let guest = learned(&mut hardware);
        // A second device, whose place comes after the first's.
        let other = GuestFunction(0x20);
        assert_eq!(
            guest.manage(&Known { function: Some(other), ..known(0x28) }, &mut hardware),
            Ok(true)
        );
        for (register, value) in [(0x10, 0xe000_0000), (0x04, 0x2)] {
            let access =
                ConfigAccess::at(register, 4).map(|access| GuestAccess { function: other, access });
            access.map(|access| guest.write(access, value, &mut hardware));
        }
        let place = |guest: &Guest, address: u64| {
            let ranges = guest.trapped.ranges.iter().flatten();
            let mut firsts = ranges.map(|[first, _]| first.load(Ordering::Relaxed));
            firsts.position(|first| first == address)
        };
        let before = place(&guest, 0xe000_2000);
        write(&guest, &mut hardware, 0x04, 0);
        assert_eq!(
            (before, place(&guest, 0xe000_2000), place(&guest, TABLE)),
            (Some(2), Some(2), None)
        );
        assert!(guest.answers(0xe000_2000) && !guest.answers(TABLE));
    }

    #[test]
    fn the_device_is_not_touched_while_its_memory_is_not_decoded() {
        let mut hardware = Recorder::default();
        let guest = delivering(&mut hardware);
        assert_eq!(host_write(&guest, &mut hardware, (0x04, 2), 0x0004), Some(Outcome::Done));
        assert_eq!(hardware.told(), "away, 0xa2=0xc000, 0x4=0x404");
        assert_eq!(guest.read_memory(PENDING, 4, &mut hardware), Some(u64::MAX));
        assert_eq!(guest.write_memory(TABLE | 0x40, 4, 1, &mut hardware), Outcome::Done);
        guest.write_memory(TABLE | 0x18, 8, 0x52, &mut hardware);
        guest.write_memory(TABLE | 0x0c, 4, 1, &mut hardware);
        assert_eq!(hardware.told(), "");
        assert_eq!(host_write(&guest, &mut hardware, (0x04, 1), 0x06), Some(Outcome::Done));
        // Xen's own code may have wanted to mask a vector meanwhile: each is written again.
        assert_eq!(hardware.told(), "0x4=0x6, here, again 50, mask 50, 0xa2=0x8000");
    }

    #[test]
    fn a_virtual_functions_decoding_is_not_its_own() {
        let mut hardware = Recorder { physical_function: true, command: 0, ..Recorder::default() };
        let guest = Guest::empty();
        assert_eq!(
            guest.manage(&Known { physical: Some(PHYSICAL), ..KNOWN }, &mut hardware),
            Ok(true)
        );
        place(&guest, &mut hardware);
        deliver(&guest, &mut hardware);
        host_write(&guest, &mut hardware, (0x04, 2), 0x0004);
        assert_eq!(guest.read_memory(PENDING, 4, &mut hardware), Some(0x5a));
        hardware.physical_function = false;
        hardware.told();
        assert_eq!(guest.read_memory(PENDING, 4, &mut hardware), Some(u64::MAX));
        guest.write_memory(TABLE | 0x0c, 4, 1, &mut hardware);
        assert_eq!(hardware.told(), "0xa2=0xc000");
    }

    #[test]
    fn a_virtual_function_delivers_again_once_its_physical_one_decodes() {
        let mut hardware = Recorder { physical_function: true, ..Recorder::default() };
        let guest = Guest::empty();
        let known = Known { physical: Some(PHYSICAL), ..KNOWN };
        assert_eq!(guest.manage(&known, &mut hardware), Ok(true));
        place(&guest, &mut hardware);
        deliver(&guest, &mut hardware);
        hardware.physical_function = false;
        guest.write_memory(TABLE | 0x0c, 4, 1, &mut hardware);
        assert_eq!((hardware.told(), hardware.timer), ("0xa2=0xc000".into(), Some(RESET_TIME)));
        // Not yet.
        hardware.time = RESET_TIME;
        assert!(!guest.settle(DEVICE, &mut hardware));
        assert_eq!((hardware.told(), hardware.timer), (String::new(), Some(2 * RESET_TIME)));
        (hardware.physical_function, hardware.timer) = (true, None);
        // What Xen's own code could not write meanwhile comes first.
        assert!(!guest.settle(DEVICE, &mut hardware));
        assert_eq!(hardware.told(), "again 50, mask 50, 0xa2=0x8000");
        assert!(!guest.settle(DEVICE, &mut hardware));
        assert_eq!((hardware.told(), hardware.timer), (String::new(), None));
    }

    #[test]
    fn a_device_that_was_woken_by_its_power_is_found_when_dom0_writes_command() {
        let mut hardware = Recorder { command: 0x6, ..Recorder::default() };
        let guest = delivering(&mut hardware);
        host_write(&guest, &mut hardware, (POWER + 4, 2), 0x3);
        hardware.lies = vec![(POWER + 4, 0x3)];
        hardware.told();
        host_write(&guest, &mut hardware, (0x04, 2), 0x106);
        assert_eq!((hardware.told(), hardware.timer), ("0x4=0x506".into(), None));
        hardware.lies.clear();
        host_write(&guest, &mut hardware, (0x04, 2), 0x6);
        assert_eq!((hardware.told(), hardware.timer), ("0x4=0x406".into(), Some(WAKE_TIME)));
        hardware.time = WAKE_TIME;
        assert!(!guest.settle(DEVICE, &mut hardware));
        assert!(hardware.told().ends_with("again 50, 0xa2=0x8000"));
    }

    #[test]
    fn nobody_starts_a_devices_own_test() {
        let mut hardware = Recorder::default();
        let guest = delivering(&mut hardware);
        assert_eq!(host_write(&guest, &mut hardware, (0x0f, 1), 0x40), Some(Outcome::Refused));
        assert_eq!(host_write(&guest, &mut hardware, (0x0c, 2), 0x4010), Some(Outcome::Done));
        assert_eq!(hardware.told(), "0xc=0x4010");
    }

    #[test]
    fn quiesced_it_is_silent_and_guarded_and_released_it_is_forgotten() {
        let mut hardware = Recorder::default();
        let guest = delivering(&mut hardware);
        assert!(!guest.quiesce(DEVICE, &mut hardware));
        let silent =
            "0xa2=0xc000, [0xfea0200c/4]=0x1, away, unbind 50, unmap 50, 0xa2=0x0, intx on";
        assert_eq!(hardware.told(), silent);
        // It stays off whatever the guest does, and nobody else gets at it.
        assert_eq!(write(&guest, &mut hardware, 0xa0, 0x8000_0000), Some(Outcome::Done));
        guest.write_memory(TABLE | 0x0c, 4, 1, &mut hardware);
        guest.write_memory(TABLE | 0x0c, 4, 0, &mut hardware);
        assert_eq!(host_write(&guest, &mut hardware, (0xa2, 2), 0x8000), Some(Outcome::Refused));
        assert_eq!((hardware.told(), guest.answers(TABLE)), (String::new(), true));
        guest.release(DEVICE, &mut hardware);
        assert_eq!(write(&guest, &mut hardware, 0x44, 0), Some(Outcome::Forward));
        assert!(!guest.answers(TABLE) && !guest.trapped.contains(TABLE));
        assert_eq!(hardware.outstanding, 0);
        assert_eq!(host_write(&guest, &mut hardware, (0xa2, 2), 0x8000), Some(Outcome::Gone));
    }

    #[test]
    fn after_a_reset_the_device_is_programmed_again_and_enable_is_last() {
        let mut hardware = Recorder::default();
        let guest = delivering(&mut hardware);
        guest.restore(DEVICE, &mut hardware);
        let done = format!("intx off, 0xa2=0xc000, {MASK_ALL}, again 50, 0xa2=0x8000");
        assert_eq!(hardware.told(), done);
        guest.resume(&mut hardware);
        assert_eq!(hardware.told(), done);
        guest.restore(Sbdf(0x28), &mut hardware);
        assert_eq!(hardware.told(), "");
    }

    #[test]
    fn what_slept_before_the_host_did_is_programmed_though_nobody_wakes_it() {
        let mut hardware = Recorder::default();
        let guest = delivering(&mut hardware);
        host_write(&guest, &mut hardware, (POWER + 4, 2), 3);
        hardware.lost = true;
        guest.resume(&mut hardware);
        hardware.told();
        hardware.time = hardware.timer.unwrap_or(0);
        assert!(!guest.settle(DEVICE, &mut hardware));
        assert!(hardware.told().ends_with("again 50, 0xa2=0x8000"));
    }

    #[test]
    fn dom0s_write_after_a_reset_has_the_device_programmed_again() {
        let mut hardware = Recorder::default();
        let guest = delivering(&mut hardware);
        host_write(&guest, &mut hardware, (0x04, 2), 0x0006);
        assert_eq!(hardware.told(), "0x4=0x406");
        hardware.lost = true;
        host_write(&guest, &mut hardware, (0x04, 2), 0x0002);
        let lost = "intx off, 0xa2=0xc000";
        assert_eq!(
            hardware.told(),
            format!("{lost}, 0x4=0x402, {lost}, {MASK_ALL}, again 50, 0xa2=0x8000")
        );
    }

    #[test]
    fn a_reset_as_linux_does_it() {
        let mut hardware = Recorder::default();
        let guest = delivering(&mut hardware);
        // Decoding goes before the reset, and comes back with all that dom0 had saved.
        host_write(&guest, &mut hardware, (0x04, 2), 0x0400);
        assert_eq!(hardware.told(), "away, 0xa2=0xc000, 0x4=0x400");
        host_write(&guest, &mut hardware, (EXPRESS + 8, 2), 0x8000);
        assert_eq!(hardware.told(), "0xe8=0x8000");
        (hardware.lost, hardware.command) = (true, 0);
        // Nobody touches it meanwhile, dom0 apart.
        guest.write_memory(TABLE | 0x0c, 4, 1, &mut hardware);
        write(&guest, &mut hardware, 0xa0, 0);
        write(&guest, &mut hardware, 0xa0, 0x8000_0000);
        guest.write_memory(TABLE | 0x0c, 4, 0, &mut hardware);
        assert_eq!((hardware.told(), guest.settle(DEVICE, &mut hardware)), (String::new(), false));
        // A write of Command says nothing of whether it is back.
        host_write(&guest, &mut hardware, (0x04, 2), 0x0006);
        assert_eq!(hardware.told(), "0x4=0x406");
        (hardware.time, hardware.command) = (RESET_TIME, 0);
        let lost = "intx off, 0xa2=0xc000";
        host_write(&guest, &mut hardware, (0x10, 4), 0xfea0_0000);
        assert_eq!(hardware.told(), format!("{lost}, 0x10=0xfea00000"));
        host_write(&guest, &mut hardware, (0x04, 2), 0x0006);
        // The recorder's device reads as if it were still lost, so it is told so once more.
        let done = format!("{lost}, 0x4=0x406, here, {lost}, {MASK_ALL}, again 50, 0xa2=0x8000");
        assert_eq!(hardware.told(), done);
    }

    #[test]
    fn a_device_that_was_reset_and_is_not_spoken_to_comes_back_by_time() {
        let mut hardware = Recorder::default();
        let guest = delivering(&mut hardware);
        host_write(&guest, &mut hardware, (EXPRESS + 8, 2), 0x8000);
        hardware.told();
        assert_eq!(hardware.timer, Some(RESET_TIME));
        hardware.time = RESET_TIME - 1;
        write(&guest, &mut hardware, 0xa0, 0x8000_0000);
        assert_eq!(hardware.told(), "");
        hardware.time = RESET_TIME;
        write(&guest, &mut hardware, 0xa0, 0x8000_0000);
        // Its memory is not decoded after a reset, so MSI-X is held.
        assert_eq!(hardware.told(), "intx off, 0xa2=0xc000");
    }

    #[test]
    fn a_device_that_sleeps_is_left_alone_and_programmed_when_it_wakes() {
        let mut hardware = Recorder::default();
        let guest = delivering(&mut hardware);
        host_write(&guest, &mut hardware, (POWER + 4, 2), 0x3);
        assert_eq!(hardware.told(), "away, 0xa2=0xc000, 0xcc=0x3");
        guest.write_memory(TABLE | 0x0c, 4, 1, &mut hardware);
        guest.write_memory(TABLE | 0x0c, 4, 0, &mut hardware);
        guest.write_memory(TABLE | 0x40, 4, 7, &mut hardware);
        assert_eq!(guest.read_memory(PENDING, 8, &mut hardware), Some(u64::MAX));
        assert_eq!(hardware.told(), "");
        host_write(&guest, &mut hardware, (POWER + 4, 2), 0x0);
        assert_eq!(hardware.told(), "0xcc=0x0");
        hardware.time = WAKE_TIME;
        let answer = at(0x44, 4).map(|access| guest.read(access, true, &mut hardware));
        assert!(answer.is_some());
        assert_eq!(
            hardware.told(),
            format!("intx off, 0xa2=0xc000, here, {MASK_ALL}, again 50, 0xa2=0x8000")
        );
    }

    #[test]
    fn a_device_that_wakes_without_its_memory_waits_for_it() {
        let mut hardware = Recorder::default();
        let guest = delivering(&mut hardware);
        host_write(&guest, &mut hardware, (POWER + 4, 2), 0x3);
        host_write(&guest, &mut hardware, (POWER + 4, 2), 0x0);
        (hardware.command, hardware.time) = (0, WAKE_TIME);
        hardware.told();
        write(&guest, &mut hardware, 0xa0, 0x8000_0000);
        assert_eq!(hardware.told(), "intx off, 0xa2=0xc000");
        host_write(&guest, &mut hardware, (0x04, 2), 0x0006);
        assert_eq!(hardware.told(), format!("0x4=0x406, here, {MASK_ALL}, again 50, 0xa2=0x8000"));
    }

    #[test]
    fn a_device_that_wakes_and_is_left_alone_is_programmed_by_the_timer() {
        let mut hardware = Recorder::default();
        let guest = delivering(&mut hardware);
        host_write(&guest, &mut hardware, (POWER + 4, 2), 0x3);
        assert_eq!(hardware.timer, None);
        host_write(&guest, &mut hardware, (POWER + 4, 2), 0x0);
        assert_eq!(hardware.timer, Some(WAKE_TIME));
        hardware.told();
        hardware.time = WAKE_TIME;
        assert!(!guest.settle(DEVICE, &mut hardware));
        assert_eq!(
            hardware.told(),
            format!("intx off, 0xa2=0xc000, here, {MASK_ALL}, again 50, 0xa2=0x8000")
        );
    }

    #[test]
    fn a_device_that_does_not_answer_yet_is_looked_for_again() {
        let mut hardware = Recorder::default();
        let guest = delivering(&mut hardware);
        host_write(&guest, &mut hardware, (EXPRESS + 8, 2), 0x8000);
        // A wake does not shorten the time after a reset.
        host_write(&guest, &mut hardware, (POWER + 4, 2), 0x0);
        assert_eq!(hardware.timer, Some(RESET_TIME));
        hardware.told();
        (hardware.time, hardware.command) = (RESET_TIME, 0xffff);
        assert!(!guest.settle(DEVICE, &mut hardware));
        assert_eq!((hardware.told(), hardware.timer), (String::new(), Some(RESET_TIME * 2)));
        // Nor are all its bits set meanwhile.
        assert!(guest.stop_dma(DEVICE, &mut hardware));
        assert_eq!(hardware.told(), "0x4=0x0");
        hardware.command = 0xffff;
        assert!(!guest.quiesce(DEVICE, &mut hardware));
        assert!(hardware.told().ends_with("0x5=0x0"));
    }

    #[test]
    fn what_cannot_be_programmed_again_is_set_up_anew_when_dom0_wakes_the_device() {
        let mut hardware = Recorder { failing: ("again", 0), ..Recorder::default() };
        let guest = delivering(&mut hardware);
        guest.resume(&mut hardware);
        let masked =
            format!("intx off, 0xa2=0xc000, {MASK_ALL}, again 50, unbind 50, unmap 50, 0xa2=0x0");
        assert_eq!(hardware.told(), masked);
        host_write(&guest, &mut hardware, (0x04, 2), 0x0006);
        let done = hardware.told();
        assert!(done.starts_with(&format!("0x4=0x406, 0xa2=0xc000, {MASK_ALL}")), "{done}");
        assert!(done.ends_with("map entry 0, bind 51 0x51, unmask 51, 0xa2=0x8000"), "{done}");
    }

    #[test]
    fn where_xen_would_have_to_wait_the_next_access_or_the_timer_goes_on() {
        for by_timer in [false, true] {
            let mut hardware = Recorder { waits: 0, time: 7, ..Recorder::default() };
            let guest = learned(&mut hardware);
            write(&guest, &mut hardware, 0x44, 0xfee0_0000);
            write(&guest, &mut hardware, 0x4c, 0x51);
            assert_eq!(write(&guest, &mut hardware, 0x40, 0x1_0000), Some(Outcome::Done));
            assert_eq!(hardware.told(), "intx off, map 1 vectors, bind 50 0x51");
            assert_eq!(hardware.timer, Some(1_000_007));
            if by_timer {
                assert!(!guest.settle(DEVICE, &mut hardware));
            } else {
                assert_eq!(write(&guest, &mut hardware, 0x40, 0x1_0000), Some(Outcome::Done));
            }
            assert_eq!(hardware.told(), "bind 50 0x51, unmask 50, 0x42=0x1");
        }
    }

    #[test]
    fn what_is_unfinished_comes_before_the_next_write_which_is_made_once() {
        let mut hardware = Recorder { waits: 0, ..Recorder::default() };
        let guest = learned(&mut hardware);
        write(&guest, &mut hardware, 0xa0, 0x8000_0000);
        guest.write_memory(TABLE, 8, 0xfee0_0000, &mut hardware);
        assert_eq!(guest.write_memory(TABLE | 8, 8, 0x51, &mut hardware), Outcome::Done);
        // Nothing of these is taken: the instruction runs again, and reads what it read before.
        for _ in 0..2 {
            hardware.waits = 0;
            assert_eq!(
                guest.write_memory(TABLE | 0x10, 4, 0xfee0_1000, &mut hardware),
                Outcome::Retry
            );
            hardware.waits = 0;
            assert_eq!(write(&guest, &mut hardware, 0x04, 0x402), Some(Outcome::Retry));
            assert_eq!(guest.read_memory(TABLE | 0x10, 4, &mut hardware), Some(0));
        }
        assert_eq!(write(&guest, &mut hardware, 0x04, 0x2), Some(Outcome::Forward));
        assert_eq!(guest.write_memory(TABLE | 0x10, 4, 0xfee0_1000, &mut hardware), Outcome::Done);
        assert_eq!(guest.read_memory(TABLE | 0x10, 4, &mut hardware), Some(0xfee0_1000));
    }

    #[test]
    fn attempts_are_logged_once_and_counted() {
        let mut hardware = Recorder::default();
        let guest = learned(&mut hardware);
        hardware.said();
        for _ in 0..3 {
            guest.refuse(DEVICE, Attempt::Map, 17, &mut hardware);
            assert_eq!(host_write(&guest, &mut hardware, (0x42, 2), 0x81), Some(Outcome::Refused));
        }
        guest.refuse(Sbdf(0x28), Attempt::Map, 7, &mut hardware);
        let said = [
            "refused to map a message interrupt for d17",
            "refused dom0's write to register: 0x42",
        ];
        assert_eq!(hardware.said(), said);
        guest.release(DEVICE, &mut hardware);
        assert_eq!(
            hardware.said(),
            ["released; messages refused: 0", "attempts of others refused: 6"]
        );
    }

    #[test]
    fn dom0_keeps_its_hands_off() {
        let mut hardware = Recorder::default();
        let guest = learned(&mut hardware);
        for access in [(0x42, 2), (0x4c, 2), (0xa2, 2), (0xa4, 4), (0xa8, 1)] {
            assert_eq!(
                host_write(&guest, &mut hardware, access, 0xc001),
                Some(Outcome::Refused),
                "{access:x?}"
            );
        }
        assert_eq!(hardware.told(), "");
        assert_eq!(host_write(&guest, &mut hardware, (COMMAND, 2), 0x0406), Some(Outcome::Done));
        assert_eq!(host_write(&guest, &mut hardware, (0x0d, 1), 0x40), Some(Outcome::Done));
        assert_eq!(hardware.told(), "0x4=0x6, 0xd=0x40");
        let other = ConfigAccess::at(0x42, 2)
            .map(|access| guest.host_write(Sbdf(0x28), access, 0x81, &mut hardware));
        assert_eq!(other, Some(Outcome::Gone));
    }

    #[test]
    fn an_odd_write_of_dom0s_lands_where_it_was_meant() {
        let mut hardware = Recorder::default();
        let guest = learned(&mut hardware);
        host_write(&guest, &mut hardware, (0x05, 2), 0x1234);
        assert_eq!(hardware.told(), "0x5=0x30, 0x6=0x12");
        host_write(&guest, &mut hardware, (0x0d, 2), 0xabcd);
        assert_eq!(hardware.told(), "0xd=0xcd, 0xe=0xab");
    }

    #[test]
    fn dma_is_stopped_under_the_lock_and_stays_so() {
        let mut hardware = Recorder { command: 0x6, ..Recorder::default() };
        let guest = learned(&mut hardware);
        assert!(guest.stop_dma(DEVICE, &mut hardware));
        assert_eq!(hardware.told(), "0x4=0x2");
        deliver(&guest, &mut hardware);
        assert_eq!(hardware.command, 0x402);
        assert!(!guest.stop_dma(Sbdf(0x28), &mut hardware));
    }

    #[test]
    fn what_the_device_says_of_command_gives_back_neither_dma_nor_intx() {
        let mut hardware = Recorder { command: 0x6, ..Recorder::default() };
        let guest = learned(&mut hardware);
        assert!(guest.stop_dma(DEVICE, &mut hardware));
        deliver(&guest, &mut hardware);
        hardware.told();
        // It says that DMA goes on and that INTx is allowed.
        hardware.command = 0x6;
        assert!(guest.stop_dma(DEVICE, &mut hardware));
        assert_eq!(hardware.told(), "0x4=0x402");
        hardware.command = 0x406;
        write(&guest, &mut hardware, 0xa0, 0);
        assert!(hardware.told().ends_with("0x4=0x2"));
        // Until dom0 decides.
        host_write(&guest, &mut hardware, (0x04, 2), 0x6);
        hardware.told();
        write(&guest, &mut hardware, 0x04, 0x402);
        assert_eq!((hardware.told(), hardware.command), ("intx off".into(), 0x406));
    }

    #[test]
    fn a_device_that_sleeps_at_its_assignment_is_left_alone_until_it_wakes() {
        let lies = vec![(POWER + 4, 0x3)];
        let mut hardware = Recorder { lies, ..Recorder::default() };
        let guest = Guest::empty();
        assert_eq!(guest.manage(&KNOWN, &mut hardware), Ok(true));
        place(&guest, &mut hardware);
        deliver_later(&guest, &mut hardware);
        assert!(!hardware.told().contains('['), "its memory is not there");
        hardware.lies.clear();
        host_write(&guest, &mut hardware, (POWER + 4, 2), 0x0);
        hardware.told();
        hardware.time += WAKE_TIME;
        assert!(!guest.settle(DEVICE, &mut hardware));
        let done = hardware.told();
        assert!(done.ends_with("map entry 0, bind 50 0x51, unmask 50, 0xa2=0x8000"), "{done}");
    }

    #[test]
    fn dom0_does_none_of_the_guests_work() {
        let mut hardware = Recorder { command: 0x6, ..Recorder::default() };
        let guest = delivering(&mut hardware);
        // The guest's next message has to wait for another processor.
        hardware.waits = 0;
        guest.write_memory(TABLE | 0xc, 4, 1, &mut hardware);
        guest.write_memory(TABLE | 0x8, 4, 0x52, &mut hardware);
        guest.write_memory(TABLE | 0xc, 4, 0, &mut hardware);
        assert!(hardware.told().ends_with("bind 50 0x52"));
        host_write(&guest, &mut hardware, (0x04, 2), 0x0106);
        assert_eq!(hardware.told(), "0x4=0x506");
        hardware.waits = u32::MAX;
        assert!(!guest.settle(DEVICE, &mut hardware));
        assert_eq!(hardware.told(), "bind 50 0x52, unmask 50");
    }

    #[test]
    fn a_device_that_lies_at_its_assignment_is_not_assigned() {
        for (register, lie, said) in [
            (0x00, u32::MAX, "not assigned: the device does not answer"),
            (0x0c, 0x1_0000, "not assigned: header type"),
            (0x40, u32::MAX, "not assigned: MSI capability is not as Xen found it"),
            (0x40, 0x0188_0005, "not assigned: MSI capability is not as Xen found it"),
            (0xa0, 0x07ff_0011, "not assigned: MSI-X capability is not as Xen found it"),
            (0xa4, 0x1000, "not assigned: MSI-X table or PBA is not where Xen protects it"),
            (0xa4, 0x1, "not assigned: MSI-X table or PBA outside of the base addresses"),
            (0xa8, 0x2000, "not assigned: MSI-X table or PBA outside of the base addresses"),
            (0xa8, 0x4000, "not assigned: MSI-X table or PBA is not where Xen protects it"),
        ] {
            let (guest, mut hardware) = (Guest::empty(), Recorder::default());
            hardware.lies.push((register, lie));
            assert_eq!(
                guest.manage(&KNOWN, &mut hardware),
                Err(Errno::NOT_PERMITTED),
                "{register:#x} {lie:#x}"
            );
            assert_eq!((hardware.said(), hardware.outstanding), (vec![said.to_string()], 0));
            assert!(!manages(&guest, DEVICE) && !hardware.told().contains("open"));
        }
    }

    #[test]
    fn memory_that_is_not_the_devices_is_never_opened() {
        for (frame, distrust) in [
            (0xfea02, Distrust::NotGranted),
            (0xfea03, Distrust::Ram),
            (0xfea02, Distrust::XensOwn),
            (0xfea03, Distrust::OthersTable),
        ] {
            let (guest, mut hardware) = (Guest::empty(), Recorder::default());
            hardware.strange.push((frame, distrust));
            assert_eq!(
                guest.manage(&KNOWN, &mut hardware),
                Err(Errno::NOT_PERMITTED),
                "{distrust:?}"
            );
            assert_eq!(hardware.said(), [distrust.text().to_string_lossy()]);
            assert!(!hardware.told().contains("open"));
        }
    }

    #[test]
    fn a_base_address_that_was_not_granted_teaches_nothing() {
        let (guest, mut hardware) = (Guest::empty(), Recorder::default());
        hardware.strange.push((0xfea80, Distrust::NotGranted));
        let without_table = Known { msix: None, ..KNOWN };
        assert_eq!(guest.manage(&without_table, &mut hardware), Ok(true));
        place(&guest, &mut hardware);
        assert_eq!(
            (write(&guest, &mut hardware, 0x44, 0), hardware.said().len()),
            (Some(Outcome::Forward), 0)
        );
    }

    #[test]
    fn msix_that_xen_has_not_prepared_is_shown_and_never_enables() {
        let mut hardware = Recorder::default();
        let guest = Guest::empty();
        let msix = KNOWN.msix.map(|msix| KnownMsix { frames: None, ..msix });
        assert_eq!(guest.manage(&Known { msix, ..KNOWN }, &mut hardware), Ok(true));
        assert_eq!(hardware.said(), ["MSI-X is not given to the guest: dom0 has not prepared it"]);
        place(&guest, &mut hardware);
        hardware.told();
        write(&guest, &mut hardware, 0xa0, 0x8000_0000);
        assert_eq!((hardware.told(), guest.answers(TABLE)), (String::new(), false));
        assert_eq!(host_write(&guest, &mut hardware, (0xa2, 2), 0x8000), Some(Outcome::Refused));
    }

    #[test]
    fn an_administrators_binding_needs_no_mapping() {
        let mut hardware = Recorder::default();
        let guest = Guest::empty();
        let bound = Known { function: Some(FUNCTION), ..KNOWN };
        assert_eq!(guest.manage(&bound, &mut hardware), Ok(true));
        assert_eq!(hardware.said(), ["learned as the guest's function: 0x18"]);
        assert_eq!(write(&guest, &mut hardware, 0x44, 0xfee0_0000), Some(Outcome::Done));
        write(&guest, &mut hardware, 0x10, 0xf200_0000);
        assert!(!guest.answers(TABLE));
        write(&guest, &mut hardware, 0x04, 0x2);
        assert!(guest.answers(TABLE));
        // A second device cannot be the same function.
        let second = Known { sbdf: Sbdf(0x28), ..bound };
        assert_eq!(guest.manage(&second, &mut hardware), Err(Errno::BUSY));
    }

    #[test]
    fn what_is_not_learned_is_said_once() {
        let mut hardware = Recorder::default();
        let guest = Guest::empty();
        assert_eq!(guest.manage(&KNOWN, &mut hardware), Ok(true));
        for said in [&["not learned: no function has its address"][..], &[]] {
            guest.mapped(&BAR, &mut hardware);
            assert_eq!(hardware.said(), said);
        }
    }
}
