// SPDX-License-Identifier: GPL-2.0-only
//! Devices that can be made to interrupt, a file for each.

mod ahci;
mod e1000e;
mod edu;
mod hda;
mod igb;
mod igbvf;
mod ivshmem;
mod memory;
mod nvme;
mod registers;
mod xhci;

use core::cell::UnsafeCell;

use crate::pci::{self, Function};
use crate::{plan, report};

use registers::Registers;

/// A device under test. A source is for one vCPU at a time; `nvme` and the like have queues for
/// each, but `xhci` has one for all.
pub trait Device: Sync {
    /// Its registers.
    fn registers(&self) -> &Registers;

    /// How many interrupts it can raise apart from one another, each on a vector of its own if it
    /// has as many.
    fn sources(&self) -> u32 {
        1
    }

    /// How many messages may come of each interrupt beyond the first.
    fn surplus(&self) -> u32 {
        0
    }

    /// Has the device raise its interrupt number `n`, once.
    fn raise(&self, n: u32);

    /// Tells the device that its interrupt number `n` was seen.
    fn acknowledge(&self, n: u32);

    /// Acknowledges the interrupt number `n` if it was seen, and raises it again, without a pause
    /// and without a look into configuration space: for one vCPU that does so all the time. After
    /// `raise` and `acknowledge`.
    fn again(&self, n: u32) {
        self.acknowledge(n);
        self.raise(n);
    }

    /// Sets it up again after a reset that took its registers' state; whether it can be.
    fn set_up_again(&self) -> bool {
        false
    }

    /// Where it is.
    fn function(&self) -> Function {
        self.registers().function()
    }
}

/// What finding a device takes: its IDs, and how it is set up once its BARs are placed.
trait Driver: Device + Sized {
    /// Device ID in the upper half, vendor ID in the lower.
    const IDS: &[u32];

    /// Makes a device that is placed ready to raise; nothing when it does not come up.
    fn set_up(function: Function) -> Option<Self>;
}

macro_rules! drivers {
    ($($name:ident: $driver:ty),*) => {
        #[expect(clippy::large_enum_variant, reason = "there are few, in a static")]
        enum Any {
            $($name($driver)),*
        }

        impl Any {
            fn at(function: Function) -> Option<Self> {
                let id = function.id();
                $(if <$driver>::IDS.contains(&id) {
                    function.place();
                    return <$driver>::set_up(function).map(Self::$name);
                })*
                None
            }

            fn knows(id: u32) -> bool {
                [$(<$driver>::IDS),*].into_iter().any(|ids| ids.contains(&id))
            }

            fn device(&self) -> &dyn Device {
                match self {
                    $(Self::$name(device) => device),*
                }
            }
        }
    };
}
drivers! {
    Ahci: ahci::Ahci, E1000e: e1000e::E1000e, Edu: edu::Edu, Hda: hda::Hda, Igb: igb::Igb,
    IgbVf: igbvf::IgbVf, Ivshmem: ivshmem::Ivshmem, Nvme: nvme::Nvme, Xhci: xhci::Xhci
}

/// More are never passed through to one guest.
const MOST: usize = 4;

struct Found(UnsafeCell<[Option<Any>; MOST]>);

// SAFETY: only the first vCPU finds devices, and before any other uses them; a device may be
// shared.
unsafe impl Sync for Found {}

static FOUND: Found = Found(UnsafeCell::new([const { None }; MOST]));

/// Finds, places and sets up every device that there is a driver for; to be called once.
pub fn set_up() {
    if plan::on("igbvf") {
        igbvf::enable();
    }
    if plan::tests().any(|name| name == "bar-overlap") {
        pci::overlap(pci::functions().filter(|function| Any::knows(function.id())));
    }
    let known = pci::functions().filter_map(Any::at);
    // SAFETY: nobody holds a reference yet.
    let slots = unsafe { &mut *FOUND.0.get() };
    for (slot, device) in slots.iter_mut().zip(known) {
        *slot = Some(device);
    }
}

/// The devices under test, in the order of the bus.
pub fn all() -> impl Iterator<Item = &'static dyn Device> {
    // SAFETY: they are not changed any more.
    let slots = unsafe { &*FOUND.0.get() };
    slots.iter().flatten().map(Any::device)
}

/// Another device under test than the first; without one the test is skipped.
pub fn second() -> Option<&'static dyn Device> {
    let found = all().nth(1);
    if found.is_none() {
        report::skip(format_args!("only one device under test on bus 0"));
    }
    found
}
