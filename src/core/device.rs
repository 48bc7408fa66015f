// SPDX-License-Identifier: GPL-2.0-only
//! A managed device as its guest sees it, and the one place that says which of INTx, MSI and
//! MSI-X it may use.

use crate::core::access::ByteEnables;
use crate::core::capability::{Capability, Permission, Reading};
use crate::core::command::GuestCommand;
use crate::core::message::{GuestMessage, Refusal};
use crate::core::msi::{Msi, MsiDelivery};
use crate::core::msix::Msix;
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
    msi: Option<Msi>,
    msix: Option<Msix>,
}

/// What the hardware should do, derived from the guest's registers and nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Whether INTx is off: while a message capability is enabled, else as the guest chose.
    pub intx_disable: bool,
    /// Which messages are delivered.
    pub messages: Messages<'a>,
}

/// Which of the two message capabilities delivers: never both.
#[derive(Clone, Copy, Debug)]
pub enum Messages<'a> {
    /// Neither.
    Off,
    /// MSI, with these messages.
    Msi(MsiDelivery),
    /// MSI-X, with the vectors of this table.
    Msix(&'a Msix),
}

/// Which capability a register belongs to.
#[derive(Clone, Copy)]
enum Owner {
    Msi,
    Msix,
}

impl Device {
    /// A device with these capabilities, everything off.
    pub fn new(msi: Option<Msi>, msix: Option<Msix>) -> Self {
        Self { command: GuestCommand::RESET, msi, msix }
    }

    /// Takes over the Command register the guest had written before the device was learned.
    pub fn set_command(&mut self, command: GuestCommand) {
        self.command = command;
    }

    /// How the guest reads the dword at `register`; None when the device model answers.
    pub fn read(&self, register: u16) -> Option<Reading> {
        match self.owner(register)? {
            Owner::Msi => self.msi.as_ref().map(|msi| msi.read(register)),
            Owner::Msix => self.msix.as_ref().map(|msix| msix.read(register)),
        }
    }

    /// Decides on a guest's write to the enabled bytes of the dword at `register`.
    pub fn write(&mut self, register: u16, enables: ByteEnables, value: u32) -> Verdict {
        if register == spec::COMMAND {
            self.command.observe(enables, value);
            return Verdict::Observe;
        }
        let Some(owner) = self.owner(register) else { return Verdict::Forward };
        let permission = self.permission(owner);
        match (owner, &mut self.msi, &mut self.msix) {
            (Owner::Msi, Some(msi), _) => msi.write(register, enables, value, permission),
            (Owner::Msix, _, Some(msix)) => msix.write(register, enables, value, permission),
            _ => {}
        }
        Verdict::Own
    }

    /// What the hardware should do now. PCI Express Base Specification 6.0, section 7.7:
    /// a function with a message capability enabled must not use INTx, whatever its message.
    pub fn wanted(&self) -> Wanted<'_> {
        let msi = self.msi.as_ref().filter(|msi| msi.enabled());
        let msix = self.msix.as_ref().filter(|msix| msix.enabled());
        let messages = match (msi, msix) {
            (Some(msi), _) => msi.wanted().map_or(Messages::Off, Messages::Msi),
            (None, Some(msix)) => Messages::Msix(msix),
            (None, None) => Messages::Off,
        };
        let enabled = msi.is_some() || msix.is_some();
        Wanted { intx_disable: enabled || self.command.intx_disable(), messages }
    }

    /// Whether INTx is off once the guest no longer has the device.
    pub fn released_intx(&self) -> bool {
        self.command.intx_disable()
    }

    /// The guest's message and why it is not live, if it was refused just now.
    pub fn take_refused(&mut self) -> Option<(GuestMessage, Refusal)> {
        let msix = self.msix.as_mut().and_then(Msix::take_refused);
        msix.or_else(|| self.msi.as_ref().and_then(Msi::refused))
    }

    /// Whether a host write to the dword at `register` must not reach the hardware.
    pub fn guards(&self, register: u16) -> bool {
        self.owner(register).is_some()
    }

    /// The MSI-X capability, for accesses to its table.
    pub fn msix(&mut self) -> Option<&mut Msix> {
        self.msix.as_mut()
    }

    fn owner(&self, register: u16) -> Option<Owner> {
        if self.msi.as_ref().is_some_and(|msi| msi.owns(register)) {
            Some(Owner::Msi)
        } else if self.msix.as_ref().is_some_and(|msix| msix.owns(register)) {
            Some(Owner::Msix)
        } else {
            None
        }
    }

    /// The second message capability does not take while the first is on.
    fn permission(&self, owner: Owner) -> Permission {
        let other = match owner {
            Owner::Msi => self.msix.as_ref().is_some_and(Capability::enabled),
            Owner::Msix => self.msi.as_ref().is_some_and(Capability::enabled),
        };
        if other {
            Permission::Denied
        } else {
            Permission::Granted
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::msix::MsixRegisters;
    use crate::core::spec::MsiControl;
    use crate::core::table::Entry;
    use crate::memory::Owned;

    const MSI: u16 = 0x40;
    const MSIX: u16 = 0xa0;
    const MSI_ENABLE: u32 = 0x1_0000;
    const MSIX_ENABLE: u32 = 0x8000_0000;

    /// MSI with one 64-bit vector, and MSI-X with two.
    fn device() -> Device {
        let mut control = MsiControl(0);
        control.set_address_64(true);
        let registers =
            MsixRegisters { position: MSIX, header: 0x1_0011, table: 0, pending: 0x800 };
        let msix = Msix::new(registers, Owned::of(vec![Entry::RESET; 2]));
        Device::new(Some(Msi::new(MSI, u32::from(control.0) << 16 | 0x5, 1)), Some(msix))
    }

    fn write(device: &mut Device, register: u16, value: u32) -> Verdict {
        device.write(register, ByteEnables::ALL, value)
    }

    /// Writes a message and enables MSI.
    fn enable(device: &mut Device) {
        for (register, value) in [(0x44, 0xfee0_0000), (0x4c, 0x51), (MSI, MSI_ENABLE)] {
            assert_eq!(write(device, register, value), Verdict::Own);
        }
    }

    /// Whether INTx is off, and who delivers.
    fn wanted(device: &Device) -> (bool, &'static str) {
        let wanted = device.wanted();
        let messages = match wanted.messages {
            Messages::Off => "none",
            Messages::Msi(_) => "MSI",
            Messages::Msix(_) => "MSI-X",
        };
        (wanted.intx_disable, messages)
    }

    #[test]
    fn verdicts() {
        let mut device = device();
        assert_eq!(write(&mut device, 0x04, 0x6), Verdict::Observe);
        for register in [0x10, 0x3c, 0x50, 0x9c, 0xac] {
            assert_eq!(write(&mut device, register, 0), Verdict::Forward);
            assert_eq!((device.read(register), device.guards(register)), (None, false));
        }
        for register in [0x40, 0x4c, 0xa0, 0xa4, 0xa8] {
            assert_eq!(write(&mut device, register, 0), Verdict::Own);
            assert_eq!((device.read(register).is_some(), device.guards(register)), (true, true));
        }
        assert_eq!(device.read(0x04), None);
    }

    #[test]
    fn intx_is_off_while_messages_are_on() {
        let mut device = device();
        assert_eq!(wanted(&device), (false, "none"));
        enable(&mut device);
        assert_eq!(wanted(&device), (true, "MSI"));
        write(&mut device, MSI, 0);
        assert_eq!(wanted(&device), (false, "none"));
        write(&mut device, MSIX, MSIX_ENABLE);
        assert_eq!(wanted(&device), (true, "MSI-X"));
        write(&mut device, MSIX, 0);
        assert_eq!(wanted(&device), (false, "none"));
    }

    #[test]
    fn enabled_without_a_message_is_silent() {
        let mut device = device();
        write(&mut device, MSI, MSI_ENABLE);
        assert_eq!(wanted(&device), (true, "none"));
    }

    #[test]
    fn the_second_message_capability_does_not_take() {
        let mut device = device();
        enable(&mut device);
        write(&mut device, MSIX, MSIX_ENABLE);
        assert_eq!(wanted(&device), (true, "MSI"));
        write(&mut device, MSI, 0);
        assert_eq!(wanted(&device), (false, "none"));
        write(&mut device, MSIX, MSIX_ENABLE);
        write(&mut device, MSI, MSI_ENABLE);
        assert_eq!(wanted(&device), (true, "MSI-X"));
        write(&mut device, MSIX, 0);
        assert_eq!(wanted(&device), (false, "none"));
    }

    #[test]
    fn the_guests_own_choice_comes_back() {
        let mut device = device();
        write(&mut device, 0x04, 0x0406);
        enable(&mut device);
        write(&mut device, 0x04, 0x0006);
        assert_eq!(wanted(&device), (true, "MSI"));
        assert!(!device.released_intx());
        write(&mut device, 0x04, 0x0406);
        assert!(device.released_intx());
    }

    #[test]
    fn a_refusal_tells_the_message() {
        let mut device = device();
        enable(&mut device);
        assert_eq!(device.take_refused(), None);
        write(&mut device, 0x4c, 0x7ff);
        let message = GuestMessage { address: 0xfee0_0000, data: 0x7ff };
        assert_eq!(device.take_refused(), Some((message, Refusal::Vector)));
        write(&mut device, MSI, 0);
        write(&mut device, MSIX, MSIX_ENABLE);
        device.msix().and_then(|msix| msix.write_table(0xc, 4, 0));
        let message = GuestMessage { address: 0, data: 0 };
        assert_eq!(device.take_refused(), Some((message, Refusal::Window)));
    }

    #[test]
    fn one_capability_alone() {
        let Device { msi, msix, .. } = device();
        let (mut first, mut second) = (Device::new(msi, None), Device::new(None, msix));
        enable(&mut first);
        assert_eq!(write(&mut first, MSIX, MSIX_ENABLE), Verdict::Forward);
        assert_eq!(wanted(&first), (true, "MSI"));
        write(&mut second, MSIX, MSIX_ENABLE);
        assert_eq!(write(&mut second, MSI, MSI_ENABLE), Verdict::Forward);
        assert_eq!(wanted(&second), (true, "MSI-X"));
    }
}
