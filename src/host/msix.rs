// SPDX-License-Identifier: GPL-2.0-only
//! The hardware's side of MSI-X: what a device's capability and table were last told. Nothing
//! that decides is read back.

use static_assertions::const_assert_eq;

use crate::core::address::Sbdf;
use crate::core::layout::Layout;
use crate::core::learn::FRAME_SHIFT;
use crate::core::message::BoundMessage;
use crate::core::msix::Msix;
use crate::core::spec::{MsixControl, MSIX_ENTRY, MSIX_VECTOR_CONTROL, MSIX_VECTOR_MASKED};
use crate::core::table::Entry;
use crate::host::hardware::{read_control, Errno, Hardware, Pirq, TableMemory, Window};

/// One vector in hardware.
#[derive(Clone, Copy, Debug)]
pub struct Vector {
    pirq: Option<Pirq>,
    bound: Option<BoundMessage>,
    masked: bool,
}

// With the 16 bytes of an entry, a table of 2048 vectors takes 48 KiB.
const_assert_eq!(size_of::<Vector>(), 8);

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
    vectors: &'static mut [Vector],
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
        if self.table.frames.contains(address >> FRAME_SHIFT) {
            &self.table
        } else {
            &self.pending
        }
    }
}

impl Vector {
    /// As before the first use.
    pub const UNUSED: Self = Self { pirq: None, bound: None, masked: true };

    fn follow(
        &mut self,
        wanted: Option<BoundMessage>,
        source: Source,
        hardware: &mut impl Hardware,
    ) -> Result<(), Errno> {
        match wanted {
            Some(message) => {
                let pirq = self.map(source, hardware)?;
                self.bind(pirq, message, hardware)?;
                self.set_masked(pirq, false, hardware);
            }
            None => {
                if let Some(pirq) = self.pirq {
                    self.set_masked(pirq, true, hardware);
                }
            }
        }
        Ok(())
    }

    fn map(&mut self, source: Source, hardware: &mut impl Hardware) -> Result<Pirq, Errno> {
        match self.pirq {
            Some(pirq) => Ok(pirq),
            None => {
                let pirq = hardware.map_msix(source.device, source.vector)?;
                self.pirq = Some(pirq);
                Ok(pirq)
            }
        }
    }

    fn bind(&mut self, pirq: Pirq, message: BoundMessage, hardware: &mut impl Hardware) -> Result<(), Errno> {
        if self.bound == Some(message) {
            return Ok(());
        }
        let result = hardware.bind(pirq, &message);
        match result {
            Ok(()) => self.bound = Some(message),
            Err(_) => {
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
        vectors: &'static mut [Vector],
        hardware: &mut impl Hardware,
    ) -> Self {
        vectors.fill(Vector::UNUSED);
        let mut msix = Self { device, control_register, state: State::On, memory, vectors, failures: 0 };
        msix.set_state(State::Off, hardware);
        msix
    }

    /// Where the table and the pending bits are.
    pub fn memory(&self) -> Option<&Memory> {
        self.memory.as_ref()
    }

    /// How often a vector stayed masked because Xen had no interrupt for it.
    pub fn failures(&self) -> u64 {
        self.failures
    }

    /// Delivers what the guest's table wants.
    ///
    /// # Errors
    /// Xen's, of the last vector that stayed masked; all others deliver.
    pub fn turn_on(&mut self, wanted: &Msix, scope: Scope, hardware: &mut impl Hardware) -> Result<(), Errno> {
        let Some(scope) = self.enable(scope, hardware) else { return Ok(()) };
        if wanted.function_masked() {
            // The vectors may stay as they are behind the function mask, and follow once it goes.
            self.set_state(State::FunctionMasked, hardware);
            return Ok(());
        }
        let scope = if self.state == State::On { scope } else { Scope::Device };
        let result = self.follow(wanted, scope, hardware);
        self.set_state(State::On, hardware);
        result
    }

    /// Delivers nothing, for as long as the device's memory is not decoded and its table cannot
    /// be reached; what is pending stays so.
    pub fn hold(&mut self, hardware: &mut impl Hardware) {
        if self.state == State::On {
            self.set_state(State::FunctionMasked, hardware);
        }
    }

    /// Delivers nothing, and gives every interrupt back. The first write sets the function mask,
    /// which silences all at once; with enable clear Xen would have to set it for each vector
    /// to reach its entry.
    pub fn turn_off(&mut self, hardware: &mut impl Hardware) {
        if self.state == State::Off {
            return;
        }
        self.hold(hardware);
        for vector in self.vectors.iter_mut() {
            vector.release(hardware);
        }
        self.set_state(State::Off, hardware);
    }

    /// Whether it is enabled and reads as if it were not.
    pub fn is_lost(&self, hardware: &mut impl Hardware) -> bool {
        self.state != State::Off && !MsixControl(read_control(self.device, self.control_register, hardware)).enable()
    }

    /// Tells the device again what it was told. The entries of all other vectors are masked: by
    /// the reset, or as they were.
    ///
    /// # Errors
    /// Xen's; MSI-X is off then.
    pub fn restore(&mut self, hardware: &mut impl Hardware) -> Result<(), Errno> {
        let before = self.state;
        if before == State::Off {
            return Ok(());
        }
        self.write_state(State::FunctionMasked, hardware);
        for pirq in self.vectors.iter().filter_map(|vector| vector.pirq) {
            if let Err(errno) = hardware.reprogram(pirq) {
                self.turn_off(hardware);
                return Err(errno);
            }
        }
        self.set_state(before, hardware);
        Ok(())
    }

    /// Gives back all that was allocated, once it is off. `entries` is the guest's side.
    pub fn free(self, entries: &'static mut [Entry], hardware: &mut impl Hardware) {
        if let Some(memory) = self.memory {
            hardware.close(memory.table);
            hardware.close(memory.pending);
            hardware.free_table(TableMemory { entries, vectors: self.vectors });
        }
    }

    /// Enables the capability, if it was off, with every vector masked. Returns what has to
    /// follow then, None where there is no table.
    fn enable(&mut self, scope: Scope, hardware: &mut impl Hardware) -> Option<Scope> {
        if self.state != State::Off {
            return Some(scope);
        }
        let memory = self.memory.as_ref()?;
        for vector in 0..u32::from(memory.layout.vectors()) {
            // A host driver, or the time when the table could not be reached, left it as it is.
            let offset = vector.saturating_mul(MSIX_ENTRY).saturating_add(MSIX_VECTOR_CONTROL);
            let address = memory.layout.table_address().saturating_add(offset.into());
            hardware.write_memory(&memory.table, address, 4, MSIX_VECTOR_MASKED.into());
        }
        self.set_state(State::FunctionMasked, hardware);
        Some(Scope::Device)
    }

    fn follow(&mut self, wanted: &Msix, scope: Scope, hardware: &mut impl Hardware) -> Result<(), Errno> {
        match scope {
            Scope::Vector(index) => self.follow_vector(index, wanted.vector(index), hardware),
            Scope::Device => self.follow_all(wanted, hardware),
        }
    }

    /// After the first failure no more interrupts are asked for: where there is none for one,
    /// there is none for the next.
    fn follow_all(&mut self, wanted: &Msix, hardware: &mut impl Hardware) -> Result<(), Errno> {
        let mut result = Ok(());
        for (index, message) in (0..).zip(wanted.vectors()) {
            let mapped = self.vectors.get(usize::from(index)).is_some_and(|vector| vector.pirq.is_some());
            if mapped || (message.is_some() && result.is_ok()) {
                result = self.follow_vector(index, message, hardware).and(result);
            }
        }
        result
    }

    fn follow_vector(
        &mut self,
        index: u16,
        wanted: Option<BoundMessage>,
        hardware: &mut impl Hardware,
    ) -> Result<(), Errno> {
        let Some(vector) = self.vectors.get_mut(usize::from(index)) else { return Ok(()) };
        let result = vector.follow(wanted, Source { device: self.device, vector: index }, hardware);
        self.failures = self.failures.saturating_add(result.is_err().into());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::access::ByteEnables;
    use crate::core::capability::{Capability, Permission};
    use crate::core::msix::MsixRegisters;
    use crate::host::recorder::{Recorder, DEVICE};

    const ENABLE: u32 = 0x8000_0000;
    const FUNCTION_MASK: u32 = 0x4000_0000;
    const MASK_ALL: &str = "[0xfea0200c/4]=0x1, [0xfea0201c/4]=0x1, [0xfea0202c/4]=0x1, [0xfea0203c/4]=0x1";

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
            let registers = MsixRegisters { position: 0xa0, header: 0x3_0011, table: 0x2000, pending: 0x3000 };
            let layout = Layout::new(registers.control(), registers.table, registers.pending, &bars)?;
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

        fn follow(&mut self, scope: Scope) -> String {
            let _ = self.host.turn_on(&self.guest, scope, &mut self.hardware);
            self.hardware.told()
        }

        fn control(&mut self, value: u32) -> String {
            self.guest.write(0xa0, ByteEnables::ALL, value, Permission::Granted);
            self.follow(Scope::Device)
        }

        /// Programs a vector's message and sets or clears its mask bit.
        fn program(&mut self, index: u32, vector: u64, masked: bool) -> String {
            self.guest.write_table(index << 4, 8, 0xfee0_0000);
            let control = u64::from(masked) << 32 | vector;
            let index = self.guest.write_table(index << 4 | 8, 8, control);
            self.follow(Scope::Vector(index.unwrap_or(u16::MAX)))
        }
    }

    #[test]
    fn enabled_with_every_vector_masked_first() {
        let mut pair = Pair::new();
        assert_eq!(pair.control(ENABLE), format!("{MASK_ALL}, 0xa2=0xc000, 0xa2=0x8000"));
        assert_eq!(pair.program(1, 0x51, true), "");
        assert_eq!(pair.program(1, 0x51, false), "map entry 1, bind 50 0x51, unmask 50");
        assert_eq!(pair.program(1, 0x51, true), "mask 50");
        assert_eq!(pair.program(1, 0x52, false), "bind 50 0x52, unmask 50");
    }

    #[test]
    fn vectors_follow_once_the_function_mask_goes() {
        let mut pair = Pair::new();
        assert_eq!(pair.control(ENABLE | FUNCTION_MASK), format!("{MASK_ALL}, 0xa2=0xc000"));
        assert_eq!(pair.program(0, 0x51, false), "");
        assert_eq!(pair.program(2, 0x52, false), "");
        let done = "map entry 0, bind 50 0x51, unmask 50, map entry 2, bind 51 0x52, unmask 51, 0xa2=0x8000";
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
        pair.host.turn_off(&mut pair.hardware);
        assert_eq!(pair.hardware.told(), "0xa2=0xc000, unbind 50, unmap 50, unbind 51, unmap 51, 0xa2=0x0");
        pair.host.turn_off(&mut pair.hardware);
        assert_eq!(pair.hardware.told(), "");
    }

    #[test]
    fn held_while_memory_is_not_decoded() {
        let mut pair = Pair::new();
        pair.control(ENABLE);
        pair.program(0, 0x51, false);
        pair.host.hold(&mut pair.hardware);
        assert_eq!(pair.hardware.told(), "0xa2=0xc000");
        assert_eq!(pair.follow(Scope::Device), "0xa2=0x8000");
        pair.host.turn_off(&mut pair.hardware);
        pair.hardware.told();
        pair.host.hold(&mut pair.hardware);
        assert_eq!(pair.hardware.told(), "");
    }

    #[test]
    fn once_it_is_reached_again_all_vectors_follow() {
        let mut pair = Pair::new();
        pair.control(ENABLE);
        pair.program(0, 0x51, false);
        pair.host.hold(&mut pair.hardware);
        pair.guest.write_table(0x0c, 4, 1);
        pair.hardware.told();
        assert_eq!(pair.program(2, 0x52, false), "mask 50, map entry 2, bind 51 0x52, unmask 51, 0xa2=0x8000");
    }

    #[test]
    fn exhaustion_masks_one_and_is_tried_again_at_its_next_unmask() {
        let mut pair = Pair::new();
        pair.hardware.failing = ("map", 1);
        for index in 0..4 {
            pair.guest.write_table(index << 4, 8, 0xfee0_0000);
            pair.guest.write_table(index << 4 | 8, 8, 0x50 | u64::from(index));
        }
        let masked = format!("{MASK_ALL}, 0xa2=0xc000");
        let done = format!("{masked}, map entry 0, bind 50 0x50, unmask 50, map entry 1, 0xa2=0x8000");
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
        assert_eq!(pair.program(0, 0x52, false), "bind 50 0x52, unbind 50, unmap 50");
        assert_eq!(pair.program(1, 0x53, false), "map entry 1, bind 51 0x53, unmap 51");
    }

    #[test]
    fn without_a_table_nothing_happens() {
        let mut pair = Pair::new();
        let mut bare = HostMsix::take(DEVICE, 0xa2, None, &mut [], &mut pair.hardware);
        pair.hardware.told();
        pair.guest.write(0xa0, ByteEnables::ALL, ENABLE, Permission::Granted);
        assert_eq!(bare.turn_on(&pair.guest, Scope::Device, &mut pair.hardware), Ok(()));
        assert_eq!(pair.hardware.told(), "");
        assert!(bare.memory().is_none());
        bare.free(&mut [], &mut pair.hardware);
        assert_eq!(pair.hardware.outstanding, 3);
    }

    #[test]
    fn everything_allocated_is_given_back() {
        let mut pair = Pair::new();
        pair.host.free(pair.guest.into_entries(), &mut pair.hardware);
        assert_eq!(pair.hardware.outstanding, 0);
    }
}
