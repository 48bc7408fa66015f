// SPDX-License-Identifier: GPL-2.0-only
//! One managed device: the guest's side, the hardware's side, and what was said about it.

use crate::core::access::ConfigAccess;
use crate::core::address::{GuestFunction, Sbdf};
use crate::core::capability::Reading;
use crate::core::command::{GuestCommand, HostCommand};
use crate::core::device::{Device, Verdict};
use crate::core::layout::{Frames, Layout, Place};
use crate::core::learn::{Headers, HostBar, FRAME_SHIFT};
use crate::core::msi::Msi;
use crate::core::msix::{Msix, MsixRegisters};
use crate::core::spec::{Command, BAR_COUNT, COMMAND, MSIX_PENDING, MSIX_TABLE};
use crate::host::delivery::{Decoding, Delivery};
use crate::host::hardware::{Errno, Hardware, TableMemory};
use crate::host::msi::HostMsi;
use crate::host::msix::{HostMsix, Memory, Scope};
use crate::host::refusals::{Attempt, Refusals};

/// What the guest gets for a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The bits Xen answers.
    pub value: u32,
    /// Which bits those are; the device model answers the others.
    pub mask: u32,
}

impl Answer {
    /// The device model answers.
    pub const FORWARD: Self = Self { value: 0, mask: 0 };
}

/// A device that belongs to a guest, from assignment to release.
#[derive(Debug)]
pub struct Managed {
    sbdf: Sbdf,
    /// Where the guest sees it, once that is learned.
    function: Option<GuestFunction>,
    bars: [Option<HostBar>; BAR_COUNT],
    device: Device,
    delivery: Delivery,
    refusals: Refusals,
    /// Whether the device may have lost what it was last told, and could not be told again.
    stale: bool,
    /// Whether Xen failed to set up an interrupt once; that is logged the first time only.
    failed: bool,
}

/// Bytes of a device's memory where Xen answers, in place of the device.
#[derive(Clone, Copy, Debug)]
pub struct MemoryAccess {
    /// Index of the base address register.
    bar: usize,
    /// From the base address, in bytes.
    offset: u64,
    /// On the host.
    address: u64,
    /// In bytes, as the guest made it.
    size: u8,
}

impl Managed {
    /// Takes charge of a device, with a snapshot of all that is ever read from it; MSI and MSI-X
    /// are off from here on. None when the device has neither.
    ///
    /// # Errors
    /// `ENOMEM` when there is no memory for the MSI-X table.
    pub fn take(sbdf: Sbdf, hardware: &mut impl Hardware) -> Result<Option<Self>, Errno> {
        let positions = hardware.positions(sbdf);
        if positions.msi.is_none() && positions.msix.is_none() {
            return Ok(None);
        }
        let command = Command(hardware.read_config(sbdf, COMMAND) as u16);
        let bars = hardware.bars(sbdf);
        let msi = positions.msi.map(|position| take_msi(sbdf, position, hardware));
        let msix = match positions.msix {
            Some(position) => Some(take_msix(sbdf, position, &bars, hardware)?),
            None => None,
        };
        let (msi, host_msi) = msi.unzip();
        let (msix, host_msix) = msix.unzip();
        let decoding = match hardware.decoded_by_physical_function(sbdf) {
            Some(_) => Decoding::PhysicalFunction,
            None => Decoding::Own(command.memory_space()),
        };
        let delivery = Delivery::new(sbdf, command.intx_disable(), decoding, host_msi, host_msix);
        let device = Device::new(msi, msix);
        let refusals = Refusals::default();
        Ok(Some(Self { sbdf, function: None, bars, device, delivery, refusals, stale: false, failed: false }))
    }

    /// The host's address of the device.
    pub fn sbdf(&self) -> Sbdf {
        self.sbdf
    }

    /// The guest's address of the device, once learned.
    pub fn function(&self) -> Option<GuestFunction> {
        self.function
    }

    /// The device's base addresses on the host.
    pub fn bars(&self) -> &[Option<HostBar>; BAR_COUNT] {
        &self.bars
    }

    /// The frames that nobody but Xen may reach: those of the MSI-X table and pending bits.
    pub fn protected(&self) -> [Option<Frames>; 2] {
        let layout = self.layout();
        [layout.map(Layout::table_frames), layout.map(Layout::pending_frames)]
    }

    /// The guest's address of the device is known: from here on the guest decides through its
    /// registers.
    pub fn learn(&mut self, function: GuestFunction, command: GuestCommand, hardware: &mut impl Hardware) {
        self.function = Some(function);
        self.device.set_command(command);
        hardware.log(self.sbdf, c"learned as the guest's function", u64::from(function.0));
        self.follow(Scope::Device, hardware);
    }

    /// The guest reads configuration space.
    pub fn read(&self, access: ConfigAccess, mergeable: bool, hardware: &mut impl Hardware) -> Answer {
        let (value, mask) = match self.device.read(access.register) {
            None => return Answer::FORWARD,
            Some(Reading::Value(value)) => (value, u32::MAX),
            Some(Reading::Header(value)) if mergeable => (value, 0xffff_0000),
            Some(Reading::Header(value)) => (value, u32::MAX),
            Some(Reading::Hardware(mask)) => (hardware.read_config(self.sbdf, access.register) & mask, u32::MAX),
        };
        Answer {
            value: access.from_dword(value & mask) | access.beside(),
            mask: access.from_dword(mask) | access.beside(),
        }
    }

    /// The guest writes configuration space; true when the device model must not see it.
    pub fn write(&mut self, access: ConfigAccess, value: u32, hardware: &mut impl Hardware) -> bool {
        let verdict = self.device.write(access.register, access.enables, access.to_dword(value));
        if verdict != Verdict::Forward {
            self.report_refusal(hardware);
            self.follow(Scope::Device, hardware);
        }
        verdict == Verdict::Own
    }

    /// Where the guest's `size` bytes at `address` lie in the device's memory, if Xen answers
    /// for them: on the pages of the MSI-X table and of the pending bits.
    pub fn memory_access(&self, headers: &Headers, address: u64, size: u8) -> Option<MemoryAccess> {
        let function = self.function?;
        self.layout()?.bars().into_iter().find_map(|bar| {
            let host = self.bars.get(bar)?.as_ref()?;
            let offset = address.checked_sub(headers.address(function, bar, host)?)?;
            let address = host.at(offset)?;
            let mut protected = self.protected().into_iter().flatten();
            let trapped = protected.any(|frames| frames.contains(address >> FRAME_SHIFT));
            trapped.then_some(MemoryAccess { bar, offset, address, size })
        })
    }

    /// The guest's addresses, both ends included, between which Xen may have to answer.
    pub fn trapped(&self, headers: &Headers) -> Option<(u64, u64)> {
        let function = self.function?;
        let bars = self.layout()?.bars().into_iter().filter_map(|index| {
            let bar = self.bars.get(index)?.as_ref()?;
            let start = headers.address(function, index, bar)?;
            Some((start, start.saturating_add(bar.size.saturating_sub(1))))
        });
        bars.reduce(|(first, last), (start, end)| (first.min(start), last.max(end)))
    }

    /// The guest reads memory; all ones where nothing answers.
    pub fn read_memory(&mut self, access: MemoryAccess, hardware: &mut impl Hardware) -> u64 {
        match (self.place(access), self.device.msix()) {
            (Place::Table(offset), Some(msix)) => msix.read_table(offset, access.size),
            (Place::Pending | Place::Beside, _) => self.read_hardware(access, hardware),
            _ => u64::MAX,
        }
    }

    /// The guest writes memory; what hits the pending bits, or nothing, is dropped.
    pub fn write_memory(&mut self, access: MemoryAccess, value: u64, hardware: &mut impl Hardware) {
        match (self.place(access), self.device.msix()) {
            (Place::Table(offset), Some(msix)) => {
                let vector = msix.write_table(offset, access.size, value);
                self.report_refusal(hardware);
                vector.into_iter().for_each(|vector| self.follow(Scope::Vector(vector), hardware));
            }
            (Place::Beside, _) => self.write_hardware(access, value, hardware),
            _ => {}
        }
    }

    /// The host, that is dom0, writes configuration space of the device; what remains for it to
    /// write, or None.
    pub fn host_write(&mut self, access: ConfigAccess, value: u32, hardware: &mut impl Hardware) -> Option<u32> {
        if self.device.guards(access.register) {
            self.refuse(Attempt::Write, u64::from(access.offset()), hardware);
            return None;
        }
        if access.register != COMMAND {
            return Some(value);
        }
        let decoded = self.delivery.decoding() == Decoding::Own(true);
        let command = HostCommand::new(access, value, self.delivery.intx_disabled(), decoded);
        if self.delivery.decoding() == Decoding::Own(!command.decoded) || self.is_stale(hardware) {
            self.write_command(access, command, hardware);
            return None;
        }
        Some(command.value)
    }

    /// Performs a host write that changes memory decoding, or follows a reset. It is done here,
    /// with the guest's lock held, so that nobody reaches for the MSI-X table while it is gone.
    fn write_command(&mut self, access: ConfigAccess, command: HostCommand, hardware: &mut impl Hardware) {
        let changes = self.delivery.decoding() == Decoding::Own(!command.decoded);
        if changes && !command.decoded {
            self.delivery.set_decoded(false, hardware);
        }
        hardware.write_config(self.sbdf, access.offset(), access.size(), command.value);
        if changes && command.decoded {
            self.delivery.set_decoded(true, hardware);
        }
        if self.is_stale(hardware) {
            self.restore(hardware);
        }
        self.follow(Scope::Device, hardware);
    }

    /// Whether the device has lost what it was last told, by a reset. What it says of that decides
    /// no more than whether it is told the same again.
    fn is_stale(&self, hardware: &mut impl Hardware) -> bool {
        self.stale || self.delivery.is_lost(hardware)
    }

    /// Tells the device again all that it was told, after a reset or a time without power.
    /// Nothing new is mapped: [`Managed::follow`] does that for what could not be told.
    pub fn restore(&mut self, hardware: &mut impl Hardware) {
        self.stale = self.delivery.restore(hardware).is_err();
    }

    /// The same on request, and whatever could not be told is set up anew.
    pub fn renew(&mut self, hardware: &mut impl Hardware) {
        self.restore(hardware);
        self.follow(Scope::Device, hardware);
    }

    /// Counts what others than the guest tried, with a number that tells more.
    pub fn refuse(&mut self, attempt: Attempt, number: u64, hardware: &mut impl Hardware) {
        if self.refusals.count_attempt(attempt) {
            hardware.log(self.sbdf, attempt.text(), number);
        }
    }

    /// The guest no longer has the device: all is off and given back.
    pub fn release(&mut self, hardware: &mut impl Hardware) {
        // Turning off calls nothing that can fail.
        let _ = self.delivery.follow(&self.device.released(), Scope::Device, hardware);
        hardware.log(self.sbdf, c"released; messages refused", self.refusals.messages());
        if self.refusals.attempts() != 0 {
            hardware.log(self.sbdf, c"attempts of others refused", self.refusals.attempts());
        }
        let failures = self.delivery.msix().map_or(0, HostMsix::failures);
        if failures != 0 {
            hardware.log(self.sbdf, c"times that a vector found no interrupt", failures);
        }
        if let (Some(guest), Some(host)) = (self.device.take_msix(), self.delivery.take_msix()) {
            host.free(guest.into_entries(), hardware);
        }
    }

    fn layout(&self) -> Option<&Layout> {
        self.delivery.msix().and_then(HostMsix::memory).map(|memory| &memory.layout)
    }

    fn place(&self, access: MemoryAccess) -> Place {
        self.layout().map_or(Place::Nowhere, |layout| layout.place(access.bar, access.offset, access.size))
    }

    fn read_hardware(&self, access: MemoryAccess, hardware: &mut impl Hardware) -> u64 {
        match self.delivery.msix().and_then(HostMsix::memory) {
            Some(memory) if self.delivery.reachable(hardware) => {
                hardware.read_memory(memory.window(access.address), access.address, access.size)
            }
            _ => u64::MAX,
        }
    }

    fn write_hardware(&self, access: MemoryAccess, value: u64, hardware: &mut impl Hardware) {
        if let Some(memory) = self.delivery.msix().and_then(HostMsix::memory) {
            if self.delivery.reachable(hardware) {
                hardware.write_memory(memory.window(access.address), access.address, access.size, value);
            }
        }
    }

    fn follow(&mut self, scope: Scope, hardware: &mut impl Hardware) {
        if let Err(errno) = self.delivery.follow(&self.device.wanted(), scope, hardware) {
            if !self.failed {
                hardware.log(self.sbdf, c"an interrupt stays off; errno", u64::from(errno.0.unsigned_abs()));
            }
            self.failed = true;
        }
    }

    fn report_refusal(&mut self, hardware: &mut impl Hardware) {
        if let Some((message, reason)) = self.device.take_refused() {
            if self.refusals.count_message(reason) {
                hardware.log(self.sbdf, reason.text(), reason.field(message));
            }
        }
    }
}

fn take_msi(sbdf: Sbdf, position: u16, hardware: &mut impl Hardware) -> (Msi, HostMsi) {
    let msi = Msi::new(position, hardware.read_config(sbdf, position));
    let host = HostMsi::take(sbdf, msi.control_register(), hardware);
    (msi, host)
}

fn take_msix(
    sbdf: Sbdf,
    position: u16,
    bars: &[Option<HostBar>; BAR_COUNT],
    hardware: &mut impl Hardware,
) -> Result<(Msix, HostMsix), Errno> {
    let mut read = |offset: u16| hardware.read_config(sbdf, position.saturating_add(offset));
    let registers = MsixRegisters { position, header: read(0), table: read(MSIX_TABLE), pending: read(MSIX_PENDING) };
    let layout = Layout::new(registers.control(), registers.table, registers.pending, bars);
    let (memory, TableMemory { entries, vectors }) = match layout {
        Some(layout) => open(layout, hardware)?,
        None => {
            hardware.log(sbdf, c"MSI-X is not given to the guest, for its table lies at", registers.table.into());
            (None, TableMemory { entries: &mut [], vectors: &mut [] })
        }
    };
    let msix = Msix::new(registers, entries);
    let host = HostMsix::take(sbdf, msix.control_register(), memory, vectors, hardware);
    Ok((msix, host))
}

/// Allocates and opens all that MSI-X needs, or nothing.
fn open(layout: Layout, hardware: &mut impl Hardware) -> Result<(Option<Memory>, TableMemory), Errno> {
    let table = hardware.open(layout.table_frames())?;
    let pending = match hardware.open(layout.pending_frames()) {
        Ok(pending) => pending,
        Err(errno) => {
            hardware.close(table);
            return Err(errno);
        }
    };
    match hardware.allocate_table(layout.vectors()) {
        Ok(memory) => Ok((Some(Memory { layout, table, pending }), memory)),
        Err(errno) => {
            hardware.close(table);
            hardware.close(pending);
            Err(errno)
        }
    }
}
