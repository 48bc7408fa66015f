// SPDX-License-Identifier: GPL-2.0-only
//! The device sleeps in D3hot with messages on, is touched meanwhile, and comes back: with its
//! state restored as Linux does, and, where No_Soft_Reset says that it keeps all, with none of it.

use crate::cases::{self, FIRST, VECTOR};
use crate::pci::Function;
use crate::{Device, Message, Msi, Msix, apic, check, msi, msix, report, say, storm, time};

const POWER_MANAGEMENT: u8 = 0x01;
/// Where control and status of power management stand in the capability.
const STATUS: u8 = 4;
const STATE: u16 = 3;
const D3_HOT: u16 = 3;
const NO_SOFT_RESET: u16 = 1 << 3;
/// Cleared by writing one.
const EVENT: u16 = 1 << 15;
/// What the specification gives a device to change its state in, and more.
const CHANGE_MS: u64 = 20;
/// Registers of the header, and the last register of all.
const HEADER: usize = 16;
const LAST: u8 = 0xfc;
const ROUNDS: u32 = 2;
/// Entries in use; another one gets what is written while the device sleeps.
const ENTRIES: u32 = 2;
const OTHER: u32 = ENTRIES;

pub fn run(device: &dyn Device) {
    let function = device.function();
    let Some(power) = function.capability(POWER_MANAGEMENT) else {
        return report::skip(format_args!("the device has no power management capability"));
    };
    let power = Power { function, status: power + STATUS };
    say!("Control and status: {:#06x}", power.read());
    let keeps_all = power.read() & NO_SOFT_RESET != 0;
    if !keeps_all && !device.set_up_again() {
        return report::skip(format_args!(
            "the device comes back reset, and cannot be set up again"
        ));
    }
    let ways: &[bool] = if keeps_all { &[true, false] } else { &[true] };
    for _ in 0..ROUNDS {
        for &restore in ways {
            message(device, &power, restore);
            entries(device, &power, restore);
        }
    }
    let saved = save(function);
    power.sleep(|| {
        touch(device);
        (0..=LAST).step_by(4).for_each(|register| {
            function.read::<u32>(register);
        });
    });
    wake(device, saved, !keeps_all);
    cases::line(device, "INTx, nothing on");
}

/// Power management of a function.
struct Power {
    function: Function,
    status: u8,
}

impl Power {
    fn read(&self) -> u16 {
        self.function.read(self.status)
    }

    fn set(&self, state: u16) {
        self.function.write(self.status, self.read() & !(STATE | EVENT) | state);
        time::wait(CHANGE_MS);
    }

    /// Sends the device to sleep, does `meanwhile`, and wakes it.
    fn sleep(&self, meanwhile: impl FnOnce()) {
        self.set(D3_HOT);
        check::equal(format_args!("power state asleep"), D3_HOT, self.read() & STATE);
        meanwhile();
        self.set(0);
        check::equal(format_args!("power state awake"), 0u16, self.read() & STATE);
    }
}

/// The header, as Linux saves it.
fn save(function: Function) -> [u32; HEADER] {
    core::array::from_fn(|n| function.read(4 * n as u8))
}

/// What is not as it was is written again if asked for: base address registers before the command
/// register.
fn wake(device: &dyn Device, saved: [u32; HEADER], restore: bool) {
    if !restore {
        return;
    }
    let function = device.function();
    for (n, value) in saved.into_iter().enumerate().rev() {
        let register = 4 * n as u8;
        if function.read::<u32>(register) != value {
            function.write(register, value);
        }
    }
    device.set_up_again();
}

fn message(device: &dyn Device, power: &Power, restore: bool) {
    let function = device.function();
    let Some(msi) = Msi::find(function) else { return };
    msi.program(cases::message());
    msi.enable(true);
    storm::rest(device);
    check::delivers("MSI before", device, 2, (0, VECTOR));
    let saved = save(function);
    power.sleep(|| {
        touch(device);
        msi.program(msi.message());
        if restore {
            msi.enable(false);
            msi.program(Message::fixed(apic::id(), VECTOR + 1));
            msi.enable(true);
        }
    });
    if restore {
        wake(device, saved, true);
        function.disable_intx(true);
        msi.enable(false);
        msi.program(cases::message());
        if let Some(mask) = msi.mask() {
            msi.write(mask, 0u32);
        }
        msi.enable(true);
    }
    check::reads_back("MSI afterwards", msi, cases::message());
    check::equal(format_args!("MSI afterwards: enable"), msi::ENABLE, msi.control() & msi::ENABLE);
    storm::rest(device);
    check::delivers("MSI afterwards", device, 3, (0, VECTOR));
    function.disable_intx(false);
    msi.enable(false);
}

fn entries(device: &dyn Device, power: &Power, restore: bool) {
    let function = device.function();
    let Some(msix) = Msix::find(function) else { return };
    let program = || {
        for n in 0..ENTRIES {
            msix.program(n, Message::fixed(apic::id(), FIRST + n as u8));
        }
    };
    program();
    msix.enable(true);
    storm::rest(device);
    check::delivers("MSI-X before", device, 2, (0, FIRST));
    let saved = save(function);
    power.sleep(|| {
        touch(device);
        msix.set(msix.control());
        if restore {
            (0..=OTHER).for_each(|n| msix.program(n, Message::fixed(apic::id(), VECTOR)));
            msix.mask(OTHER, true);
            [0, msix::FUNCTION_MASK, msix::ENABLE].into_iter().for_each(|bits| msix.set(bits));
        }
    });
    if restore {
        wake(device, saved, true);
        function.disable_intx(true);
        msix.set(msix::ENABLE | msix::FUNCTION_MASK);
        program();
        msix.set(msix::ENABLE);
    }
    for n in 0..ENTRIES {
        let message = Message::fixed(apic::id(), FIRST + n as u8);
        check::entry_reads_back("MSI-X afterwards", (msix, n), message);
    }
    check::equal(format_args!("MSI-X afterwards: control"), msix::ENABLE, msix.control() & 0xc000);
    storm::rest(device);
    for n in 0..ENTRIES {
        check::delivers("MSI-X afterwards", (device, n), 3, (0, FIRST + n as u8));
    }
    function.disable_intx(false);
    msix.enable(false);
}

/// Reads capabilities and table; a device asleep may answer anything at its table.
fn touch(device: &dyn Device) {
    let function = device.function();
    if let Some(msi) = Msi::find(function) {
        msi.message();
    }
    if let Some(msix) = Msix::find(function) {
        (0..=OTHER).for_each(|n| {
            msix.message(n);
            msix.pending(n);
        });
    }
}
