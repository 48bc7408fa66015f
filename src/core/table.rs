// SPDX-License-Identifier: GPL-2.0-only
//! One entry of the MSI-X table (PCI Express Base Specification 6.0, section 7.7.2.5 to 7.7.2.9)
//! as the guest sees it, and what it delivers.

use static_assertions::const_assert_eq;

use crate::core::message::{BoundMessage, GuestMessage, Refusal};
use crate::core::msi::ADDRESS_WRITABLE;
use crate::core::spec::MSIX_VECTOR_MASKED;

/// Whether an entry delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mask {
    /// Its own mask bit is set.
    Masked,
    /// Its mask bit is clear, but the function delivers nothing.
    Waiting,
    /// It delivers the message it had when it got here, if that was valid.
    Unmasked,
}

/// An entry of the guest's table.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    address: [u32; 2],
    data: u32,
    mask: Mask,
    live: Option<BoundMessage>,
}

const_assert_eq!(size_of::<Entry>(), 16);

impl Entry {
    /// As after reset: masked.
    pub const RESET: Self = Self { address: [0; 2], data: 0, mask: Mask::Masked, live: None };

    /// The dword at `register`, 0 to 3 in the order of the specification.
    pub fn read(&self, register: u32) -> u32 {
        match register {
            0 => self.address[0],
            1 => self.address[1],
            2 => self.data,
            _ if self.mask == Mask::Masked => MSIX_VECTOR_MASKED,
            _ => 0,
        }
    }

    /// Writes the dword at `register`. What is written while the entry is unmasked shows in what
    /// it delivers after the next mask and unmask.
    pub fn write(&mut self, register: u32, value: u32) {
        match register {
            0 => self.address[0] = value & ADDRESS_WRITABLE,
            1 => self.address[1] = value,
            2 => self.data = value,
            _ => self.set_masked(value & MSIX_VECTOR_MASKED != 0),
        }
    }

    /// Lets the entry deliver, or not, as the function does.
    ///
    /// # Errors
    /// The message and why it is not delivered, when it was just unmasked and is not valid.
    pub fn settle(&mut self, function_delivers: bool) -> Result<(), (GuestMessage, Refusal)> {
        match (self.mask, function_delivers) {
            (Mask::Waiting, true) => {
                self.mask = Mask::Unmasked;
                let checked = self.message().validate();
                self.live = checked.ok();
                checked.map(|_| ()).map_err(|reason| (self.message(), reason))
            }
            (Mask::Unmasked, false) => {
                self.mask = Mask::Waiting;
                self.live = None;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What the entry delivers; None while it is masked or was unmasked with no valid message.
    pub fn wanted(&self) -> Option<BoundMessage> {
        self.live
    }

    fn set_masked(&mut self, masked: bool) {
        if masked {
            self.mask = Mask::Masked;
            self.live = None;
        } else if self.mask == Mask::Masked {
            self.mask = Mask::Waiting;
        }
    }

    fn message(&self) -> GuestMessage {
        GuestMessage {
            address: u64::from(self.address[1]) << 32 | u64::from(self.address[0]),
            data: self.data,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry with a message, masked.
    fn entry(vector: u32) -> Entry {
        let mut entry = Entry::RESET;
        entry.write(0, 0xfee0_1000);
        entry.write(2, vector);
        entry
    }

    fn vector(entry: &Entry) -> Option<u8> {
        entry.wanted().map(|message| message.vector())
    }

    #[test]
    fn reads_back_what_can_be_written() {
        let mut entry = Entry::RESET;
        assert_eq!([0, 1, 2, 3].map(|register| entry.read(register)), [0, 0, 0, 1]);
        for register in 0..4 {
            entry.write(register, u32::MAX);
        }
        assert_eq!(
            [0, 1, 2, 3].map(|register| entry.read(register)),
            [0xffff_fffc, u32::MAX, u32::MAX, 1]
        );
        entry.write(3, 0xffff_fffe);
        assert_eq!(entry.read(3), 0);
    }

    #[test]
    fn delivers_once_both_masks_are_clear() {
        let mut entry = entry(0x51);
        assert_eq!((entry.settle(true), vector(&entry)), (Ok(()), None));
        entry.write(3, 0);
        assert_eq!((entry.settle(false), vector(&entry)), (Ok(()), None));
        assert_eq!((entry.settle(true), vector(&entry)), (Ok(()), Some(0x51)));
        assert_eq!((entry.settle(false), vector(&entry)), (Ok(()), None));
        assert_eq!((entry.settle(true), vector(&entry)), (Ok(()), Some(0x51)));
        entry.write(3, 1);
        assert_eq!((entry.settle(true), vector(&entry)), (Ok(()), None));
    }

    #[test]
    fn a_change_while_unmasked_waits_for_the_next_unmask() {
        let mut entry = entry(0x51);
        entry.write(3, 0);
        assert_eq!(entry.settle(true), Ok(()));
        entry.write(2, 0x52);
        entry.write(3, 0);
        assert_eq!((entry.settle(true), vector(&entry)), (Ok(()), Some(0x51)));
        entry.write(3, 1);
        entry.write(3, 0);
        assert_eq!((entry.settle(true), vector(&entry)), (Ok(()), Some(0x52)));
    }

    #[test]
    fn a_bad_message_is_told_once_and_stays_silent() {
        let mut entry = entry(0x02);
        entry.write(3, 0);
        let message = GuestMessage { address: 0xfee0_1000, data: 0x02 };
        assert_eq!(entry.settle(true), Err((message, Refusal::Vector)));
        entry.write(2, 0x51);
        assert_eq!((entry.settle(true), vector(&entry)), (Ok(()), None));
        entry.write(3, 1);
        entry.write(3, 0);
        assert_eq!((entry.settle(true), vector(&entry)), (Ok(()), Some(0x51)));
    }
}
