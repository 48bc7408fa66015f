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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::spec::MsiControl;

    fn device() -> Device {
        let mut control = MsiControl(0);
        control.set_address_64(true);
        Device::new(Msi::new(0x40, u32::from(control.0) << 16 | 0x5))
    }

    fn write(device: &mut Device, register: u16, value: u32) -> Verdict {
        device.write(register, ByteEnables::ALL, value)
    }

    /// Writes a message and enables it.
    fn enable(device: &mut Device) {
        for (register, value) in [(0x44, 0xfee0_0000), (0x4c, 0x51), (0x40, 0x1_0000)] {
            assert_eq!(write(device, register, value), Verdict::Own);
        }
    }

    #[test]
    fn verdicts() {
        let mut device = device();
        assert_eq!(write(&mut device, 0x04, 0x6), Verdict::Observe);
        assert_eq!(write(&mut device, 0x10, 0), Verdict::Forward);
        assert_eq!(write(&mut device, 0x3c, 0), Verdict::Forward);
        assert_eq!(write(&mut device, 0x40, 0), Verdict::Own);
        assert_eq!(write(&mut device, 0x50, 0), Verdict::Forward);
        assert_eq!(device.read(0x04), None);
        assert!(device.read(0x4c).is_some());
        assert_eq!((device.guards(0x4c), device.guards(0x50)), (true, false));
        assert_eq!(device.msi_control_register(), 0x42);
    }

    #[test]
    fn intx_is_off_while_msi_is_on() {
        let mut device = device();
        assert_eq!(device.wanted(), Wanted { intx_disable: false, msi: None });
        enable(&mut device);
        assert!(device.wanted().intx_disable);
        assert!(device.wanted().msi.is_some());
        write(&mut device, 0x40, 0);
        assert_eq!(device.wanted(), Wanted { intx_disable: false, msi: None });
    }

    #[test]
    fn enabled_without_a_message_is_silent() {
        let mut device = device();
        write(&mut device, 0x40, 0x1_0000);
        assert_eq!(device.wanted(), Wanted { intx_disable: true, msi: None });
    }

    #[test]
    fn the_guests_own_choice_comes_back() {
        let mut device = device();
        write(&mut device, 0x04, 0x0406);
        enable(&mut device);
        write(&mut device, 0x04, 0x0006);
        assert!(device.wanted().intx_disable);
        assert_eq!(device.released(), Wanted { intx_disable: false, msi: None });
        write(&mut device, 0x04, 0x0406);
        assert_eq!(device.released(), Wanted { intx_disable: true, msi: None });
    }

    #[test]
    fn a_refusal_tells_the_message() {
        let mut device = device();
        enable(&mut device);
        assert_eq!(device.refused(), None);
        write(&mut device, 0x4c, 0x7ff);
        let message = GuestMessage { address: 0xfee0_0000, data: 0x7ff };
        assert_eq!(device.refused(), Some((message, Refusal::Vector)));
    }
}
