// SPDX-License-Identifier: GPL-2.0-only
//! Which kinds of devices there are, where they are, and what Xen knows of them.

use msitrap::core::address::{GuestFunction, Sbdf};
use msitrap::core::layout::Frames;
use msitrap::core::power::PowerRegisters;
use msitrap::host::managed::{Known, KnownMsi, KnownMsix};

/// Where the MSI capability stands.
pub const MSI: u16 = 0x40;
/// Where the MSI-X capability stands.
pub const MSIX: u16 = 0x70;
/// Where the Power Management capability stands; its control register is 4 bytes behind.
pub const POWER: u16 = 0x80;
/// Where the PCI Express capability stands; Device Control is 8 bytes behind.
pub const EXPRESS: u16 = 0x90;
/// Where the Advanced Features capability stands; its control register is 4 bytes behind.
pub const FEATURES: u16 = 0xb0;

/// What kind of device it is.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub msi: bool,
    pub address_64: bool,
    pub masking: bool,
    /// log2 of the vectors that its MSI has.
    pub log2: u16,
    /// How many of them Xen can map.
    pub mappable: u8,
    pub msix: bool,
    /// Whether dom0 had Xen prepare MSI-X.
    pub prepared: bool,
    /// Vectors of its MSI-X, and where the table and the pending bits are, as in its registers.
    pub vectors: u16,
    pub table: u32,
    pub pending: u32,
    /// Its memory is decoded when its physical function says so.
    pub virtual_function: bool,
    /// Whether it keeps its registers through D3hot.
    pub keeps: bool,
}

const PLAIN: Kind = Kind {
    msi: true,
    address_64: true,
    masking: true,
    log2: 0,
    mappable: 32,
    msix: true,
    prepared: true,
    vectors: 4,
    table: 0x2000,
    pending: 0x3000,
    virtual_function: false,
    keeps: false,
};

impl Kind {
    pub const EVERY: [Self; 12] = [
        Self { address_64: false, masking: false, vectors: 1, ..PLAIN },
        Self {
            address_64: false,
            log2: 3,
            vectors: 5,
            table: 0x0,
            pending: 0x2,
            keeps: true,
            ..PLAIN
        },
        Self { masking: false, log2: 4, vectors: 8, table: 0x2, pending: 0x82, ..PLAIN },
        Self { log2: 5, vectors: 20, table: 0xff0, pending: 0x3ff8, keeps: true, ..PLAIN },
        Self { log2: 1, vectors: 70, table: 0x1002, pending: 0x8000, ..PLAIN },
        Self { masking: false, log2: 7, vectors: 3, table: 0x800, pending: 0x0, ..PLAIN },
        Self { log2: 5, mappable: 4, table: 0xf_f000, pending: 0xf_e000, ..PLAIN },
        Self { log2: 2, msix: false, prepared: false, ..PLAIN },
        Self { msi: false, vectors: 6, keeps: true, ..PLAIN },
        Self { log2: 1, virtual_function: true, ..PLAIN },
        Self { log2: 2, prepared: false, ..PLAIN },
        Self {
            msi: false,
            virtual_function: true,
            vectors: 9,
            table: 0x0,
            pending: 0x800,
            ..PLAIN
        },
    ];

    /// A table as large as any.
    pub const LARGEST: Self = Self { vectors: 2048, table: 0x0, pending: 0x8000, ..PLAIN };

    /// Those with both capabilities at the guest's disposal.
    pub fn both() -> impl Iterator<Item = Self> {
        Self::EVERY.into_iter().filter(|kind| kind.msi && kind.gives_msix())
    }

    /// Whether the guest can have MSI-X.
    pub fn gives_msix(self) -> bool {
        self.msix && self.prepared
    }

    /// log2 of the vectors of MSI that are offered.
    pub fn offered(self) -> u16 {
        self.log2.min(5).min(self.mappable.ilog2() as u16)
    }

    /// MSI's Message Control after reset.
    pub fn msi_control(self) -> u16 {
        self.log2 << 1 | u16::from(self.address_64) << 7 | u16::from(self.masking) << 8
    }

    /// From a base address on: where the table begins, and which of the two it is.
    pub fn table_place(self) -> (usize, u64) {
        (self.table as usize % 8 / 2, u64::from(self.table & !7))
    }

    /// The same of the pending bits.
    pub fn pending_place(self) -> (usize, u64) {
        (self.pending as usize % 8 / 2, u64::from(self.pending & !7))
    }

    pub fn table_length(self) -> u64 {
        u64::from(self.vectors) * 16
    }

    pub fn pending_length(self) -> u64 {
        u64::from(self.vectors).div_ceil(64) * 8
    }
}

/// The host's address of the device number `n` of a guest.
pub fn sbdf(n: usize) -> Sbdf {
    Sbdf(0x20 + 8 * n as u32)
}

/// Its physical function, where it is a virtual one.
pub fn physical(n: usize) -> Sbdf {
    Sbdf(0x1_0000 + 8 * n as u32)
}

/// The guest's address of it.
pub fn function(n: usize) -> GuestFunction {
    GuestFunction((8 * n) as u8)
}

/// Where its base addresses 0 and 2 lie on the host, and how long they are.
pub fn host_bars(n: usize) -> [(u64, u64); 2] {
    [
        (0xfe00_0000 + n as u64 * 0x10_0000, 0x10_0000),
        (0x12_3400_0000 + n as u64 * 0x1_0000, 0x1_0000),
    ]
}

/// The places where the guest may put them: no other device of its goes there.
pub fn guest_bars(n: usize, place: u64) -> [u64; 2] {
    [
        0xc000_0000 + (place << 24 | (n as u64) << 20),
        0x2_f300_0000 + (place << 24 | (n as u64) << 16),
    ]
}

fn frames(n: usize, (bar, offset): (usize, u64), length: u64) -> Frames {
    let start = host_bars(n)[bar].0 + offset;
    Frames { first: start >> 12, last: (start + length - 1) >> 12 }
}

/// What Xen knows of it: all of it true.
pub fn known(n: usize, kind: Kind) -> Known {
    let frames = [
        frames(n, kind.table_place(), kind.table_length()),
        frames(n, kind.pending_place(), kind.pending_length()),
    ];
    Known {
        sbdf: sbdf(n),
        physical: kind.virtual_function.then(|| physical(n)),
        msi: kind.msi.then_some(KnownMsi {
            position: MSI,
            vectors: 1 << kind.log2,
            mappable: kind.mappable,
        }),
        msix: kind.msix.then_some(KnownMsix {
            position: MSIX,
            vectors: kind.vectors,
            table: kind.table,
            frames: kind.prepared.then_some(frames),
        }),
        power: PowerRegisters { power: POWER, express: EXPRESS, features: FEATURES },
        function: None,
    }
}
