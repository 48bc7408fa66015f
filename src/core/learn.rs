// SPDX-License-Identifier: GPL-2.0-only
//! Which function on the guest's bus is which host device: the guest sets a base address, and
//! the device model maps the real one there. Where both agree, the pair is known.

use x86_64::PhysAddr;

use crate::core::access::ByteEnables;
use crate::core::address::GuestFunction;
use crate::core::command::GuestCommand;
use crate::core::layout::Frames;
use crate::core::spec::{BAR_COUNT, BAR_FIRST, BAR_MEMORY_FLAGS, COMMAND, DWORD};

/// log2 of the size of a frame, in bytes: 4 KiB.
pub const FRAME_SHIFT: u32 = 12;

/// A memory base address register of the host device, as it was at assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostBar {
    /// Where it lies in the host's memory.
    pub address: PhysAddr,
    /// How long it is, in bytes; never zero.
    pub size: u64,
    /// Whether it takes up two registers.
    pub is_64bit: bool,
}

/// Frames of host memory that the device model mapped into the guest.
#[derive(Clone, Copy, Debug)]
pub struct Mapping {
    /// The first guest frame number.
    pub guest_frame: u64,
    /// The first machine frame number.
    pub machine_frame: u64,
    /// How many frames.
    pub count: u64,
}

impl HostBar {
    /// The host address `offset` bytes behind the base address, if that is within.
    pub fn at(&self, offset: u64) -> Option<u64> {
        if offset < self.size {
            self.address.as_u64().checked_add(offset)
        } else {
            None
        }
    }

    /// Whether a byte is behind both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let (first, second) = (self.address.as_u64(), other.address.as_u64());
        first < second.saturating_add(other.size) && second < first.saturating_add(self.size)
    }

    /// The frames in which it lies.
    pub fn frames(&self) -> Option<Frames> {
        let first = self.address.as_u64();
        let last = first.checked_add(self.size.checked_sub(1)?)?;
        Some(Frames { first: first >> FRAME_SHIFT, last: last >> FRAME_SHIFT })
    }
}

impl Mapping {
    /// Whether any part of `bar` is mapped here.
    pub fn touches(&self, bar: &HostBar) -> bool {
        self.guest_frame_of(bar).is_some()
    }

    /// The guest frame where `bar` begins, if any part of it is mapped here.
    fn guest_frame_of(&self, bar: &HostBar) -> Option<u64> {
        let Frames { first, last } = bar.frames()?;
        let end = self.machine_frame.checked_add(self.count)?;
        let overlaps = self.machine_frame <= last && first < end;
        overlaps.then(|| self.guest_frame.wrapping_add(first).wrapping_sub(self.machine_frame))
    }
}

/// What the guest wrote into one function's header.
#[derive(Clone, Copy, Debug)]
struct Header {
    command: GuestCommand,
    bars: [u32; BAR_COUNT],
}

impl Header {
    const EMPTY: Self = Self { command: GuestCommand::RESET, bars: [0; BAR_COUNT] };
}

/// What a mapping of host memory says about a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing: it is not the device's memory.
    Other,
    /// This function of the guest's is the device.
    Function(GuestFunction),
    /// The device's memory was mapped where no function of the guest's has it.
    NoFunction,
    /// It was mapped where more than one function has it.
    Several,
}

/// What the guest wrote into the headers of the functions on its bus 0.
#[derive(Debug)]
pub struct Headers {
    headers: [Header; GuestFunction::COUNT],
    /// Whose header was written last.
    latest: Option<GuestFunction>,
}

impl Headers {
    /// Nothing written yet.
    pub const EMPTY: Self = Self { headers: [Header::EMPTY; GuestFunction::COUNT], latest: None };

    /// Whether writes to the dword at `register` are worth [`Headers::observe`].
    pub fn concerns(register: u16) -> bool {
        register == COMMAND || bar_index(register).is_some()
    }

    /// Takes over the enabled bytes of a write to the dword at `register`.
    pub fn observe(
        &mut self,
        function: GuestFunction,
        register: u16,
        enables: ByteEnables,
        value: u32,
    ) {
        let Some(header) = self.headers.get_mut(usize::from(function.0)) else { return };
        self.latest = Some(function);
        if register == COMMAND {
            header.command.observe(enables, value);
        } else if let Some(bar) = bar_index(register).and_then(|index| header.bars.get_mut(index)) {
            *bar = enables.merge(*bar, value);
        }
    }

    /// The Command register the guest wrote.
    pub fn command(&self, function: GuestFunction) -> GuestCommand {
        self.headers
            .get(usize::from(function.0))
            .map_or(GuestCommand::RESET, |header| header.command)
    }

    /// Where the guest lets the function answer for its base address register at `index`, which
    /// is like `bar` on the host.
    pub fn address(&self, function: GuestFunction, index: usize, bar: &HostBar) -> Option<u64> {
        let header = self
            .headers
            .get(usize::from(function.0))
            .filter(|header| header.command.memory_space())?;
        guest_address(&header.bars, index, bar)
    }

    /// Forgets what was written to a function that is gone: another may come to its place.
    pub fn forget(&mut self, function: GuestFunction) {
        if let Some(header) = self.headers.get_mut(usize::from(function.0)) {
            *header = Header::EMPTY;
        }
    }

    /// Which function has its base addresses where `mapping` puts those of the device.
    ///
    /// Where several have it, as a function that is gone may still, it is the one whose header was
    /// written last: the device model maps memory while the guest makes that write. A guest that
    /// confuses this gets the registers of another device of its own. None of them, and it is a
    /// guess, which is not made.
    pub fn find(&self, bars: &[Option<HostBar>; BAR_COUNT], mapping: &Mapping) -> Found {
        if !bars.iter().flatten().any(|bar| mapping.touches(bar)) {
            return Found::Other;
        }
        let mut matching = (0..=u8::MAX)
            .map(GuestFunction)
            .filter(|function| self.matches(*function, bars, mapping));
        match (matching.next(), matching.next()) {
            (Some(function), None) => Found::Function(function),
            (Some(_), Some(_)) => {
                let latest = self.latest.filter(|latest| self.matches(*latest, bars, mapping));
                latest.map_or(Found::Several, Found::Function)
            }
            (None, _) => Found::NoFunction,
        }
    }

    fn matches(
        &self,
        function: GuestFunction,
        bars: &[Option<HostBar>; BAR_COUNT],
        mapping: &Mapping,
    ) -> bool {
        bars.iter().enumerate().any(|(index, bar)| {
            let Some(bar) = bar else { return false };
            let mapped = mapping.guest_frame_of(bar);
            mapped.is_some()
                && mapped
                    == self.address(function, index, bar).map(|address| address >> FRAME_SHIFT)
        })
    }
}

/// Which base address register the dword at `register` is.
fn bar_index(register: u16) -> Option<usize> {
    let index = usize::from(register.checked_sub(BAR_FIRST)? / DWORD);
    (index < BAR_COUNT).then_some(index)
}

/// Where the guest's register at `index` puts a base address like `bar`.
fn guest_address(bars: &[u32; BAR_COUNT], index: usize, bar: &HostBar) -> Option<u64> {
    let low = u64::from(bars.get(index)? & !BAR_MEMORY_FLAGS);
    let high = if bar.is_64bit { u64::from(*bars.get(index.checked_add(1)?)?) } else { 0 };
    let address = (high << 32 | low) & !bar.size.checked_sub(1)?;
    (address != 0).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FUNCTION: GuestFunction = GuestFunction(0x18);
    const OTHER: GuestFunction = GuestFunction(0x20);
    const THIRD: GuestFunction = GuestFunction(0x28);
    const HOST: u64 = 0xfea0_0000;
    const GUEST: u32 = 0xf200_0000;
    /// All of a device's 1 MiB, where the guest put it.
    const WHOLE: Mapping = Mapping { guest_frame: 0xf2000, machine_frame: 0xfea00, count: 0x100 };

    fn bars(size: u64, is_64bit: bool) -> [Option<HostBar>; BAR_COUNT] {
        let bar = HostBar { address: PhysAddr::new(HOST), size, is_64bit };
        [Some(bar), None, None, None, None, None]
    }

    fn place(headers: &mut Headers, function: GuestFunction, low: u32, high: u32) {
        headers.observe(function, BAR_FIRST, ByteEnables::ALL, low);
        headers.observe(function, 0x14, ByteEnables::ALL, high);
        headers.observe(function, COMMAND, ByteEnables::ALL, 0x2);
    }

    fn function(found: Found) -> Option<GuestFunction> {
        match found {
            Found::Function(function) => Some(function),
            _ => None,
        }
    }

    /// Who is found when one function has its first base address at `low` and `high`.
    fn found(
        low: u32,
        high: u32,
        bars: [Option<HostBar>; BAR_COUNT],
        mapping: Mapping,
    ) -> Option<GuestFunction> {
        let mut headers = Headers::EMPTY;
        place(&mut headers, FUNCTION, low, high);
        function(headers.find(&bars, &mapping))
    }

    #[test]
    fn what_a_mapping_says() {
        let mut headers = Headers::EMPTY;
        let bars = bars(0x10_0000, false);
        let elsewhere = Mapping { machine_frame: 0xfe900, ..WHOLE };
        assert_eq!(headers.find(&bars, &elsewhere), Found::Other);
        assert_eq!(headers.find(&bars, &WHOLE), Found::NoFunction);
        place(&mut headers, FUNCTION, GUEST, 0);
        assert_eq!(headers.find(&bars, &WHOLE), Found::Function(FUNCTION));
        place(&mut headers, OTHER, GUEST, 0);
        headers.observe(THIRD, COMMAND, ByteEnables::ALL, 0x2);
        assert_eq!(headers.find(&bars, &WHOLE), Found::Several);
        headers.forget(FUNCTION);
        assert_eq!(headers.find(&bars, &WHOLE), Found::Function(OTHER));
        assert!(!headers.command(FUNCTION).memory_space());
    }

    #[test]
    fn the_whole_base_address() {
        assert_eq!(found(GUEST, 0, bars(0x10_0000, false), WHOLE), Some(FUNCTION));
        assert_eq!(found(GUEST | 0x8, 0, bars(0x10_0000, false), WHOLE), Some(FUNCTION));
    }

    #[test]
    fn a_part_of_it_at_the_right_distance() {
        let part = Mapping { guest_frame: 0xf2010, machine_frame: 0xfea10, count: 1 };
        assert_eq!(found(GUEST, 0, bars(0x10_0000, false), part), Some(FUNCTION));
        let shifted = Mapping { guest_frame: 0xf2011, ..part };
        assert_eq!(found(GUEST, 0, bars(0x10_0000, false), shifted), None);
    }

    #[test]
    fn a_piece_that_begins_before_it() {
        let larger = Mapping { guest_frame: 0xf1ff0, machine_frame: 0xfe9f0, count: 0x20 };
        assert_eq!(found(GUEST, 0, bars(0x10_0000, false), larger), Some(FUNCTION));
    }

    #[test]
    fn other_memory_of_the_host() {
        for (frame, count) in [(0xfe900, 0x100), (0xfeb00, 1), (0, 0), (u64::MAX, 2)] {
            let other = Mapping { guest_frame: 0xf2000, machine_frame: frame, count };
            assert_eq!(found(GUEST, 0, bars(0x10_0000, false), other), None, "frame {frame:#x}");
        }
    }

    #[test]
    fn other_memory_at_the_right_distance() {
        for (guest_frame, machine_frame, count) in
            [(0xf1f00, 0xfe900, 0x100), (0xf2100, 0xfeb00, 1)]
        {
            let other = Mapping { guest_frame, machine_frame, count };
            assert_eq!(
                found(GUEST, 0, bars(0x10_0000, false), other),
                None,
                "frame {machine_frame:#x}"
            );
        }
    }

    #[test]
    fn address_bits_below_its_size_are_none() {
        assert_eq!(found(GUEST | 0xf_f000, 0, bars(0x10_0000, false), WHOLE), Some(FUNCTION));
    }

    #[test]
    fn two_functions_at_one_address() {
        let mut headers = Headers::EMPTY;
        place(&mut headers, FUNCTION, GUEST, 0);
        place(&mut headers, OTHER, GUEST, 0);
        // It is mapped while the guest writes.
        assert_eq!(headers.find(&bars(0x10_0000, false), &WHOLE), Found::Function(OTHER));
        headers.observe(THIRD, COMMAND, ByteEnables::ALL, 0x2);
        assert_eq!(headers.find(&bars(0x10_0000, false), &WHOLE), Found::Several);
        headers.observe(OTHER, COMMAND, ByteEnables::ALL, 0);
        assert_eq!(headers.find(&bars(0x10_0000, false), &WHOLE), Found::Function(FUNCTION));
    }

    #[test]
    fn memory_decoding_off() {
        let mut headers = Headers::EMPTY;
        headers.observe(FUNCTION, BAR_FIRST, ByteEnables::ALL, GUEST);
        assert_eq!(headers.find(&bars(0x10_0000, false), &WHOLE), Found::NoFunction);
        assert!(!headers.command(FUNCTION).memory_space());
    }

    #[test]
    fn addresses_of_64_bits() {
        let high = Mapping { guest_frame: 0x10_0000 | 0xf2000, ..WHOLE };
        assert_eq!(found(GUEST, 1, bars(0x10_0000, true), high), Some(FUNCTION));
        assert_eq!(found(GUEST, 0, bars(0x10_0000, true), high), None);
        assert_eq!(found(GUEST, 1, bars(0x10_0000, false), WHOLE), Some(FUNCTION));
    }

    #[test]
    fn smaller_than_a_page() {
        let page = Mapping { count: 1, ..WHOLE };
        assert_eq!(found(GUEST | 0x40, 0, bars(0x10, false), page), Some(FUNCTION));
        assert_eq!(found(0xf200_1000, 0, bars(0x10, false), page), None);
    }

    #[test]
    fn a_base_address_of_zero_is_none() {
        let zero = Mapping { guest_frame: 0, ..WHOLE };
        assert_eq!(found(0, 0, bars(0x10_0000, false), zero), None);
    }

    #[test]
    fn only_header_registers_concern() {
        let concerned = (0u16..0x100).step_by(4).filter(|register| Headers::concerns(*register));
        assert!(concerned.eq([0x04, 0x10, 0x14, 0x18, 0x1c, 0x20, 0x24]));
    }
}
