// SPDX-License-Identifier: GPL-2.0-only
//! XSA-237: message interrupts mapped by a guest, of its own device or of any other of the host's.

use crate::xen::{Kind, Map};
use crate::{Device, Msi, cases, check};

const KINDS: [Kind; 3] = [Kind::Msi, Kind::MsiSegment, Kind::MultiMsi];
/// Where the host's devices have their memory.
const TABLES: [u64; 2] = [0, 0xfe00_0000];

pub fn run(device: &dyn Device) {
    let msi = Msi::of(device.function());
    msi.program(cases::message());
    msi.enable(true);
    for kind in KINDS {
        for devfn in 0..256 {
            for table in TABLES {
                let mut map = Map { devfn, table, entry: 1, ..Map::new(kind) };
                check::refused(format_args!("{kind:?} of {devfn:#x}"), map.ask());
            }
        }
    }
    check::delivers("afterwards", device, 2, (0, cases::VECTOR));
    msi.enable(false);
}
