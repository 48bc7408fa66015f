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
use crate::core::power::{starts_self_test, PowerRegisters, Transition};
use crate::core::spec::{BAR_COUNT, COMMAND, HEADER, IDENTITY, MSIX_PENDING, MSIX_TABLE};
use crate::core::trust::{self, Distrust};
use crate::host::delivery::{command, Decoding, Delivery};
use crate::host::hardware::{Detail, Errno, Hardware, Incomplete, Line, TableMemory};
use crate::host::msi::HostMsi;
use crate::host::msix::{HostMsix, Memory, Scope};
use crate::host::refusals::{Attempt, Refusals};
use crate::memory::Owned;

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

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// It is not Xen's: it takes the way that it has without msitrap.
    Forward = 0,
    /// It is done.
    Done = 1,
    /// It is done in part: the same write again, with the lock dropped in between.
    Retry = 2,
    /// It is not made.
    Refused = 3,
    /// The guest does not manage the device, or no longer.
    Gone = 4,
}

/// What Xen knows of a device at its assignment. It found this, or dom0 told it, before any guest
/// had the device; but for [`PowerRegisters`] and the Table Offset register, which are read now.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Where it is.
    pub sbdf: Sbdf,
    /// Of a virtual function: its physical one.
    pub physical: Option<Sbdf>,
    /// Its MSI capability.
    pub msi: Option<KnownMsi>,
    /// Its MSI-X capability.
    pub msix: Option<KnownMsix>,
    /// Where its other capabilities are that take it away for a while.
    pub power: PowerRegisters,
    /// The guest's function that it is, by the administrator's word.
    pub function: Option<GuestFunction>,
}

/// What Xen knows of a device's MSI.
#[derive(Clone, Copy, Debug)]
pub struct KnownMsi {
    /// Its offset.
    pub position: u16,
    /// How many vectors it has.
    pub vectors: u8,
    /// How many of them Xen can map for the domain.
    pub mappable: u8,
}

/// What Xen knows of a device's MSI-X.
#[derive(Clone, Copy, Debug)]
pub struct KnownMsix {
    /// Its offset.
    pub position: u16,
    /// How many vectors it has.
    pub vectors: u16,
    /// Its Table Offset register, by which Xen's own code finds the entries.
    pub table: u32,
    /// The frames of table and pending bits, in this order, which nobody else may write; None when
    /// dom0 had Xen not prepare MSI-X.
    pub frames: Option<[Frames; 2]>,
}

/// A device that belongs to a guest, from assignment to release.
#[derive(Debug)]
pub struct Managed {
    sbdf: Sbdf,
    /// Where the guest sees it, once that is known.
    function: Option<GuestFunction>,
    bars: [Option<HostBar>; BAR_COUNT],
    power: PowerRegisters,
    device: Device,
    delivery: Delivery,
    refusals: Refusals,
    /// Whether the hardware does not do yet what the guest wants, and a later access has to go on.
    unfinished: bool,
    /// Whether an interrupt that the guest wants stays off, because Xen failed to set it up.
    lacking: bool,
    /// Whether it is about to be released: everything is off and stays so.
    quiesced: bool,
    /// Whether Xen failed to set up an interrupt once; that is logged the first time only.
    failed: bool,
    /// Whether a mapping of its memory that taught nothing was logged.
    unlearned: bool,
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

/// The guest's addresses of some pages, both ends included.
pub type Range = (u64, u64);

impl Managed {
    /// Takes charge of a device, with a snapshot of all that is ever read from it; MSI and MSI-X
    /// are off from here on. Stays None when the device has neither. It is made in place, for Xen's
    /// stack is small.
    ///
    /// # Errors
    /// [`Errno::NOT_PERMITTED`] when it failed a check, which the log names; `ENOMEM`.
    #[inline(never)]
    pub fn take(
        known: &Known,
        into: &mut Option<Self>,
        hardware: &mut impl Hardware,
    ) -> Result<(), Errno> {
        if known.msi.is_none() && known.msix.is_none() {
            return Ok(());
        }
        let sbdf = known.sbdf;
        // The one reading that is checked is the one that is used.
        let msi = known.msi.map(|msi| (msi, hardware.read_config(sbdf, msi.position)));
        check_function(known, msi, hardware)
            .map_err(|distrust| distrusted(sbdf, distrust, hardware))?;
        let bars = granted_bars(sbdf, hardware);
        let msi = msi.map(|(msi, header)| take_msi(sbdf, msi, header, hardware));
        let msix = match known.msix {
            Some(known) => Some(take_msix(sbdf, known, &bars, hardware)?),
            None => None,
        };
        let (msi, host_msi) = msi.unzip();
        let (msix, host_msix) = msix.unzip();
        let command = command(sbdf, hardware);
        let decoding = match known.physical {
            Some(physical) => Decoding::PhysicalFunction(physical),
            None => Decoding::Own(command.memory_space()),
        };
        *into = Some(Self {
            sbdf,
            function: None,
            bars,
            power: known.power,
            device: Device::new(msi, msix),
            delivery: Delivery::new(sbdf, command.intx_disable(), decoding, host_msi, host_msix),
            refusals: Refusals::default(),
            unfinished: false,
            lacking: false,
            quiesced: false,
            failed: false,
            unlearned: false,
        });
        let sleeping = known.power.sleeping(|register| hardware.read_config(sbdf, register));
        if let Some(device) = into.as_mut().filter(|_| sleeping) {
            device.delivery.leave(Transition::Sleep, hardware);
        }
        Ok(())
    }

    /// The host's address of the device.
    pub fn sbdf(&self) -> Sbdf {
        self.sbdf
    }

    /// The guest's address of the device, once known.
    pub fn function(&self) -> Option<GuestFunction> {
        self.function
    }

    /// The device's base addresses on the host.
    pub fn bars(&self) -> &[Option<HostBar>; BAR_COUNT] {
        &self.bars
    }

    /// The guest's address of the device is known: from here on the guest decides through its
    /// registers.
    ///
    /// The next [`Managed::settle`] makes the hardware do what the guest wrote before.
    pub fn learn(
        &mut self,
        function: GuestFunction,
        command: GuestCommand,
        hardware: &mut impl Hardware,
    ) {
        self.unfinished = true;
        self.function = Some(function);
        self.device.set_command(command);
        let text = c"learned as the guest's function";
        hardware.log(self.sbdf, Line::info(text, Detail::Value(u64::from(function.0))));
    }

    /// Its memory was mapped where no function of the guest's, or more than one, has it.
    pub fn not_learned(&mut self, reason: &'static core::ffi::CStr, hardware: &mut impl Hardware) {
        if !self.unlearned {
            hardware.log(self.sbdf, Line::warning(reason, Detail::None));
        }
        self.unlearned = true;
    }

    /// The guest reads configuration space.
    pub fn read(
        &mut self,
        access: ConfigAccess,
        mergeable: bool,
        hardware: &mut impl Hardware,
    ) -> Answer {
        self.look(hardware);
        let (value, mask) = match self.device.read(access.register) {
            None => return Answer::FORWARD,
            Some(Reading::Value(value)) => (value, u32::MAX),
            Some(Reading::Header(value)) if mergeable => (value, 0xffff_0000),
            Some(Reading::Header(value)) => (value, u32::MAX),
            Some(Reading::Hardware(mask)) => {
                (self.read_register(access.register, hardware) & mask, u32::MAX)
            }
        };
        Answer {
            value: access.from_dword(value & mask) | access.beside(),
            mask: access.from_dword(mask) | access.beside(),
        }
    }

    /// The guest writes configuration space: [`Outcome::Forward`], `Done` or `Retry`. What was left
    /// unfinished comes first; a write that was taken is not made again, because the instruction
    /// may have read the register before.
    pub fn write(
        &mut self,
        access: ConfigAccess,
        value: u32,
        hardware: &mut impl Hardware,
    ) -> Outcome {
        if self.settle(hardware) {
            return Outcome::Retry;
        }
        let verdict = self.device.write(access.register, access.enables, access.to_dword(value));
        if verdict != Verdict::Forward {
            self.report_refusal(hardware);
            self.apply(Scope::Device, hardware);
        }
        match verdict {
            Verdict::Forward | Verdict::Observe => Outcome::Forward,
            Verdict::Own => Outcome::Done,
        }
    }

    /// Where the guest's `size` bytes at `address` lie in the device's memory, if Xen answers
    /// for them: on the pages of the MSI-X table and of the pending bits.
    pub fn memory_access(&self, headers: &Headers, address: u64, size: u8) -> Option<MemoryAccess> {
        let function = self.function?;
        let layout = self.layout()?;
        layout.bars().into_iter().find_map(|bar| {
            let host = self.bars.get(bar)?.as_ref()?;
            let offset = address.checked_sub(headers.address(function, bar, host)?)?;
            let address = host.at(offset)?;
            let protected = [layout.table_frames(), layout.pending_frames()];
            let trapped =
                protected.into_iter().any(|frames| frames.contains(address >> FRAME_SHIFT));
            trapped.then_some(MemoryAccess { bar, offset, address, size })
        })
    }

    /// The guest's addresses of the pages where Xen answers: those of the MSI-X table, and those of
    /// the pending bits.
    pub fn trapped(&self, headers: &Headers) -> [Option<Range>; 2] {
        let Some((function, layout)) = self.function.zip(self.layout()) else { return [None; 2] };
        let [table, pending] = layout.bars();
        let range = |index: usize, frames: Frames| {
            let bar = self.bars.get(index)?.as_ref()?;
            let start = headers.address(function, index, bar)?;
            let guest = |frame: u64| {
                (frame << FRAME_SHIFT).wrapping_sub(bar.address.as_u64()).wrapping_add(start)
            };
            // With base addresses smaller than a page this is more than the device's.
            Some((guest(frames.first), guest(frames.last.saturating_add(1)).wrapping_sub(1)))
        };
        [range(table, layout.table_frames()), range(pending, layout.pending_frames())]
    }

    /// The guest reads memory; all ones where nothing answers.
    pub fn read_memory(&mut self, access: MemoryAccess, hardware: &mut impl Hardware) -> u64 {
        self.look(hardware);
        match (self.place(access), self.device.msix()) {
            (Place::Table(offset), Some(msix)) => msix.read_table(offset, access.size),
            (Place::Pending | Place::Beside, _) => self.read_hardware(access, hardware),
            _ => u64::MAX,
        }
    }

    /// The guest writes memory; what hits the pending bits, or nothing, is dropped.
    /// [`Outcome::Done`] or `Retry`.
    pub fn write_memory(
        &mut self,
        access: MemoryAccess,
        value: u64,
        hardware: &mut impl Hardware,
    ) -> Outcome {
        if self.settle(hardware) {
            return Outcome::Retry;
        }
        match (self.place(access), self.device.msix()) {
            (Place::Table(offset), Some(msix)) => {
                let vector = msix.write_table(offset, access.size, value);
                self.report_refusal(hardware);
                vector.into_iter().for_each(|vector| self.apply(Scope::Vector(vector), hardware));
            }
            (Place::Beside, _) => self.write_hardware(access, value, hardware),
            _ => {}
        }
        Outcome::Done
    }

    /// Dom0 writes configuration space of the device. What it may write is written here, with the
    /// lock held, so that nobody reaches for a device that the write takes away, and no two writes
    /// of Command undo each other.
    pub fn host_write(
        &mut self,
        access: ConfigAccess,
        value: u32,
        hardware: &mut impl Hardware,
    ) -> Outcome {
        self.look(hardware);
        if self.device.guards(access.register) || starts_self_test(access, value) {
            self.refuse(Attempt::Write, Detail::Value(u64::from(access.offset())), hardware);
            return Outcome::Refused;
        }
        if let Some(transition) = self.power.transition(access, value) {
            self.leave(transition, access, value, hardware);
        } else if access.register == COMMAND {
            self.write_command(access, value, hardware);
        } else {
            perform(self.sbdf, access, value, hardware);
        }
        Outcome::Done
    }

    /// Performs dom0's write that puts the device to sleep, wakes it or resets it.
    fn leave(
        &mut self,
        transition: Transition,
        access: ConfigAccess,
        value: u32,
        hardware: &mut impl Hardware,
    ) {
        let wakes = transition == Transition::Wake;
        if !wakes {
            self.delivery.leave(transition, hardware);
        }
        perform(self.sbdf, access, value, hardware);
        if wakes {
            self.delivery.leave(transition, hardware);
        }
    }

    /// Performs dom0's write of Command: INTx-disable stays as Xen has it, and MSI-X is held before
    /// memory decoding goes. After a reset it is the write that brings the device's memory back.
    /// Where it changes nothing for the guest's interrupts, dom0 does none of the guest's work.
    fn write_command(&mut self, access: ConfigAccess, value: u32, hardware: &mut impl Hardware) {
        let own = self.delivery.decoding();
        let intx_disabled = self.delivery.intx_disabled();
        let command = HostCommand::new(access, value, intx_disabled, own == Decoding::Own(true));
        let mut changed = self.lacking | self.check_lost(hardware);
        if !command.decoded {
            self.delivery.set_decoded(false, hardware);
        }
        perform(self.sbdf, access, command.value, hardware);
        if command.decoded {
            self.check_awake(hardware);
        }
        if access.enables.touches_first() {
            self.delivery.allow_dma();
            self.delivery.set_decoded(command.decoded, hardware);
        }
        changed |= self.check_lost(hardware);
        if changed || self.delivery.decoding() != own {
            self.apply(Scope::Device, hardware);
        }
    }

    /// Looks whether a device that sleeps was woken in a way that nobody saw: by its power. It is
    /// taken for one that wakes now.
    fn check_awake(&mut self, hardware: &mut impl Hardware) {
        let sbdf = self.sbdf;
        if self.delivery.sleeps()
            && !self.power.sleeping(|register| hardware.read_config(sbdf, register))
        {
            self.delivery.leave(Transition::Wake, hardware);
        }
    }

    /// Looks whether the device was reset in a way that nobody saw.
    fn check_lost(&mut self, hardware: &mut impl Hardware) -> bool {
        let lost = self.delivery.answers() && self.delivery.is_lost(hardware);
        if lost {
            self.delivery.lose(hardware);
        }
        lost
    }

    /// Stops the device's DMA, until dom0 writes Command.
    pub fn stop_dma(&mut self, hardware: &mut impl Hardware) {
        self.delivery.stop_dma(hardware);
    }

    /// The device was reset, or was without power: its memory may not be decoded any more, until
    /// dom0 writes Command.
    pub fn restore(&mut self, hardware: &mut impl Hardware) {
        self.check_awake(hardware);
        if self.delivery.answers() {
            self.delivery.lose(hardware);
            self.delivery.check_decoded(hardware);
        }
        self.apply(Scope::Device, hardware);
    }

    /// [`Managed::restore`] after the host slept.
    pub fn resume(&mut self, hardware: &mut impl Hardware) {
        self.delivery.resume(hardware);
        self.restore(hardware);
    }

    /// Goes on with what was left unfinished; whether there is still more.
    pub fn settle(&mut self, hardware: &mut impl Hardware) -> bool {
        self.look(hardware);
        if self.unfinished || self.delivery.waits() {
            self.apply(Scope::Device, hardware);
        }
        self.unfinished
    }

    /// Counts what others than the guest tried, with what tells more.
    pub fn refuse(&mut self, attempt: Attempt, detail: Detail, hardware: &mut impl Hardware) {
        if self.refusals.count_attempt(attempt) {
            hardware.log(self.sbdf, Line::warning(attempt.text(), detail));
        }
    }

    /// The guest is about to lose the device: all is off, given back, and stays off, with every
    /// guard up. Whether there is more to give back.
    pub fn quiesce(&mut self, hardware: &mut impl Hardware) -> bool {
        self.quiesced = true;
        self.unfinished = self.delivery.silence(self.device.released_intx(), hardware).is_err();
        self.unfinished
    }

    /// Takes the mappings of its MSI-X table and pending bits away, to be given back with the lock
    /// dropped; nothing of it is on.
    pub fn take_memory(&mut self) -> Option<Memory> {
        self.delivery.take_memory()
    }

    /// The guest no longer has the device, which is quiesced. Returns what is to be given back with
    /// the lock dropped.
    pub fn release(&mut self, hardware: &mut impl Hardware) -> Option<Memory> {
        let count = |text, number| Line::info(text, Detail::Number(number));
        hardware.log(self.sbdf, count(c"released; messages refused", self.refusals.messages()));
        if self.refusals.attempts() != 0 {
            hardware.log(self.sbdf, count(c"attempts of others refused", self.refusals.attempts()));
        }
        let failures = self.delivery.msix().map_or(0, HostMsix::failures);
        if failures != 0 {
            hardware.log(self.sbdf, count(c"times that a vector found no interrupt", failures));
        }
        self.take_memory()
    }

    fn layout(&self) -> Option<&Layout> {
        self.delivery.msix().and_then(HostMsix::memory).map(|memory| &memory.layout)
    }

    fn place(&self, access: MemoryAccess) -> Place {
        self.layout()
            .map_or(Place::Nowhere, |layout| layout.place(access.bar, access.offset, access.size))
    }

    fn read_register(&self, register: u16, hardware: &mut impl Hardware) -> u32 {
        if self.delivery.answers() {
            hardware.read_config(self.sbdf, register)
        } else {
            u32::MAX
        }
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
                hardware.write_memory(
                    memory.window(access.address),
                    access.address,
                    access.size,
                    value,
                );
            }
        }
    }

    /// Looks whether the device is back from sleep or a reset.
    fn look(&mut self, hardware: &mut impl Hardware) {
        if self.delivery.come_back(hardware) {
            self.apply(Scope::Device, hardware);
        }
    }

    fn apply(&mut self, scope: Scope, hardware: &mut impl Hardware) {
        if self.quiesced {
            return;
        }
        let scope = if self.unfinished { Scope::Device } else { scope };
        let result = self.delivery.apply(&self.device.wanted(), scope, hardware);
        self.unfinished = result == Err(Incomplete::Retry);
        // One vector's success says nothing of the others.
        self.lacking &= scope != Scope::Device;
        self.lacking |= matches!(result, Err(Incomplete::Failed(_)));
        if self.unfinished {
            hardware.settle_soon(self.sbdf);
        }
        if let Err(Incomplete::Failed(errno)) = result {
            if !self.failed {
                let number = Detail::Number(u64::from(errno.0.unsigned_abs()));
                hardware.log(self.sbdf, Line::warning(c"an interrupt stays off; errno", number));
            }
            self.failed = true;
        }
    }

    fn report_refusal(&mut self, hardware: &mut impl Hardware) {
        if let Some((message, reason)) = self.device.take_refused() {
            if self.refusals.count_message(reason) {
                hardware.log(
                    self.sbdf,
                    Line::info(reason.text(), Detail::Value(reason.field(message))),
                );
            }
        }
    }
}

/// Writes the bytes of an access, however it lies, in pieces that are aligned.
fn perform(device: Sbdf, access: ConfigAccess, value: u32, hardware: &mut impl Hardware) {
    let (offset, size) = (access.offset(), access.size());
    if offset & u16::from(size).wrapping_sub(1) == 0 {
        hardware.write_config(device, offset, size, value);
        return;
    }
    let dword = access.to_dword(value);
    for byte in (0..4u16).filter(|byte| access.enables.mask() >> byte.saturating_mul(8) & 0xff != 0)
    {
        let lane = dword >> byte.saturating_mul(8) & 0xff;
        hardware.write_config(device, access.register.saturating_add(byte), 1, lane);
    }
}

/// Says why a device is not assigned.
fn distrusted(device: Sbdf, distrust: Distrust, hardware: &mut impl Hardware) -> Errno {
    hardware.log(device, Line::warning(distrust.text(), Detail::None));
    Errno::NOT_PERMITTED
}

/// Everything but the MSI-X table; `msi` comes with the first dword of its capability.
fn check_function(
    known: &Known,
    msi: Option<(KnownMsi, u32)>,
    hardware: &mut impl Hardware,
) -> Result<(), Distrust> {
    if known.physical.is_none() {
        // A virtual function has no ID of its own (SR-IOV, section 9.3.4.1.1).
        trust::check_identity(hardware.read_config(known.sbdf, IDENTITY))?;
    }
    trust::check_header(hardware.read_config(known.sbdf, HEADER))?;
    let Some((msi, header)) = msi else { return Ok(()) };
    trust::check_msi(msi.position, header, msi.vectors)?;
    known.msix.map_or(Ok(()), |msix| trust::check_apart(msi.position, header, msix.position))
}

/// The base addresses that lie in memory of the device's which the domain was granted; of the
/// others nothing is learned.
fn granted_bars(device: Sbdf, hardware: &mut impl Hardware) -> [Option<HostBar>; BAR_COUNT] {
    let mut bars = hardware.bars(device);
    for slot in &mut bars {
        let granted = slot
            .as_ref()
            .and_then(HostBar::frames)
            .map(|frames| hardware.check_frames(device, frames));
        if !matches!(granted, Some(Ok(()))) {
            *slot = None;
        }
    }
    bars
}

fn take_msi(
    device: Sbdf,
    known: KnownMsi,
    header: u32,
    hardware: &mut impl Hardware,
) -> (Msi, HostMsi) {
    let msi = Msi::new(known.position, header, known.mappable);
    let host = HostMsi::take(device, msi.control_register(), hardware);
    (msi, host)
}

fn take_msix(
    device: Sbdf,
    known: KnownMsix,
    bars: &[Option<HostBar>; BAR_COUNT],
    hardware: &mut impl Hardware,
) -> Result<(Msix, HostMsix), Errno> {
    let mut read =
        |offset: u16| hardware.read_config(device, known.position.saturating_add(offset));
    let registers = MsixRegisters {
        position: known.position,
        header: read(0),
        table: read(MSIX_TABLE),
        pending: read(MSIX_PENDING),
    };
    let layout = check_table(device, known, &registers, bars, hardware)
        .map_err(|distrust| distrusted(device, distrust, hardware))?;
    let (memory, TableMemory { entries, vectors }) = match layout {
        Some(layout) => open(layout, hardware)?,
        None => {
            let text = c"MSI-X is not given to the guest: dom0 has not prepared it";
            hardware.log(device, Line::warning(text, Detail::None));
            (None, TableMemory { entries: Owned::empty(), vectors: Owned::empty() })
        }
    };
    let msix = Msix::new(registers, entries);
    let host = HostMsix::take(device, msix.control_register(), memory, vectors, hardware);
    Ok((msix, host))
}

/// Where table and pending bits lie, if Xen protects them there and nowhere else. None where Xen
/// protects nothing.
fn check_table(
    device: Sbdf,
    known: KnownMsix,
    registers: &MsixRegisters,
    bars: &[Option<HostBar>; BAR_COUNT],
    hardware: &mut impl Hardware,
) -> Result<Option<Layout>, Distrust> {
    trust::check_msix(known.position, registers.header, known.vectors)?;
    let Some([table, pending]) = known.frames else { return Ok(None) };
    for frames in [table, pending] {
        hardware.check_frames(device, frames)?;
    }
    let layout = Layout::new(registers.control(), registers.table, registers.pending, bars)
        .ok_or(Distrust::Place)?;
    trust::check_place(&layout, table, pending)?;
    if registers.table != known.table {
        return Err(Distrust::Moved);
    }
    Ok(Some(layout))
}

/// Allocates and opens all that MSI-X needs, or nothing.
fn open(
    layout: Layout,
    hardware: &mut impl Hardware,
) -> Result<(Option<Memory>, TableMemory), Errno> {
    let tables = hardware.allocate_table(layout.vectors())?;
    let table = hardware.open(layout.table_frames())?;
    match hardware.open(layout.pending_frames()) {
        Ok(pending) => Ok((Some(Memory { layout, table, pending }), tables)),
        Err(errno) => {
            hardware.close(table);
            Err(errno)
        }
    }
}
