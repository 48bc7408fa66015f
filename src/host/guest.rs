// SPDX-License-Identifier: GPL-2.0-only
//! One guest: its managed devices, and what it wrote into the headers of its functions.
//!
//! Locking: one lock per guest, taken first by every method that changes anything. It may be
//! taken with Xen's domctl lock and pcidevs_lock held, never with d->pci_lock, event_lock or an
//! interrupt's lock held, because [`Hardware`] takes those. Never taken in interrupt context.
//! It is a fair one: dom0 may wait for it with pcidevs_lock held, and a guest's vCPUs that come
//! back again and again must not keep it waiting.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use spin::Mutex;

use crate::core::access::ConfigAccess;
use crate::core::address::{GuestFunction, Sbdf};
use crate::core::layout::Frames;
use crate::core::learn::{Headers, Mapping};
use crate::host::hardware::{Errno, Hardware};
use crate::host::managed::{Answer, Managed, MemoryAccess};
use crate::host::refusals::Attempt;

/// Managed devices a guest may have: the slots of the guest's bus.
pub const DEVICES: usize = 32;

/// What msitrap keeps for a guest, from its first managed device to its end.
#[derive(Debug)]
pub struct Guest {
    state: Mutex<State>,
    /// Which functions are learned: looked at without the lock, so that accesses to others
    /// cost a load.
    learned: [AtomicBool; GuestFunction::COUNT],
    /// The guest's addresses between which Xen may have to answer, both ends included: looked at
    /// without the lock, so that accesses to other memory cost two loads.
    trapped: [AtomicU64; 2],
}

#[derive(Debug)]
struct State {
    devices: [Option<Managed>; DEVICES],
    headers: Headers,
}

/// Frames of host memory in a row that may be mapped into the guest, or may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// How many frames; zero only where none were asked for.
    pub length: u64,
    /// Whether the guest may have them.
    pub mappable: bool,
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
            trapped: [AtomicU64::new(u64::MAX), AtomicU64::new(0)],
        }
    }

    /// Manages a device that was just assigned; false when it has nothing to manage.
    ///
    /// # Errors
    /// `EEXIST` when it is managed already, `ENOSPC` when the guest has [`DEVICES`] devices,
    /// `ENOMEM`.
    pub fn manage(&self, sbdf: Sbdf, hardware: &mut impl Hardware) -> Result<bool, Errno> {
        let mut state = self.state.lock();
        if state.device(sbdf).is_some() {
            return Err(Errno::EXISTS);
        }
        let slot = state.devices.iter_mut().find(|slot| slot.is_none()).ok_or(Errno::NO_SPACE)?;
        *slot = Managed::take(sbdf, hardware)?;
        Ok(slot.is_some())
    }

    /// Releases a device, if it is managed.
    pub fn release(&self, sbdf: Sbdf, hardware: &mut impl Hardware) {
        let mut state = self.state.lock();
        let found = state.devices.iter_mut().find(|slot| slot.as_ref().is_some_and(|device| device.sbdf() == sbdf));
        let Some(slot) = found else { return };
        if let Some(device) = slot {
            device.function().into_iter().for_each(|function| self.set_learned(function, false));
            device.release(hardware);
        }
        *slot = None;
        self.publish(&state);
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
            self.publish(&state);
        }
        state.function(function).is_some_and(|device| device.write(access, value, hardware))
    }

    /// Whether Xen answers for the guest's memory at `address`.
    pub fn answers(&self, address: u64) -> bool {
        self.may_trap(address) && self.state.lock().memory(address, 1).is_some()
    }

    /// The guest reads `size` bytes of memory at `address`; None when the device model answers.
    pub fn read_memory(&self, address: u64, size: u8, hardware: &mut impl Hardware) -> Option<u64> {
        let mut state = self.state.lock();
        let (device, access) = state.memory(address, size)?;
        Some(device.read_memory(access, hardware))
    }

    /// The guest writes `size` bytes of memory at `address`; true when the device model must not
    /// see it.
    pub fn write_memory(&self, address: u64, size: u8, value: u64, hardware: &mut impl Hardware) -> bool {
        let mut state = self.state.lock();
        let Some((device, access)) = state.memory(address, size) else { return false };
        device.write_memory(access, value, hardware);
        true
    }

    /// The device model mapped host memory into the guest: learns every device that shows.
    pub fn mapped(&self, mapping: &Mapping, hardware: &mut impl Hardware) {
        let mut state = self.state.lock();
        let State { devices, headers } = &mut *state;
        for device in devices.iter_mut().flatten().filter(|device| device.function().is_none()) {
            let found = headers.find(device.bars(), mapping).filter(|function| !self.is_learned(*function));
            if let Some(function) = found {
                self.set_learned(function, true);
                device.learn(function, headers.command(function), hardware);
            }
        }
        self.publish(&state);
    }

    /// Of `count` frames of host memory from `first`: how many in a row may be mapped into the
    /// guest, or may not, and which of the two.
    pub fn mappable(&self, first: u64, count: u64) -> Run {
        let mut run = Run { length: count, mappable: true };
        for frames in self.state.lock().devices.iter().flatten().flat_map(Managed::protected).flatten() {
            run = run.clipped(first, &frames);
        }
        run
    }

    /// Dom0 writes configuration space of a device; what remains for it to write, or None.
    pub fn host_write(
        &self,
        sbdf: Sbdf,
        access: ConfigAccess,
        value: u32,
        hardware: &mut impl Hardware,
    ) -> Option<u32> {
        match self.state.lock().device(sbdf) {
            Some(device) => device.host_write(access, value, hardware),
            None => Some(value),
        }
    }

    /// Tells a device again all that it was told: dom0 says that it was reset.
    pub fn restore(&self, sbdf: Sbdf, hardware: &mut impl Hardware) {
        if let Some(device) = self.state.lock().device(sbdf) {
            device.renew(hardware);
        }
    }

    /// The same for all devices after the host slept, in Xen's own context: nothing is mapped.
    /// What cannot be told yet follows once dom0 has woken the device.
    pub fn resume(&self, hardware: &mut impl Hardware) {
        for device in self.state.lock().devices.iter_mut().flatten() {
            device.restore(hardware);
        }
    }

    /// Counts what others than the guest tried with a device.
    pub fn refuse(&self, sbdf: Sbdf, attempt: Attempt, number: u64, hardware: &mut impl Hardware) {
        if let Some(device) = self.state.lock().device(sbdf) {
            device.refuse(attempt, number, hardware);
        }
    }

    fn is_learned(&self, function: GuestFunction) -> bool {
        self.learned.get(usize::from(function.0)).is_some_and(|flag| flag.load(Ordering::Acquire))
    }

    fn may_trap(&self, address: u64) -> bool {
        let [first, last] = &self.trapped;
        (first.load(Ordering::Acquire)..=last.load(Ordering::Acquire)).contains(&address)
    }

    /// Renews [`Guest::trapped`].
    fn publish(&self, state: &State) {
        let range = state.devices.iter().flatten().filter_map(|device| device.trapped(&state.headers));
        let (first, last) = range.fold((u64::MAX, 0), |(first, last), (start, end)| (first.min(start), last.max(end)));
        let [published_first, published_last] = &self.trapped;
        published_first.store(first, Ordering::Release);
        published_last.store(last, Ordering::Release);
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

    /// The device whose memory Xen answers for at the guest's address `address`, and where.
    fn memory(&mut self, address: u64, size: u8) -> Option<(&mut Managed, MemoryAccess)> {
        let Self { devices, headers } = self;
        devices.iter_mut().flatten().find_map(|device| {
            let access = device.memory_access(headers, address, size)?;
            Some((device, access))
        })
    }
}

impl Run {
    /// What is left of it in view of frames that may not be mapped.
    fn clipped(self, first: u64, frames: &Frames) -> Self {
        if frames.contains(first) {
            let length = frames.last.saturating_sub(first).saturating_add(1);
            // Frames of two structures may overlap: the shorter run is right for both.
            Self { length: length.min(self.length), mappable: false }
        } else {
            let length = frames.first.checked_sub(first).unwrap_or(self.length);
            Self { length: length.min(self.length), ..self }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::spec::COMMAND;
    use crate::host::hardware::Positions;
    use crate::host::recorder::{Recorder, DEVICE};

    const FUNCTION: GuestFunction = GuestFunction(0x18);
    const BAR: Mapping = Mapping { guest_frame: 0xf2000, machine_frame: 0xfea00, count: 0x100 };
    const TABLE: u64 = 0xf200_2000;
    const PENDING: u64 = 0xf200_3000;

    fn at(register: u16, size: u8) -> Option<GuestAccess> {
        ConfigAccess::at(register, size).map(|access| GuestAccess { function: FUNCTION, access })
    }

    fn write(guest: &Guest, hardware: &mut Recorder, register: u16, value: u32) -> Option<bool> {
        at(register, 4).map(|access| guest.write(access, value, hardware))
    }

    fn host_write(guest: &Guest, hardware: &mut Recorder, access: (u16, u8), value: u32) -> Option<u32> {
        ConfigAccess::at(access.0, access.1).and_then(|access| guest.host_write(DEVICE, access, value, hardware))
    }

    /// A guest that has one device and placed it.
    fn learned(hardware: &mut Recorder) -> Guest {
        let guest = Guest::empty();
        assert_eq!(guest.manage(DEVICE, hardware), Ok(true));
        assert_eq!(write(&guest, hardware, 0x10, 0xf200_0000), Some(false));
        assert_eq!(write(&guest, hardware, 0x04, 0x2), Some(false));
        guest.mapped(&BAR, hardware);
        hardware.told();
        guest
    }

    /// The same with MSI-X on and its first vector delivering.
    fn delivering(hardware: &mut Recorder) -> Guest {
        let guest = learned(hardware);
        write(&guest, hardware, 0xa0, 0x8000_0000);
        guest.write_memory(TABLE, 8, 0xfee0_0000, hardware);
        guest.write_memory(TABLE | 8, 8, 0x51, hardware);
        assert!(hardware.told().ends_with("map entry 0, bind 50 0x51, unmask 50"));
        guest
    }

    fn manages(guest: &Guest, sbdf: Sbdf) -> bool {
        guest.state.lock().device(sbdf).is_some()
    }

    #[test]
    fn a_device_is_managed_once() {
        let (guest, mut hardware) = (Guest::empty(), Recorder::default());
        assert_eq!(guest.manage(Sbdf(1), &mut hardware), Ok(true));
        assert_eq!(guest.manage(Sbdf(1), &mut hardware), Err(Errno::EXISTS));
        assert!(manages(&guest, Sbdf(1)));
        guest.release(Sbdf(1), &mut hardware);
        assert!(!manages(&guest, Sbdf(1)));
        assert_eq!(guest.manage(Sbdf(1), &mut hardware), Ok(true));
    }

    #[test]
    fn devices_are_limited() {
        let (guest, mut hardware) = (Guest::empty(), Recorder::default());
        for device in 0..DEVICES as u32 {
            assert_eq!(guest.manage(Sbdf(device), &mut hardware), Ok(true));
        }
        assert_eq!(guest.manage(Sbdf(0xffff), &mut hardware), Err(Errno::NO_SPACE));
    }

    #[test]
    fn without_message_capabilities_there_is_nothing_to_manage() {
        let mut hardware = Recorder { positions: Positions::default(), ..Recorder::default() };
        let guest = Guest::empty();
        assert_eq!(guest.manage(Sbdf(1), &mut hardware), Ok(false));
        assert!(!manages(&guest, Sbdf(1)));
    }

    #[test]
    fn what_cannot_be_allocated_leaves_nothing_behind() {
        for (failing, more) in [("open", 0), ("open", 1), ("allocate", 0)] {
            let mut hardware = Recorder { failing: (failing, more), ..Recorder::default() };
            let guest = Guest::empty();
            assert_eq!(guest.manage(DEVICE, &mut hardware), Err(Errno::NO_SPACE));
            assert_eq!((manages(&guest, DEVICE), hardware.outstanding), (false, 0), "{failing} {more}");
        }
    }

    #[test]
    fn until_learned_the_device_model_answers() {
        let (guest, mut hardware) = (Guest::empty(), Recorder::default());
        assert_eq!(guest.manage(DEVICE, &mut hardware), Ok(true));
        assert_eq!(write(&guest, &mut hardware, 0x44, 0xfee0_0000), Some(false));
        let answer = at(0x44, 4).map(|access| guest.read(access, true, &mut hardware));
        assert_eq!(answer, Some(Answer::FORWARD));
        assert!(!guest.answers(TABLE));
        assert_eq!(guest.read_memory(TABLE, 4, &mut hardware), None);
        assert!(!guest.write_memory(TABLE, 4, 0, &mut hardware));
    }

    #[test]
    fn what_the_guest_wrote_into_command_before_counts() {
        let (guest, mut hardware) = (Guest::empty(), Recorder::default());
        assert_eq!(guest.manage(DEVICE, &mut hardware), Ok(true));
        write(&guest, &mut hardware, 0x10, 0xf200_0000);
        write(&guest, &mut hardware, 0x04, 0x402);
        hardware.told();
        guest.mapped(&BAR, &mut hardware);
        assert_eq!(hardware.told(), "intx off");
    }

    #[test]
    fn a_function_stands_for_one_device() {
        let mut hardware = Recorder::default();
        let guest = learned(&mut hardware);
        hardware.said();
        // Its base address is there, too.
        assert_eq!(guest.manage(Sbdf(0x28), &mut hardware), Ok(true));
        guest.mapped(&BAR, &mut hardware);
        assert_eq!(hardware.said(), [""; 0]);
        guest.release(DEVICE, &mut hardware);
        hardware.said();
        guest.mapped(&BAR, &mut hardware);
        assert_eq!(hardware.said(), ["learned as the guest's function: 24"]);
    }

    #[test]
    fn a_device_keeps_its_function() {
        let mut hardware = Recorder::default();
        let guest = learned(&mut hardware);
        hardware.said();
        let other = GuestFunction(0x20);
        for (register, value) in [(0x10, 0xe000_0000), (0x04, 0x2)] {
            let access = ConfigAccess::at(register, 4).map(|access| GuestAccess { function: other, access });
            assert_eq!(access.map(|access| guest.write(access, value, &mut hardware)), Some(false));
        }
        guest.mapped(&Mapping { guest_frame: 0xe0000, ..BAR }, &mut hardware);
        assert_eq!(hardware.said(), [""; 0]);
        assert_eq!(write(&guest, &mut hardware, 0x44, 0xfee0_0000), Some(true));
        assert_eq!((guest.answers(TABLE), guest.answers(0xe000_2000)), (true, false));
    }

    #[test]
    fn learned_registers_are_xens() {
        let mut hardware = Recorder::default();
        let guest = learned(&mut hardware);
        assert_eq!(write(&guest, &mut hardware, 0x44, 0xfee0_0000), Some(true));
        let answer = at(0x44, 4).map(|access| guest.read(access, true, &mut hardware));
        assert_eq!(answer, Some(Answer { value: 0xfee0_0000, mask: u32::MAX }));
        assert_eq!(write(&guest, &mut hardware, 0x4c, 0x51), Some(true));
        assert_eq!(write(&guest, &mut hardware, 0x40, 0x1_0000), Some(true));
        assert!(hardware.told().ends_with("0x42=0x1"));
    }

    #[test]
    fn the_header_is_merged_with_the_device_models() {
        let mut hardware = Recorder::default();
        let guest = learned(&mut hardware);
        let read = |size, mergeable, hardware: &mut Recorder| {
            at(if size == 2 { 0x42 } else { 0x40 }, size).map(|access| guest.read(access, mergeable, hardware))
        };
        assert_eq!(read(4, true, &mut hardware), Some(Answer { value: 0x0186_0000, mask: 0xffff_0000 }));
        assert_eq!(read(4, false, &mut hardware), Some(Answer { value: 0x0186_0005, mask: u32::MAX }));
        assert_eq!(read(2, true, &mut hardware), Some(Answer { value: 0x186, mask: 0xffff }));
        assert_eq!(read(1, true, &mut hardware), Some(Answer::FORWARD));
    }

    #[test]
    fn the_pages_of_table_and_pending_bits_are_xens() {
        let mut hardware = Recorder::default();
        let guest = learned(&mut hardware);
        let answers = [0xf200_1fff, TABLE, 0xf200_2fff, PENDING, 0xf200_3fff, 0xf200_4000].map(|at| guest.answers(at));
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
        assert!(guest.write_memory(TABLE | 0x40, 8, 7, &mut hardware));
        assert!(guest.write_memory(TABLE | 0x41, 2, 7, &mut hardware));
        assert_eq!(hardware.told(), "read 0xfea02040/2, [0xfea02040/8]=0x7");
        assert_eq!(guest.read_memory(PENDING, 8, &mut hardware), Some(0x5a));
        assert!(guest.write_memory(PENDING, 8, 7, &mut hardware));
        assert!(guest.write_memory(PENDING | 8, 4, 7, &mut hardware));
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
    fn the_device_is_not_touched_while_its_memory_is_not_decoded() {
        let mut hardware = Recorder::default();
        let guest = delivering(&mut hardware);
        assert_eq!(host_write(&guest, &mut hardware, (0x04, 2), 0x0004), None);
        assert_eq!(hardware.told(), "0xa2=0xc000, 0x4=0x404");
        assert_eq!(guest.read_memory(PENDING, 4, &mut hardware), Some(u64::MAX));
        assert!(guest.write_memory(TABLE | 0x40, 4, 1, &mut hardware));
        guest.write_memory(TABLE | 0x18, 8, 0x52, &mut hardware);
        guest.write_memory(TABLE | 0x0c, 4, 1, &mut hardware);
        assert_eq!(hardware.told(), "");
        assert_eq!(host_write(&guest, &mut hardware, (0x04, 1), 0x06), None);
        assert_eq!(hardware.told(), "0x4=0x6, mask 50, 0xa2=0x8000");
    }

    #[test]
    fn a_virtual_functions_decoding_is_not_its_own() {
        let mut hardware = Recorder { physical_function: Some(true), command: 0, ..Recorder::default() };
        let guest = delivering(&mut hardware);
        assert_eq!(host_write(&guest, &mut hardware, (0x04, 2), 0x0004), Some(0x0404));
        assert_eq!(guest.read_memory(PENDING, 4, &mut hardware), Some(0x5a));
        hardware.physical_function = Some(false);
        hardware.told();
        assert_eq!(guest.read_memory(PENDING, 4, &mut hardware), Some(u64::MAX));
        guest.write_memory(TABLE | 0x0c, 4, 1, &mut hardware);
        assert_eq!(hardware.told(), "0xa2=0xc000");
    }

    #[test]
    fn frames_of_table_and_pending_bits_are_never_mapped() {
        let mut hardware = Recorder::default();
        let guest = Guest::empty();
        assert_eq!(guest.mappable(0xfea00, 0x100), Run { length: 0x100, mappable: true });
        assert_eq!(guest.manage(DEVICE, &mut hardware), Ok(true));
        assert_eq!(guest.mappable(0xfea00, 0x100), Run { length: 2, mappable: true });
        assert_eq!(guest.mappable(0xfea02, 0xfe), Run { length: 1, mappable: false });
        assert_eq!(guest.mappable(0xfea03, 0xfd), Run { length: 1, mappable: false });
        assert_eq!(guest.mappable(0xfea04, 0xfc), Run { length: 0xfc, mappable: true });
        assert_eq!(guest.mappable(0xfea02, 1), Run { length: 1, mappable: false });
        assert_eq!(guest.mappable(0xfea00, 1), Run { length: 1, mappable: true });
    }

    #[test]
    fn release_turns_off_and_forgets_the_function() {
        let mut hardware = Recorder::default();
        let guest = delivering(&mut hardware);
        guest.release(DEVICE, &mut hardware);
        assert_eq!(hardware.told(), "0xa2=0xc000, unbind 50, unmap 50, 0xa2=0x0, intx on");
        assert_eq!(write(&guest, &mut hardware, 0x44, 0), Some(false));
        assert!(!guest.answers(TABLE) && !guest.may_trap(TABLE));
        assert_eq!(hardware.outstanding, 0);
        assert_eq!(guest.mappable(0xfea02, 1), Run { length: 1, mappable: true });
    }

    #[test]
    fn after_a_reset_the_device_is_told_again_and_enable_is_last() {
        let mut hardware = Recorder::default();
        let guest = delivering(&mut hardware);
        guest.restore(DEVICE, &mut hardware);
        assert_eq!(hardware.told(), "intx off, 0xa2=0xc000, again 50, 0xa2=0x8000");
        guest.resume(&mut hardware);
        assert_eq!(hardware.told(), "intx off, 0xa2=0xc000, again 50, 0xa2=0x8000");
        guest.restore(Sbdf(0x28), &mut hardware);
        assert_eq!(hardware.told(), "");
    }

    #[test]
    fn dom0s_write_after_a_reset_has_the_device_told_again() {
        let mut hardware = Recorder::default();
        let guest = delivering(&mut hardware);
        assert_eq!(host_write(&guest, &mut hardware, (0x04, 2), 0x0006), Some(0x0406));
        hardware.lost = true;
        assert_eq!(host_write(&guest, &mut hardware, (0x04, 2), 0x0006), None);
        assert_eq!(hardware.told(), "0x4=0x406, intx off, 0xa2=0xc000, again 50, 0xa2=0x8000");
    }

    #[test]
    fn a_reset_as_linux_does_it() {
        let mut hardware = Recorder::default();
        let guest = delivering(&mut hardware);
        // Decoding goes before the reset, and comes back with all that dom0 had saved.
        assert_eq!(host_write(&guest, &mut hardware, (0x04, 2), 0x0400), None);
        assert_eq!(hardware.told(), "0xa2=0xc000, 0x4=0x400");
        hardware.lost = true;
        assert_eq!(host_write(&guest, &mut hardware, (0x04, 2), 0x0006), None);
        assert_eq!(hardware.told(), "0x4=0x406, intx off, 0xa2=0xc000, again 50, 0xa2=0x8000");
    }

    #[test]
    fn a_reset_while_memory_is_not_decoded_waits_for_it() {
        let mut hardware = Recorder::default();
        let guest = delivering(&mut hardware);
        hardware.lost = true;
        assert_eq!(host_write(&guest, &mut hardware, (0x04, 2), 0x0004), None);
        assert_eq!(hardware.told(), "0xa2=0xc000, 0x4=0x404, intx off, unbind 50, unmap 50, 0xa2=0x0");
        assert_eq!(host_write(&guest, &mut hardware, (0x04, 2), 0x0006), None);
        let done = hardware.told();
        assert!(done.ends_with("map entry 0, bind 51 0x51, unmask 51, 0xa2=0x8000"), "{done}");
    }

    #[test]
    fn what_cannot_be_told_again_is_set_up_anew_when_dom0_wakes_the_device() {
        let mut hardware = Recorder { failing: ("again", 0), ..Recorder::default() };
        let guest = delivering(&mut hardware);
        guest.resume(&mut hardware);
        assert_eq!(hardware.told(), "intx off, 0xa2=0xc000, again 50, unbind 50, unmap 50, 0xa2=0x0");
        assert_eq!(host_write(&guest, &mut hardware, (0x04, 2), 0x0006), None);
        let done = hardware.told();
        assert!(done.starts_with("0x4=0x406, intx off, [0xfea0200c/4]=0x1"), "{done}");
        assert!(done.ends_with("map entry 0, bind 51 0x51, unmask 51, 0xa2=0x8000"), "{done}");
        assert_eq!(host_write(&guest, &mut hardware, (0x04, 2), 0x0006), Some(0x0406));
    }

    #[test]
    fn attempts_are_told_once_and_counted() {
        let mut hardware = Recorder::default();
        let guest = learned(&mut hardware);
        hardware.said();
        for _ in 0..3 {
            guest.refuse(DEVICE, Attempt::Map, 7, &mut hardware);
            assert_eq!(host_write(&guest, &mut hardware, (0x42, 2), 0x81), None);
        }
        guest.refuse(Sbdf(0x28), Attempt::Map, 7, &mut hardware);
        let told = ["refused to map a message interrupt for domain: 7", "refused dom0's write to register: 66"];
        assert_eq!(hardware.said(), told);
        guest.release(DEVICE, &mut hardware);
        assert_eq!(hardware.said(), ["released; messages refused: 0", "attempts of others refused: 6"]);
    }

    #[test]
    fn dom0_keeps_its_hands_off() {
        let mut hardware = Recorder::default();
        let guest = learned(&mut hardware);
        let mut write = |access, value| host_write(&guest, &mut hardware, access, value);
        for access in [(0x42, 2), (0x4c, 2), (0xa2, 2), (0xa4, 4), (0xa8, 1)] {
            assert_eq!(write(access, 0xc001), None, "{access:x?}");
        }
        assert_eq!(write((COMMAND, 2), 0x0406), Some(0x0006));
        assert_eq!(write((0x0d, 1), 0x40), Some(0x40));
        let other = ConfigAccess::at(0x42, 2).map(|access| guest.host_write(Sbdf(0x28), access, 0x81, &mut hardware));
        assert_eq!(other, Some(Some(0x81)));
    }
}
