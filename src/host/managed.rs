// SPDX-License-Identifier: GPL-2.0-only
//! One managed device: the guest's side, the hardware's side, and what was said about it.

use crate::core::access::ConfigAccess;
use crate::core::address::{GuestFunction, Sbdf};
use crate::core::capability::Reading;
use crate::core::command::{keep_intx_disable, GuestCommand};
use crate::core::device::{Device, Verdict};
use crate::core::learn::HostBar;
use crate::core::message::Refusal;
use crate::core::msi::Msi;
use crate::core::spec::{Command, BAR_COUNT, COMMAND};
use crate::host::delivery::Delivery;
use crate::host::hardware::Hardware;

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
    /// Whether Xen failed to set up MSI once; that is logged the first time only.
    failed: bool,
}

/// How often each reason refused a message; each is logged the first time only.
#[derive(Debug, Default)]
struct Refusals([u32; Refusal::COUNT]);

impl Refusals {
    /// Counts one, and says whether it is the first for its reason.
    fn count(&mut self, reason: Refusal) -> bool {
        let Some(count) = self.0.get_mut(reason as usize) else { return false };
        *count = count.saturating_add(1);
        *count == 1
    }

    fn total(&self) -> u64 {
        self.0.iter().fold(0, |total, count| total.saturating_add(u64::from(*count)))
    }
}

impl Managed {
    /// Takes charge of a device, with a snapshot of all that is ever read from it; MSI is off
    /// from here on. None when the device has no MSI.
    pub fn take(sbdf: Sbdf, hardware: &mut impl Hardware) -> Option<Self> {
        let position = hardware.msi_position(sbdf)?;
        let msi = Msi::new(position, hardware.read_config(sbdf, position));
        let command = Command(hardware.read_config(sbdf, COMMAND) as u16);
        let delivery = Delivery::take(sbdf, msi.control_register(), command.intx_disable(), hardware);
        let bars = hardware.bars(sbdf);
        let device = Device::new(msi);
        Some(Self { sbdf, function: None, bars, device, delivery, refusals: Refusals::default(), failed: false })
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

    /// The guest's address is known: from here on the guest decides through its registers.
    pub fn learn(&mut self, function: GuestFunction, command: GuestCommand, hardware: &mut impl Hardware) {
        self.function = Some(function);
        self.device.set_command(command);
        hardware.log(self.sbdf, c"learned as the guest's function", u64::from(function.0));
        self.follow(hardware);
    }

    /// The guest reads.
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

    /// The guest writes; true when the device model must not see it.
    pub fn write(&mut self, access: ConfigAccess, value: u32, hardware: &mut impl Hardware) -> bool {
        match self.device.write(access.register, access.enables, access.to_dword(value)) {
            Verdict::Forward => false,
            Verdict::Observe => {
                self.follow(hardware);
                false
            }
            Verdict::Own => {
                self.report_refusal(hardware);
                self.follow(hardware);
                true
            }
        }
    }

    /// The host, that is dom0, writes to the hardware: what remains of it, or None.
    pub fn host_write(&self, access: ConfigAccess, value: u32) -> Option<u32> {
        if self.device.guards(access.register) {
            None
        } else if access.register == COMMAND {
            let kept = keep_intx_disable(access.to_dword(value), self.delivery.intx_disabled());
            Some(access.from_dword(kept))
        } else {
            Some(value)
        }
    }

    /// The guest no longer has the device.
    pub fn release(&mut self, hardware: &mut impl Hardware) {
        // Turning off calls nothing that can fail.
        let _ = self.delivery.follow(&self.device.released(), hardware);
        hardware.log(self.sbdf, c"released; messages refused", self.refusals.total());
    }

    fn follow(&mut self, hardware: &mut impl Hardware) {
        if let Err(errno) = self.delivery.follow(&self.device.wanted(), hardware) {
            if !self.failed {
                hardware.log(self.sbdf, c"MSI stays off; errno", u64::from(errno.0.unsigned_abs()));
            }
            self.failed = true;
        }
    }

    fn report_refusal(&mut self, hardware: &mut impl Hardware) {
        if let Some((message, reason)) = self.device.refused() {
            if self.refusals.count(reason) {
                hardware.log(self.sbdf, reason.text(), reason.field(message));
            }
        }
    }
}
