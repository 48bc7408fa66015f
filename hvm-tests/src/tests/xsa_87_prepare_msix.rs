// SPDX-License-Identifier: GPL-2.0-only
//! XSA-87: what only dom0 may say about physical devices, said by a guest.

use crate::xen;
use crate::{Device, Msi, cases, check};

// Commands about physical devices.
const COMMANDS: [(&str, u64); 8] = [
    ("manage_pci_add", 15),
    ("manage_pci_remove", 16),
    ("restore_msi", 19),
    ("pci_device_add", 25),
    ("pci_device_remove", 26),
    ("restore_msi_ext", 27),
    ("prepare_msix", 30),
    ("release_msix", 31),
];
const RESET: u64 = 32;

pub fn run(device: &dyn Device) {
    let msi = Msi::of(device.function());
    msi.program(cases::message());
    msi.enable(true);
    for (name, command) in COMMANDS.into_iter().chain([("pci_device_reset", RESET)]) {
        for slot in 0..32u32 {
            // Segment, bus and function come in either order.
            for first in [slot << 11, slot << 27] {
                check::refused(
                    format_args!("{name} of {first:#x}"),
                    xen::device_call(command, first),
                );
            }
        }
    }
    check::delivers("afterwards", device, 2, (0, cases::VECTOR));
    msi.enable(false);
}
