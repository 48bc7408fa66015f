// SPDX-License-Identifier: GPL-2.0-only
//! A managed device as its guest sees it, and the one place that says which of INTx, MSI and
//! MSI-X it may use.

use crate::core::access::ByteEnables;
use crate::core::capability::{Capability, Reading};
use crate::core::command::GuestCommand;
use crate::core::message::{GuestMessage, Refusal};
use crate::core::msi::{Msi, MsiDelivery};
use crate::core::spec;

/// What happens to a guest's write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The device model gets it; Xen is not concerned.
    Forward,
    /// The device model gets it, and it changed what the hardware should do.
    Observe,
    /// Xen took it; the device model never sees it.
    Own,
}

/// The guest's side of a managed device.
#[derive(Debug)]
pub struct Device {
    command: GuestCommand,
    msi: Msi,
}

/// What the hardware should do, derived from the guest's registers and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Whether INTx is off: while a message capability is enabled, else as the guest chose.
    pub intx_disable: bool,
    /// What MSI delivers.
    pub msi: Option<MsiDelivery>,
}

impl Device {
    /// A device with this MSI capability, everything off.
    pub fn new(msi: Msi) -> Self {
        Self { command: GuestCommand::RESET, msi }
    }

    /// Takes over the Command register the guest had written before the device was learned.
    pub fn set_command(&mut self, command: GuestCommand) {
        self.command = command;
    }

    /// How the guest reads the dword at `register`; None when the device model answers.
    pub fn read(&self, register: u16) -> Option<Reading> {
        self.msi.owns(register).then(|| self.msi.read(register))
    }

    /// Decides on a guest's write to the enabled bytes of the dword at `register`.
    pub fn write(&mut self, register: u16, enables: ByteEnables, value: u32) -> Verdict {
        if register == spec::COMMAND {
            self.command.observe(enables, value);
            Verdict::Observe
        } else if self.msi.owns(register) {
            self.msi.write(register, enables, value);
            Verdict::Own
        } else {
            Verdict::Forward
        }
    }

    /// What the hardware should do now. PCI Express Base Specification 6.0, section 7.7.1.2:
    /// a function with a message capability enabled must not use INTx, whatever its message.
    pub fn wanted(&self) -> Wanted {
        Wanted { intx_disable: self.msi.enabled() || self.command.intx_disable(), msi: self.msi.wanted() }
    }

    /// What the hardware should do once the guest no longer has the device.
    pub fn released(&self) -> Wanted {
        Wanted { intx_disable: self.command.intx_disable(), msi: None }
    }

    /// The guest's message and why it is not live, if it is not.
    pub fn refused(&self) -> Option<(GuestMessage, Refusal)> {
        self.msi.refusal().map(|reason| (self.msi.message(), reason))
    }

    /// Whether a host write to the dword at `register` must not reach the hardware.
    pub fn guards(&self, register: u16) -> bool {
        self.msi.owns(register)
    }

    /// Offset of MSI's Message Control.
    pub fn msi_control_register(&self) -> u16 {
        self.msi.control_register()
    }
}
