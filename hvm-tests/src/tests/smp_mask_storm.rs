// SPDX-License-Identifier: GPL-2.0-only
//! Two vCPUs mask and unmask different vectors while the device raises all of them: each vector
//! ends as its own vCPU left it, and what was held back arrives once.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::cases::{self, FIRST, VECTOR};
use crate::msix::VECTOR_CONTROL;
use crate::pci::Width;
use crate::storm::{self, PHASE_MS, Storm};
use crate::{Device, Msi, Msix, check};

/// Even entries are the first vCPU's, odd ones the second's.
const MOST: u32 = 4;
const ROUNDS: usize = 2;

pub fn run(device: &dyn Device) {
    let Some((mut storm, _)) = Storm::begin() else { return };
    if let Some(msi) = Msi::find(device.function()).filter(|msi| msi.mask().is_some()) {
        message(&mut storm, device, msi);
    }
    let (msix, sources) = cases::each_its_own(device, MOST);
    let entries = sources & !1;
    for _ in 0..ROUNDS {
        (0..entries)
            .for_each(|n| check::delivers("at first", (device, n), 1, (0, FIRST + n as u8)));
        let last = [const { AtomicBool::new(false) }; MOST as usize];
        let turn = |n: usize, odd: u32| {
            let entry = (n as u32 * 2 + odd) % entries;
            let masked = n / 2 % 3 != 0;
            msix.mask(entry, masked);
            last[entry as usize].store(masked, Relaxed);
        };
        storm.phase(
            "entries",
            PHASE_MS,
            |n| turn(n, 0),
            |n| {
                device.again(n as u32 % entries);
                turn(n, 1);
                msix.pending(0);
            },
        );
        for n in 0..entries {
            let expected = u32::from(last[n as usize].load(Relaxed));
            check::equal(
                format_args!("entry {n}: mask as left"),
                expected,
                msix.entry::<u32>(n, VECTOR_CONTROL),
            );
        }
        settle(device, msix, entries);
        for n in 0..entries {
            msix.mask(n, true);
            check::delivers_nothing("masked", (device, n));
            let unmask = || msix.mask(n, false);
            check::lets_through("unmasked", (device, n), unmask, (0, FIRST + n as u8));
        }
    }
    msix.enable(false);
}

/// With every entry unmasked nothing more is pending.
fn settle(device: &dyn Device, msix: Msix, entries: u32) {
    (0..entries).for_each(|n| msix.mask(n, false));
    storm::rest(device);
    check::that(format_args!("nothing stays pending"), msix.all_pending().next().is_none());
}

/// The mask register of MSI, by an address port that stays: nothing in the guest keeps the vCPUs
/// apart.
fn message(storm: &mut Storm, device: &dyn Device, msi: Msi) {
    let Some(mask) = msi.mask() else { return };
    msi.program(cases::message());
    msi.enable(true);
    check::delivers("MSI at first", device, 1, (0, VECTOR));
    let port = device.function().select(msi.start() + mask);
    storm.phase(
        "mask bits",
        PHASE_MS,
        |n| u32::output(port, n as u32 & 1),
        |n| {
            device.again(0);
            storm::look();
            u32::output(port, n as u32 & 1);
        },
    );
    for _ in 0..ROUNDS {
        msi.write(mask, 0u32);
        storm::rest(device);
        check::delivers("MSI unmasked", device, 2, (0, VECTOR));
        msi.write(mask, 1u32);
        check::delivers_nothing("MSI masked", device);
        check::lets_through("MSI unmasked again", device, || msi.write(mask, 0u32), (0, VECTOR));
    }
    msi.enable(false);
}
