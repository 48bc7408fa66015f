// SPDX-License-Identifier: GPL-2.0-only
//! The hardware's side of MSI-X: what a device's capability and table were last programmed with.
//! Nothing that decides is read back.

use static_assertions::const_assert_eq;

use crate::core::address::Sbdf;
use crate::core::layout::Layout;
use crate::core::learn::FRAME_SHIFT;
use crate::core::message::BoundMessage;
use crate::core::msix::Msix;
use crate::core::spec::{MsixControl, MSIX_ENTRY, MSIX_VECTOR_CONTROL, MSIX_VECTOR_MASKED};
use crate::host::hardware::{read_control, Hardware, Incomplete, Pirq};
use crate::memory::{Owned, Window};

/// One vector in hardware.
#[derive(Clone, Copy, Debug)]
pub struct Vector {
    pirq: Option<Pirq>,
    bound: Option<BoundMessage>,
    masked: bool,
}

// With the 16 bytes of an entry, a table of 2048 vectors takes 48 KiB.
const_assert_eq!(size_of::<Vector>(), 8);

/// Calls of Xen's that one vector may take: mapped, bound, unmasked; or masked, unbound, unmapped.
const VECTOR_CALLS: u32 = 3;

/// What changed on the guest's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// At most one vector.
    Vector(u16),
    /// Anything.
    Device,
}

/// How the capability's enable and function mask bits stand in hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Off,
    FunctionMasked,
    On,
}

/// A device's MSI-X in hardware.
#[derive(Debug)]
pub struct HostMsix {
    device: Sbdf,
    control_register: u16,
    state: State,
    /// Where the table and the pending bits are; None where MSI-X is not given to the guest.
    memory: Option<Memory>,
    vectors: Owned<Vector>,
    /// Entries below this one are masked, or have Xen's message: a host driver, a reset, or the
    /// time when the table could not be reached, left the others as they are.
    masked: u16,
    /// Vectors below this one have Xen's message, if they have an interrupt: a reset took it from
    /// the others.
    programmed: u16,
    /// How often a vector stayed masked because Xen had no interrupt for it.
    failures: u64,
}

/// A device's table and pending bits.
#[derive(Debug)]
pub struct Memory {
    /// Where they lie.
    pub layout: Layout,
    /// The frames of the table.
    pub table: Window,
    /// The frames of the pending bits.
    pub pending: Window,
}

impl Memory {
    /// The window through which the host's address `address`, in one of the two, is reached.
    pub fn window(&self, address: u64) -> &Window {
        if self.table.frames().contains(address >> FRAME_SHIFT) {
            &self.table
        } else {
            &self.pending
        }
    }

    /// Gives the mappings back.
    pub fn close(self, hardware: &mut impl Hardware) {
        hardware.close(self.table);
        hardware.close(self.pending);
    }
}

impl Vector {
    /// As before the first use.
    pub const UNUSED: Self = Self { pirq: None, bound: None, masked: true };

    fn apply(
        &mut self,
        wanted: Option<BoundMessage>,
        source: Source,
        hardware: &mut impl Hardware,
    ) -> Result<(), Incomplete> {
        match (wanted, self.pirq) {
            (Some(message), _) if self.bound == Some(message) && !self.masked => {}
            (Some(message), _) => {
                let pirq = self.map(source, hardware)?;
                self.bind(pirq, message, hardware)?;
                self.set_masked(pirq, false, hardware);
            }
            (None, Some(pirq)) if !self.masked => {
                hardware.budget().take_calls(1)?;
                self.set_masked(pirq, true, hardware);
            }
            (None, _) => {}
        }
        Ok(())
    }

    fn map(&mut self, source: Source, hardware: &mut impl Hardware) -> Result<Pirq, Incomplete> {
        hardware.budget().take_calls(VECTOR_CALLS)?;
        match self.pirq {
            Some(pirq) => Ok(pirq),
            None => {
                let pirq = hardware.map_msix(source.device, source.vector)?;
                self.pirq = Some(pirq);
                Ok(pirq)
            }
        }
    }

    fn bind(
        &mut self,
        pirq: Pirq,
        message: BoundMessage,
        hardware: &mut impl Hardware,
    ) -> Result<(), Incomplete> {
        if self.bound == Some(message) {
            return Ok(());
        }
        let result = hardware.bind(pirq, &message).map_err(Incomplete::from);
        match result {
            Ok(()) => self.bound = Some(message),
            // Masked, as it was mapped.
            Err(Incomplete::Retry) => {}
            Err(Incomplete::Failed(_)) => {
                self.set_masked(pirq, true, hardware);
                self.release(hardware);
            }
        }
        result
    }

    fn set_masked(&mut self, pirq: Pirq, masked: bool, hardware: &mut impl Hardware) {
        if self.masked != masked {
            hardware.set_masked(pirq, masked);
            self.masked = masked;
        }
    }

    /// Gives the interrupt back; its entry in hardware must be masked, or the function.
    fn release(&mut self, hardware: &mut impl Hardware) {
        let Some(pirq) = self.pirq.take() else { return };
        self.masked = true;
        if self.bound.take().is_some() {
            hardware.unbind(pirq);
        }
        hardware.unmap(pirq);
    }
}

/// Which vector of which device.
#[derive(Clone, Copy)]
struct Source {
    device: Sbdf,
    vector: u16,
}

impl HostMsix {
    /// Takes charge of it, and switches it off.
    pub fn take(
        device: Sbdf,
        control_register: u16,
        memory: Option<Memory>,
        vectors: Owned<Vector>,
        hardware: &mut impl Hardware,
    ) -> Self {
        let mut msix = Self {
            device,
            control_register,
            state: State::On,
            memory,
            vectors,
            masked: 0,
            programmed: 0,
            failures: 0,
        };
        msix.set_state(State::Off, hardware);
        msix
    }

    /// Where the table and the pending bits are.
    pub fn memory(&self) -> Option<&Memory> {
        self.memory.as_ref()
    }

    /// The same, taken away, for it to be given back.
    pub fn into_memory(self) -> Option<Memory> {
        self.memory
    }

    /// How often a vector stayed masked because Xen had no interrupt for it.
    pub fn failures(&self) -> u64 {
        self.failures
    }

    /// Delivers what the guest's table wants.
    ///
    /// # Errors
    /// [`Incomplete::Failed`] of the last vector that stayed masked; all others deliver. After
    /// [`Incomplete::Retry`] the function mask may be set until the next call.
    pub fn turn_on(
        &mut self,
        wanted: &Msix,
        scope: Scope,
        hardware: &mut impl Hardware,
    ) -> Result<(), Incomplete> {
        if self.memory.is_none() {
            return Ok(());
        }
        let scope = self.enable(scope, hardware)?;
        if wanted.function_masked() {
            // The vectors may stay as they are behind the function mask, and follow once it goes.
            self.set_state(State::FunctionMasked, hardware);
            return Ok(());
        }
        let scope = if self.state == State::On { scope } else { Scope::Device };
        let result = self.apply(wanted, scope, hardware);
        if result != Err(Incomplete::Retry) {
            self.set_state(State::On, hardware);
        }
        result
    }

    /// Delivers nothing, for as long as the device's memory cannot be reached; what is pending
    /// stays so.
    pub fn hold(&mut self, hardware: &mut impl Hardware) {
        if self.state == State::On {
            self.set_state(State::FunctionMasked, hardware);
        }
    }

    /// Delivers nothing, and gives every interrupt back. The first write sets the function mask,
    /// which silences all at once; with enable clear Xen would have to set it for each vector
    /// to reach its entry. `reachable` says whether its entries are masked on the way.
    ///
    /// # Errors
    /// [`Incomplete::Retry`]: the function mask is set, and there is more to give back.
    pub fn turn_off(
        &mut self,
        reachable: bool,
        hardware: &mut impl Hardware,
    ) -> Result<(), Incomplete> {
        if self.state == State::Off {
            return Ok(());
        }
        self.hold(hardware);
        for vector in self.vectors.iter_mut().filter(|vector| vector.pirq.is_some()) {
            hardware.budget().take_calls(VECTOR_CALLS)?;
            if !reachable {
                (self.masked, self.programmed) = (0, 0);
            }
            vector.release(hardware);
        }
        self.set_state(State::Off, hardware);
        Ok(())
    }

    /// Whether it is enabled and reads as if it were not.
    pub fn is_lost(&self, hardware: &mut impl Hardware) -> bool {
        self.state != State::Off
            && !MsixControl(read_control(self.device, self.control_register, hardware)).enable()
    }

    /// The device was reset: what it had been programmed with is written again by
    /// [`HostMsix::turn_on`], behind the function mask.
    pub fn lose(&mut self, hardware: &mut impl Hardware) {
        (self.masked, self.programmed) = (0, 0);
        if self.state != State::Off {
            self.write_state(State::FunctionMasked, hardware);
        }
    }

    /// The table could not be reached for a while: what Xen's own code wanted to write into it is
    /// written by [`HostMsix::turn_on`], behind the function mask.
    pub fn program_again(&mut self) {
        self.programmed = 0;
    }

    /// Enables the capability, if it was off, behind the function mask; every entry is masked, and
    /// every vector that has an interrupt has its message. Returns what has to be applied then.
    ///
    /// Some devices have no table before they are enabled (Xen's `msix_capability_init`).
    fn enable(&mut self, scope: Scope, hardware: &mut impl Hardware) -> Result<Scope, Incomplete> {
        let vectors = self.memory.as_ref().map_or(0, |memory| memory.layout.vectors());
        if self.state != State::Off && self.masked >= vectors && self.programmed >= vectors {
            return Ok(scope);
        }
        if self.state != State::FunctionMasked {
            self.set_state(State::FunctionMasked, hardware);
        }
        self.mask_entries(vectors, hardware)?;
        self.program_vectors(vectors, hardware)?;
        Ok(Scope::Device)
    }

    fn mask_entries(
        &mut self,
        vectors: u16,
        hardware: &mut impl Hardware,
    ) -> Result<(), Incomplete> {
        let Some(memory) = &self.memory else { return Ok(()) };
        while self.masked < vectors {
            hardware.budget().take_store()?;
            mask_entry(memory, self.masked, hardware);
            self.masked = self.masked.saturating_add(1);
        }
        Ok(())
    }

    /// Masks the entries of all vectors that have an interrupt, behind the function mask, by stores
    /// that wait for nothing; the interrupts are given back next.
    ///
    /// # Errors
    /// [`Incomplete::Retry`]: there are more.
    pub fn mask_vectors(&mut self, hardware: &mut impl Hardware) -> Result<(), Incomplete> {
        let Some(memory) = &self.memory else { return Ok(()) };
        for (index, vector) in (0..).zip(self.vectors.iter_mut()) {
            if !vector.masked {
                hardware.budget().take_store()?;
                mask_entry(memory, index, hardware);
                vector.masked = true;
            }
        }
        Ok(())
    }

    /// Where that fails, MSI-X is off and holds no interrupt.
    fn program_vectors(
        &mut self,
        vectors: u16,
        hardware: &mut impl Hardware,
    ) -> Result<(), Incomplete> {
        while self.programmed < vectors {
            let pirq =
                self.vectors.get(usize::from(self.programmed)).and_then(|vector| vector.pirq);
            if let Some(pirq) = pirq {
                hardware.budget().take_calls(1)?;
                if let Err(errno) = hardware.reprogram(pirq) {
                    self.turn_off(false, hardware)?;
                    return Err(errno.into());
                }
            }
            self.programmed = self.programmed.saturating_add(1);
        }
        Ok(())
    }

    fn apply(
        &mut self,
        wanted: &Msix,
        scope: Scope,
        hardware: &mut impl Hardware,
    ) -> Result<(), Incomplete> {
        match scope {
            Scope::Vector(index) => self.apply_vector(index, wanted.vector(index), hardware),
            Scope::Device => self.apply_all(wanted, hardware),
        }
    }

    /// After the first failure no more interrupts are asked for: where there is none for one,
    /// there is none for the next.
    fn apply_all(&mut self, wanted: &Msix, hardware: &mut impl Hardware) -> Result<(), Incomplete> {
        let mut result = Ok(());
        for (index, message) in (0..).zip(wanted.vectors()) {
            let mapped =
                self.vectors.get(usize::from(index)).is_some_and(|vector| vector.pirq.is_some());
            if mapped || (message.is_some() && result.is_ok()) {
                match self.apply_vector(index, message, hardware) {
                    Err(Incomplete::Retry) => return Err(Incomplete::Retry),
                    done => result = done.and(result),
                }
            }
        }
        result
    }

    fn apply_vector(
        &mut self,
        index: u16,
        wanted: Option<BoundMessage>,
        hardware: &mut impl Hardware,
    ) -> Result<(), Incomplete> {
        let Some(vector) = self.vectors.at_mut(usize::from(index)) else { return Ok(()) };
        let result = vector.apply(wanted, Source { device: self.device, vector: index }, hardware);
        if matches!(result, Err(Incomplete::Failed(_))) {
            self.failures = self.failures.saturating_add(1);
            // Xen may have disabled MSI-X on its way out.
            self.write_state(self.state, hardware);
        }
        result
    }

    fn set_state(&mut self, state: State, hardware: &mut impl Hardware) {
        if self.state != state {
            self.write_state(state, hardware);
        }
    }

    fn write_state(&mut self, state: State, hardware: &mut impl Hardware) {
        let mut control = MsixControl(0);
        control.set_enable(state != State::Off);
        control.set_function_mask(state == State::FunctionMasked);
        hardware.write_config(self.device, self.control_register, 2, control.0.into());
        self.state = state;
    }
}

fn mask_entry(memory: &Memory, index: u16, hardware: &mut impl Hardware) {
    let offset = u32::from(index).saturating_mul(MSIX_ENTRY).saturating_add(MSIX_VECTOR_CONTROL);
    let address = memory.layout.table_address().saturating_add(offset.into());
    hardware.write_memory(&memory.table, address, 4, MSIX_VECTOR_MASKED.into());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::access::ByteEnables;
    use crate::core::capability::{Capability, Permission};
    use crate::core::msix::MsixRegisters;
    use crate::host::budget::Budget;
    use crate::host::recorder::{Recorder, DEVICE};

    const ENABLE: u32 = 0x8000_0000;
    const FUNCTION_MASK: u32 = 0x4000_0000;
    const MASK_ALL: &str =
        "[0xfea0200c/4]=0x1, [0xfea0201c/4]=0x1, [0xfea0202c/4]=0x1, [0xfea0203c/4]=0x1";

    /// Both sides of the recorder's MSI-X, taken.
    struct Pair {
        guest: Msix,
        host: HostMsix,
        hardware: Recorder,
    }

    impl Pair {
        fn new() -> Self {
            Self::try_new().unwrap_or_else(|| std::process::abort())
        }

        fn try_new() -> Option<Self> {
            let mut hardware = Recorder::default();
            let bars = hardware.bars(DEVICE);
            let registers =
                MsixRegisters { position: 0xa0, header: 0x3_0011, table: 0x2000, pending: 0x3000 };
            let layout =
                Layout::new(registers.control(), registers.table, registers.pending, &bars)?;
            let memory = hardware.allocate_table(4).ok()?;
            let table = hardware.open(layout.table_frames()).ok()?;
            let pending = hardware.open(layout.pending_frames()).ok()?;
            let guest = Msix::new(registers, memory.entries);
            hardware.told();
            let memory = (Some(Memory { layout, table, pending }), memory.vectors);
            let host = HostMsix::take(DEVICE, 0xa2, memory.0, memory.1, &mut hardware);
            assert_eq!(hardware.told(), "0xa2=0x0");
            Some(Self { guest, host, hardware })
        }

        fn apply(&mut self, scope: Scope) -> String {
            let _ = self.host.turn_on(&self.guest, scope, &mut self.hardware);
            self.hardware.told()
        }

        fn control(&mut self, value: u32) -> String {
            self.guest.write(0xa0, ByteEnables::ALL, value, Permission::Granted);
            self.apply(Scope::Device)
        }

        /// Programs a vector's message and sets or clears its mask bit.
        fn program(&mut self, index: u32, vector: u64, masked: bool) -> String {
            self.guest.write_table(index << 4, 8, 0xfee0_0000);
            let control = u64::from(masked) << 32 | vector;
            let index = self.guest.write_table(index << 4 | 8, 8, control);
            self.apply(Scope::Vector(index.unwrap_or(u16::MAX)))
        }
    }

    #[test]
    fn enabled_with_every_vector_masked_first() {
        let mut pair = Pair::new();
        assert_eq!(pair.control(ENABLE), format!("0xa2=0xc000, {MASK_ALL}, 0xa2=0x8000"));
        assert_eq!(pair.program(1, 0x51, true), "");
        assert_eq!(pair.program(1, 0x51, false), "map entry 1, bind 50 0x51, unmask 50");
        assert_eq!(pair.program(1, 0x51, true), "mask 50");
        assert_eq!(pair.program(1, 0x52, false), "bind 50 0x52, unmask 50");
    }

    #[test]
    fn vectors_are_applied_once_the_function_mask_goes() {
        let mut pair = Pair::new();
        assert_eq!(pair.control(ENABLE | FUNCTION_MASK), format!("0xa2=0xc000, {MASK_ALL}"));
        assert_eq!(pair.program(0, 0x51, false), "");
        assert_eq!(pair.program(2, 0x52, false), "");
        let done = "map entry 0, bind 50 0x51, unmask 50, map entry 2, bind 51 0x52, unmask 51, \
                    0xa2=0x8000";
        assert_eq!(pair.control(ENABLE), done);
        assert_eq!(pair.control(ENABLE | FUNCTION_MASK), "0xa2=0xc000");
        assert_eq!(pair.program(2, 0x52, true), "");
        assert_eq!(pair.control(ENABLE), "mask 51, 0xa2=0x8000");
    }

    #[test]
    fn off_silences_first_and_releases_all() {
        let mut pair = Pair::new();
        pair.control(ENABLE);
        pair.program(0, 0x51, false);
        pair.program(3, 0x52, false);
        let _ = pair.host.turn_off(true, &mut pair.hardware);
        assert_eq!(
            pair.hardware.told(),
            "0xa2=0xc000, unbind 50, unmap 50, unbind 51, unmap 51, 0xa2=0x0"
        );
        let _ = pair.host.turn_off(true, &mut pair.hardware);
        assert_eq!(pair.hardware.told(), "");
    }

    #[test]
    fn held_while_memory_is_not_decoded() {
        let mut pair = Pair::new();
        pair.control(ENABLE);
        pair.program(0, 0x51, false);
        pair.host.hold(&mut pair.hardware);
        assert_eq!(pair.hardware.told(), "0xa2=0xc000");
        assert_eq!(pair.apply(Scope::Device), "0xa2=0x8000");
        let _ = pair.host.turn_off(true, &mut pair.hardware);
        pair.hardware.told();
        pair.host.hold(&mut pair.hardware);
        assert_eq!(pair.hardware.told(), "");
    }

    #[test]
    fn once_it_is_reached_again_all_vectors_are_applied() {
        let mut pair = Pair::new();
        pair.control(ENABLE);
        pair.program(0, 0x51, false);
        pair.host.hold(&mut pair.hardware);
        pair.guest.write_table(0x0c, 4, 1);
        pair.hardware.told();
        assert_eq!(
            pair.program(2, 0x52, false),
            "mask 50, map entry 2, bind 51 0x52, unmask 51, 0xa2=0x8000"
        );
    }

    #[test]
    fn exhaustion_masks_one_and_is_tried_again_at_its_next_unmask() {
        let mut pair = Pair::new();
        pair.hardware.failing = ("map", 1);
        for index in 0..4 {
            pair.guest.write_table(index << 4, 8, 0xfee0_0000);
            pair.guest.write_table(index << 4 | 8, 8, 0x50 | u64::from(index));
        }
        let masked = format!("0xa2=0xc000, {MASK_ALL}");
        // Xen may have disabled MSI-X as it failed.
        let failed = "map entry 1, 0xa2=0xc000";
        let done = format!("{masked}, map entry 0, bind 50 0x50, unmask 50, {failed}, 0xa2=0x8000");
        assert_eq!(pair.control(ENABLE), done);
        assert_eq!(pair.host.failures(), 1);
        pair.hardware.failing = ("", 0);
        assert_eq!(pair.program(3, 0x53, true), "");
        assert_eq!(pair.program(3, 0x53, false), "map entry 3, bind 51 0x53, unmask 51");
    }

    #[test]
    fn a_failed_bind_gives_the_interrupt_back() {
        let mut pair = Pair::new();
        pair.control(ENABLE);
        pair.hardware.failing = ("bind", 1);
        pair.program(0, 0x51, false);
        pair.program(0, 0x51, true);
        assert_eq!(pair.program(0, 0x52, false), "bind 50 0x52, unbind 50, unmap 50, 0xa2=0x8000");
        assert_eq!(
            pair.program(1, 0x53, false),
            "map entry 1, bind 51 0x53, unmap 51, 0xa2=0x8000"
        );
    }

    #[test]
    fn without_a_table_nothing_happens() {
        let mut pair = Pair::new();
        let mut bare = HostMsix::take(DEVICE, 0xa2, None, Owned::empty(), &mut pair.hardware);
        pair.hardware.told();
        pair.guest.write(0xa0, ByteEnables::ALL, ENABLE, Permission::Granted);
        assert_eq!(bare.turn_on(&pair.guest, Scope::Device, &mut pair.hardware), Ok(()));
        assert_eq!(pair.hardware.told(), "");
        assert!(bare.memory().is_none() && bare.into_memory().is_none());
    }

    #[test]
    fn its_mappings_are_given_back() {
        let mut pair = Pair::new();
        let memory = pair.host.into_memory();
        assert_eq!(pair.hardware.outstanding, 2);
        memory.into_iter().for_each(|memory| memory.close(&mut pair.hardware));
        assert_eq!(pair.hardware.outstanding, 0);
    }

    #[test]
    fn entries_are_masked_once_until_they_are_lost() {
        let mut pair = Pair::new();
        pair.control(ENABLE);
        assert_eq!(pair.host.turn_off(true, &mut pair.hardware), Ok(()));
        pair.hardware.told();
        assert_eq!(pair.control(ENABLE), "0xa2=0xc000, 0xa2=0x8000");
        pair.host.lose(&mut pair.hardware);
        assert_eq!(pair.hardware.told(), "0xa2=0xc000");
        assert_eq!(pair.apply(Scope::Device), format!("{MASK_ALL}, 0xa2=0x8000"));
        pair.program(0, 0x51, false);
        // Given back while the table could not be reached, its entry may be unmasked still.
        let _ = pair.host.turn_off(false, &mut pair.hardware);
        pair.hardware.told();
        assert!(pair
            .apply(Scope::Device)
            .starts_with(&format!("0xa2=0xc000, {MASK_ALL}, map entry 0")));
    }

    #[test]
    fn a_lost_vector_gets_its_message_behind_the_function_mask() {
        let mut pair = Pair::new();
        pair.control(ENABLE);
        pair.program(2, 0x51, false);
        pair.host.lose(&mut pair.hardware);
        pair.hardware.told();
        // A write to another entry brings all of it back.
        assert_eq!(pair.program(0, 0x52, true), format!("{MASK_ALL}, again 50, 0xa2=0x8000"));
        pair.hardware.failing = ("again", 0);
        pair.host.lose(&mut pair.hardware);
        pair.hardware.told();
        assert_eq!(
            pair.apply(Scope::Device),
            format!("{MASK_ALL}, again 50, unbind 50, unmap 50, 0xa2=0x0")
        );
        assert!(pair
            .apply(Scope::Device)
            .ends_with("map entry 2, bind 51 0x51, unmask 51, 0xa2=0x8000"));
    }

    #[test]
    fn where_xen_would_have_to_wait_the_vector_stays_masked() {
        let mut pair = Pair::new();
        pair.control(ENABLE);
        pair.hardware.waits = 0;
        assert_eq!(pair.program(1, 0x51, false), "map entry 1, bind 50 0x51");
        assert_eq!(pair.apply(Scope::Vector(1)), "bind 50 0x51, unmask 50");
    }

    /// A table as large as any, in a base address of its own.
    fn largest() -> Option<Pair> {
        let mut hardware = Recorder { bounded: true, ..Recorder::default() };
        let bars = hardware.bars(DEVICE);
        let registers =
            MsixRegisters { position: 0xa0, header: 0x7ff_0011, table: 0, pending: 0x8000 };
        let layout = Layout::new(registers.control(), registers.table, registers.pending, &bars)?;
        let memory = hardware.allocate_table(layout.vectors()).ok()?;
        let table = hardware.open(layout.table_frames()).ok()?;
        let pending = hardware.open(layout.pending_frames()).ok()?;
        let guest = Msix::new(registers, memory.entries);
        let memory = (Some(Memory { layout, table, pending }), memory.vectors);
        let host = HostMsix::take(DEVICE, 0xa2, memory.0, memory.1, &mut hardware);
        hardware.told();
        Some(Pair { guest, host, hardware })
    }

    /// How often the same is asked for until it is done, and the most that was done at once.
    fn until_done(
        mut step: impl FnMut(&mut Pair) -> Result<(), Incomplete>,
        pair: &mut Pair,
    ) -> (u32, usize) {
        let (mut holds, mut most) = (1, 0);
        while step(pair) == Err(Incomplete::Retry) {
            let done = pair.hardware.told();
            assert!(!done.contains("0xa2=0x8000"), "nothing is delivered before all is done");
            most = most.max(done.split(", ").count());
            holds = u32::saturating_add(holds, 1);
        }
        let done = pair.hardware.told();
        (holds, most.max(done.split(", ").count()))
    }

    #[test]
    fn the_largest_table_is_set_up_and_taken_down_in_slices() {
        let mut pair = largest().unwrap_or_else(Pair::new);
        for index in 0..2048u32 {
            pair.guest.write_table(index << 4, 8, 0xfee0_0000);
            pair.guest.write_table(index << 4 | 8, 8, 0x51);
        }
        pair.guest.write(0xa0, ByteEnables::ALL, ENABLE, Permission::Granted);
        let on =
            |pair: &mut Pair| pair.host.turn_on(&pair.guest, Scope::Device, &mut pair.hardware);
        let (holds, most) = until_done(on, &mut pair);
        let bound = (Budget::CALLS + Budget::STORES) as usize + 2;
        assert!(
            holds >= 2048 * 3 / Budget::CALLS && most <= bound,
            "{holds} holds, {most} at once"
        );
        assert_eq!(until_done(on, &mut pair), (1, 1), "nothing is done twice");
        let off = |pair: &mut Pair| pair.host.turn_off(true, &mut pair.hardware);
        let (holds, most) = until_done(off, &mut pair);
        assert!(
            holds >= 2048 * 3 / Budget::CALLS && most <= bound,
            "{holds} holds, {most} at once"
        );
    }

    #[test]
    fn interrupted_half_way_down_it_can_come_back() {
        let mut pair = largest().unwrap_or_else(Pair::new);
        for index in 0..64u32 {
            pair.guest.write_table(index << 4, 8, 0xfee0_0000);
            pair.guest.write_table(index << 4 | 8, 8, 0x51);
        }
        pair.guest.write(0xa0, ByteEnables::ALL, ENABLE, Permission::Granted);
        let on =
            |pair: &mut Pair| pair.host.turn_on(&pair.guest, Scope::Device, &mut pair.hardware);
        until_done(on, &mut pair);
        assert_eq!(pair.host.turn_off(false, &mut pair.hardware), Err(Incomplete::Retry));
        pair.hardware.told();
        until_done(on, &mut pair);
        assert!(pair
            .host
            .vectors
            .iter()
            .take(64)
            .all(|vector| vector.pirq.is_some() && !vector.masked));
        assert_eq!(
            (pair.host.state, pair.host.masked, pair.host.programmed),
            (State::On, 2048, 2048)
        );
    }
}
