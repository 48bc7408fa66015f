// SPDX-License-Identifier: GPL-2.0-only
//! Whether a device's own words may be believed at its assignment. Each is compared with what Xen
//! or dom0 knew before any guest had the device; the first that differs refuses the assignment.

use core::ffi::CStr;

use crate::core::layout::{Frames, Layout};
use crate::core::spec::{
    MsiControl, MsixControl, CAPABILITY_END, CAPABILITY_FIRST, CAPABILITY_MSI, CAPABILITY_MSIX,
    DWORD, MSIX_LENGTH, NO_ANSWER,
};

/// A check that a device did not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distrust {
    /// Its IDs read as all ones: nothing answers.
    NoAnswer,
    /// Its header is not of type 0.
    HeaderType,
    /// There is no MSI capability where Xen found one, or it has other vectors or does not fit.
    Msi,
    /// There is no MSI-X capability where Xen found one, or it has another table size or does not
    /// fit.
    Msix,
    /// MSI and MSI-X overlap.
    Overlap,
    /// The table or the pending bits lie outside of its base address registers, or over each other.
    Place,
    /// They lie elsewhere than where Xen protects them.
    Moved,
    /// They lie in memory that the domain was not granted.
    NotGranted,
    /// They lie in RAM.
    Ram,
    /// They lie in Xen's own memory, an interrupt controller's, an IOMMU's or configuration space.
    XensOwn,
    /// They lie over those of another device.
    OthersTable,
}

impl Distrust {
    /// What the log says.
    pub fn text(self) -> &'static CStr {
        match self {
            Self::NoAnswer => c"not assigned: the device does not answer",
            Self::HeaderType => c"not assigned: header type",
            Self::Msi => c"not assigned: MSI capability is not as Xen found it",
            Self::Msix => c"not assigned: MSI-X capability is not as Xen found it",
            Self::Overlap => c"not assigned: MSI and MSI-X overlap",
            Self::Place => c"not assigned: MSI-X table or PBA outside of the base addresses",
            Self::Moved => c"not assigned: MSI-X table or PBA is not where Xen protects it",
            Self::NotGranted => {
                c"not assigned: MSI-X table or PBA in memory the domain was not granted"
            }
            Self::Ram => c"not assigned: MSI-X table or PBA in RAM",
            Self::XensOwn => c"not assigned: MSI-X table or PBA in Xen's own memory",
            Self::OthersTable => c"not assigned: MSI-X table or PBA over another device's",
        }
    }
}

/// The first dword of a function's configuration space.
///
/// # Errors
/// [`Distrust::NoAnswer`].
pub fn check_identity(identity: u32) -> Result<(), Distrust> {
    // A vendor ID of all ones is nobody's; a virtual function has it, and is not asked.
    if identity as u16 == NO_ANSWER {
        Err(Distrust::NoAnswer)
    } else {
        Ok(())
    }
}

/// The dword that holds the header type.
///
/// # Errors
/// [`Distrust::HeaderType`].
pub fn check_header(header: u32) -> Result<(), Distrust> {
    // Bit 7 says that the device has several functions.
    if header >> 16 & 0x7f == 0 {
        Ok(())
    } else {
        Err(Distrust::HeaderType)
    }
}

/// The first dword of MSI at `position`, where Xen had found `vectors` of them.
///
/// # Errors
/// [`Distrust::Msi`].
pub fn check_msi(position: u16, header: u32, vectors: u8) -> Result<(), Distrust> {
    let control = MsiControl((header >> 16) as u16);
    let as_found = header as u8 == CAPABILITY_MSI
        && 1u32.checked_shl(control.multiple_message_capable().into()) == Some(vectors.into());
    if as_found && fits(position, msi_length(control)) {
        Ok(())
    } else {
        Err(Distrust::Msi)
    }
}

/// The first dword of MSI-X at `position`, where Xen had found `vectors` of them.
///
/// # Errors
/// [`Distrust::Msix`].
pub fn check_msix(position: u16, header: u32, vectors: u16) -> Result<(), Distrust> {
    let control = MsixControl((header >> 16) as u16);
    let as_found =
        header as u8 == CAPABILITY_MSIX && control.table_size().saturating_add(1) == vectors;
    if as_found && fits(position, MSIX_LENGTH) {
        Ok(())
    } else {
        Err(Distrust::Msix)
    }
}

/// Both capabilities together: MSI's position and first dword, MSI-X's position.
///
/// # Errors
/// [`Distrust::Overlap`].
pub fn check_apart(msi: u16, msi_header: u32, msix: u16) -> Result<(), Distrust> {
    let end = msi.saturating_add(msi_length(MsiControl((msi_header >> 16) as u16)));
    if msi < msix.saturating_add(MSIX_LENGTH) && msix < end {
        Err(Distrust::Overlap)
    } else {
        Ok(())
    }
}

/// Where the device says that table and pending bits lie, against where Xen protects them.
///
/// # Errors
/// [`Distrust::Moved`].
pub fn check_place(layout: &Layout, table: Frames, pending: Frames) -> Result<(), Distrust> {
    if layout.table_frames() == table && layout.pending_frames() == pending {
        Ok(())
    } else {
        Err(Distrust::Moved)
    }
}

/// Length of MSI in whole dwords, in bytes.
fn msi_length(control: MsiControl) -> u16 {
    let dwords: u16 = match (control.address_64(), control.per_vector_masking()) {
        (false, false) => 3,
        (true, false) => 4,
        (false, true) => 5,
        (true, true) => 6,
    };
    dwords.saturating_mul(DWORD)
}

fn fits(position: u16, length: u16) -> bool {
    position % DWORD == 0
        && position >= CAPABILITY_FIRST
        && position.saturating_add(length) <= CAPABILITY_END
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::learn::HostBar;
    use x86_64::PhysAddr;

    #[test]
    fn a_device_that_does_not_answer() {
        assert_eq!(check_identity(u32::MAX), Err(Distrust::NoAnswer));
        assert_eq!(check_identity(0x0000_ffff), Err(Distrust::NoAnswer));
        assert_eq!(check_identity(0x10d3_8086), Ok(()));
    }

    #[test]
    fn header_types() {
        for (header, expected) in [
            (0, Ok(())),
            (0x80, Ok(())),
            (1, Err(Distrust::HeaderType)),
            (0x7f, Err(Distrust::HeaderType)),
        ] {
            assert_eq!(check_header(header << 16 | 0xff00_ffff), expected, "{header:#x}");
        }
    }

    #[test]
    fn msi_as_xen_found_it() {
        assert_eq!(check_msi(0x40, 0x0186_7005, 8), Ok(()));
        for (position, header, vectors) in [
            (0x40, 0x0186_7006, 8),
            (0x40, 0x0184_7005, 8),
            (0x40, 0x0186_7005, 4),
            (0x40, 0x018e_7005, 8),
            (0x3c, 0x0186_7005, 8),
            (0x42, 0x0186_7005, 8),
            (0xec, 0x0186_7005, 8),
            (0, 0x0186_7005, 8),
        ] {
            assert_eq!(
                check_msi(position, header, vectors),
                Err(Distrust::Msi),
                "{position:#x} {header:#x}"
            );
        }
        assert_eq!(check_msi(0xe8, 0x0186_7005, 8), Ok(()));
        assert_eq!(check_msi(0xf4, 0x0000_0005, 1), Ok(()));
    }

    #[test]
    fn msix_as_xen_found_it() {
        assert_eq!(check_msix(0xa0, 0x8003_0011, 4), Ok(()));
        for (position, header, vectors) in [
            (0xa0, 0x8003_0010, 4),
            (0xa0, 0x8003_0011, 5),
            (0xa0, 0x87ff_0011, 4),
            (0xf8, 0x8003_0011, 4),
            (0xa1, 0x8003_0011, 4),
        ] {
            assert_eq!(
                check_msix(position, header, vectors),
                Err(Distrust::Msix),
                "{position:#x} {header:#x}"
            );
        }
        assert_eq!(check_msix(0xf4, 0x8003_0011, 4), Ok(()));
    }

    #[test]
    fn capabilities_do_not_overlap() {
        // Eight vectors, 64-bit addresses, mask bits: 24 bytes.
        let header = 0x0186_0005;
        for (msix, expected) in [
            (0x34, Ok(())),
            (0x38, Err(Distrust::Overlap)),
            (0x54, Err(Distrust::Overlap)),
            (0x58, Ok(())),
        ] {
            assert_eq!(check_apart(0x40, header, msix), expected, "{msix:#x}");
        }
        assert_eq!(check_apart(0x40, 0x0000_0005, 0x4c), Ok(()));
    }

    #[test]
    fn table_and_pending_bits_lie_where_xen_protects_them() {
        let bar = HostBar { address: PhysAddr::new(0xfea0_0000), size: 0x1_0000, is_64bit: false };
        let bars = [Some(bar), None, None, None, None, None];
        let (table, pending) =
            (Frames { first: 0xfea02, last: 0xfea02 }, Frames { first: 0xfea03, last: 0xfea03 });
        let checked = |at, table, pending| {
            let layout = Layout::new(MsixControl(3), at, 0x3000, &bars);
            layout.map(|layout| check_place(&layout, table, pending))
        };
        assert_eq!(checked(0x2000, table, pending), Some(Ok(())));
        assert_eq!(checked(0x1000, table, pending), Some(Err(Distrust::Moved)));
        assert_eq!(checked(0x2000, table, table), Some(Err(Distrust::Moved)));
        assert_eq!(checked(0x1ff0, table, pending), Some(Err(Distrust::Moved)));
    }
}
