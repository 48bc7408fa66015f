// SPDX-License-Identifier: GPL-2.0-only
//! Every call of a device model, or of dom0, that could touch somebody's interrupts, on somebody.

use crate::xen::{Words, Xen};

/// PIRQs, IRQs and GSIs that are tried, one after another, by the calls that take one.
const NUMBERS: u64 = 256;
/// One that an operation on a guest's memory maps to, far from all that the guest has there.
const FREE_GUEST_FRAME: u64 = 0xd0000;
/// Fixed delivery to APIC 0, not masked (XEN_DOMCTL_VMSI_X86_UNMASKED), and any vector of the
/// guest.
const MESSAGE: u64 = 0x10000 << 32 | 0x41;
/// A guest's message to the empty set of processors: a logical destination (bit 2) of 0.
const TO_NOBODY: Words = [0x41, 0xfee0_0004, 0, 0, 0];

/// Whose interrupts a call is to touch: a domain and a device, which need not belong together.
pub struct Target {
    pub name: String,
    pub domain: u16,
    pub segment_bus: u64,
    pub devfn: u64,
    /// A frame of the machine with the device's MSI-X table, or 0.
    pub table: u64,
    /// The frame with its pending bits, or 0.
    pub pending: u64,
}

impl Target {
    /// Reads NAME=DOMAIN,SSSS:BB:DD.F,TABLE,PENDING: decimal, as usual, and two addresses in
    /// hexadecimal.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::parts(text).ok_or_else(|| format!("no target: {text}"))
    }

    fn parts(text: &str) -> Option<Self> {
        let (name, rest) = text.split_once('=')?;
        let mut parts = rest.split(',');
        let domain = parts.next()?.parse().ok()?;
        let (segment_bus, devfn) = host_address(parts.next()?)?;
        let mut frame = || Some(u64::from_str_radix(parts.next()?, 16).ok()? >> 12);
        let (table, pending) = (frame()?, frame()?);
        Some(Self { name: name.into(), domain, segment_bus, devfn, table, pending })
    }

    /// Segment, bus and function as struct physdev_pci_device.
    fn device(&self) -> u64 {
        self.segment_bus >> 16 | (self.segment_bus & 0xff) << 16 | self.devfn << 24
    }

    /// Bus and function as struct physdev_manage_pci.
    fn short(&self) -> u64 {
        self.segment_bus & 0xff | self.devfn << 8
    }

    /// Segment, bus and function in one number.
    pub fn sbdf(&self) -> u64 {
        self.segment_bus << 8 | self.devfn
    }
}

/// Segment and bus as map_pirq packs them, and device/function, of SSSS:BB:DD.F.
fn host_address(text: &str) -> Option<(u64, u64)> {
    let (rest, function) = text.rsplit_once('.')?;
    let mut numbers = rest.split(':').map(|part| u64::from_str_radix(part, 16));
    let (segment, bus, device) =
        (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some((segment << 16 | bus, device << 3 | function.parse::<u64>().ok()?))
}

enum By {
    Physdev(u32),
    Domctl(u32),
    /// A domctl on the caller's own domain.
    OwnDomctl(u32),
    EventChannel(u32),
    DeviceModel(u32),
}

struct Call {
    name: &'static str,
    by: By,
    /// The arguments for a target, of a call that takes a number for this number.
    words: fn(&Target, u64) -> Words,
    takes: Takes,
}

/// What a call takes besides a domain or a device.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    /// A domain and a device, which need not belong together.
    Both,
    /// The number of an interrupt.
    Number,
}

const fn once(name: &'static str, by: By, words: fn(&Target, u64) -> Words) -> Call {
    Call { name, by, words, takes: Takes::Nothing }
}

const fn both(name: &'static str, by: By, words: fn(&Target, u64) -> Words) -> Call {
    Call { name, by, words, takes: Takes::Both }
}

const fn each(name: &'static str, by: By, words: fn(&Target, u64) -> Words) -> Call {
    Call { name, by, words, takes: Takes::Number }
}

// Numbers of Xen's public headers: physdev.h, domctl.h, event_channel.h, hvm/dm_op.h.
use By::{DeviceModel, Domctl, EventChannel, OwnDomctl, Physdev};

/// What is tried on each target, in this order.
const CALLS: [Call; 45] = [
    both("map_pirq MSI", Physdev(13), |t, _| map_pirq(t, 0, t.table << 12)),
    both("map_pirq MSI_SEG", Physdev(13), |t, _| map_pirq(t, 3, 0)),
    both("map_pirq MSI_SEG, MSI-X", Physdev(13), |t, _| map_pirq(t, 3, t.table << 12)),
    both("map_pirq MULTI_MSI", Physdev(13), |t, _| map_pirq(t, 4, 0)),
    each("map_pirq GSI", Physdev(13), |t, n| [domain(t) | 1 << 32, n | MINUS_ONE << 32, 0, 0, 0]),
    each("bind_pt_irq MSI", Domctl(38), |_, n| [n | 2 << 32, MESSAGE, 0, 0, 0]),
    each("bind_pt_irq MSI_TRANSLATE", Domctl(38), |_, n| [n | 3 << 32, 3 << 8, 0, 0, 0]),
    each("bind_pt_irq PCI", Domctl(38), |_, n| [n, 3 << 8, 0, 0, 0]),
    each("bind_pt_irq ISA", Domctl(38), |_, n| [n | 1 << 32, 5, 0, 0, 0]),
    each("unbind_pt_irq MSI", Domctl(48), |_, n| [n | 2 << 32, 0, 0, 0, 0]),
    each("unbind_pt_irq PCI", Domctl(48), |_, n| [n, 3 << 8, 0, 0, 0]),
    each("unbind_pt_irq ISA", Domctl(48), |_, n| [n | 1 << 32, 5, 0, 0, 0]),
    each("unmap_pirq", Physdev(14), |t, n| [domain(t) | n << 32, 0, 0, 0, 0]),
    each("irq_permission", Domctl(19), |_, n| [n | 1 << 32, 0, 0, 0, 0]),
    each("irq_permission, taken", Domctl(19), |_, n| [n, 0, 0, 0, 0]),
    once("gsi_permission", Domctl(88), |_, _| [16 | 1 << 32, 0, 0, 0, 0]),
    once("iomem_permission of the table", Domctl(20), |t, _| [t.table, 1, 1, 0, 0]),
    once("iomem_permission of the interrupt window", Domctl(20), |_, _| [0xfee00, 1, 1, 0, 0]),
    once("ioport_permission of 0xcf8", Domctl(21), |_, _| [0xcf8 | 8 << 32, 1, 0, 0, 0]),
    once("ioport_mapping of 0xcf8", Domctl(40), |_, _| [0xcf8 | 0xcf8 << 32, 8 | 1 << 32, 0, 0, 0]),
    both("memory_mapping of the table", Domctl(39), |t, _| [FREE_GUEST_FRAME, t.table, 1, 1, 0]),
    both("memory_mapping of the pending bits", Domctl(39), |t, _| {
        [FREE_GUEST_FRAME + 1, t.pending, 1, 1, 0]
    }),
    // Xen finds nothing to undo there, unless the table was mapped.
    once("memory_mapping undone where the table was left out", Domctl(39), |t, _| {
        [FREE_GUEST_FRAME, t.table + 1, 1, 0, 0]
    }),
    once("memory_mapping of the interrupt window", Domctl(39), |_, _| {
        [FREE_GUEST_FRAME + 2, 0xfee00, 1, 1, 0]
    }),
    both("assign_device", Domctl(37), |t, _| [0, t.sbdf(), 0, 0, 0]),
    both("test_assign_device", Domctl(45), |t, _| [0, t.sbdf(), 0, 0, 0]),
    both("deassign_device", Domctl(47), |t, _| [0, t.sbdf(), 0, 0, 0]),
    once("set_target", OwnDomctl(46), |t, _| [domain(t), 0, 0, 0, 0]),
    once("prepare_msix", Physdev(30), |t, _| [t.device(), 0, 0, 0, 0]),
    once("release_msix", Physdev(31), |t, _| [t.device(), 0, 0, 0, 0]),
    once("restore_msi", Physdev(19), |t, _| [t.short(), 0, 0, 0, 0]),
    once("restore_msi_ext", Physdev(27), |t, _| [t.device(), 0, 0, 0, 0]),
    once("pci_device_reset", Physdev(32), |t, _| [t.device() | 3 << 32, 0, 0, 0, 0]),
    once("manage_pci_add", Physdev(15), |t, _| [t.short(), 0, 0, 0, 0]),
    once("manage_pci_add_ext", Physdev(20), |t, _| [t.short(), 0, 0, 0, 0]),
    once("manage_pci_remove", Physdev(16), |t, _| [t.short(), 0, 0, 0, 0]),
    once("pci_device_add", Physdev(25), |t, _| [t.device(), 0, 0, 0, 0]),
    once("pci_device_remove", Physdev(26), |t, _| [t.device(), 0, 0, 0, 0]),
    once("inject_msi", DeviceModel(14), |_, _| TO_NOBODY),
    once("set_pci_intx_level", DeviceModel(8), |_, _| [31 << 24, 0, 0, 0, 0]),
    once("set_isa_irq_level", DeviceModel(9), |_, _| [5, 0, 0, 0, 0]),
    once("set_pci_link_route", DeviceModel(10), |_, _| [5 << 8, 0, 0, 0, 0]),
    once("apic_write", Physdev(9), |_, _| [0xfec0_0000, 0x10 | 1 << 48, 0, 0, 0]),
    once("setup_gsi", Physdev(21), |_, _| [16 | 1 << 32 | 1 << 40, 0, 0, 0, 0]),
    once("pci_mmcfg_reserved", Physdev(24), |_, _| [0xb000_0000, 0xff << 24, 0, 0, 0]),
];

/// What is only about the caller's own interrupts.
const OWN_CALLS: [Call; 7] = [
    once("get_free_pirq", Physdev(23), |_, _| [0, 0, 0, 0, 0]),
    each("irq_status_query", Physdev(5), |_, n| [n, 0, 0, 0, 0]),
    each("eoi", Physdev(12), |_, n| [n, 0, 0, 0, 0]),
    once("pirq_eoi_gmfn", Physdev(17), |_, _| [0, 0, 0, 0, 0]),
    each("alloc_irq_vector", Physdev(10), |_, n| [n, 0, 0, 0, 0]),
    each("free_irq_vector", Physdev(11), |_, n| [n, 0, 0, 0, 0]),
    each("bind_pirq", EventChannel(2), |_, n| [n | 1 << 32, 0, 0, 0, 0]),
];

const MINUS_ONE: u64 = 0xffff_ffff;

fn domain(target: &Target) -> u64 {
    target.domain.into()
}

/// struct physdev_map_pirq for the first message of the target's device, with any IRQ and PIRQ.
fn map_pirq(target: &Target, kind: u64, table: u64) -> Words {
    let any = MINUS_ONE | MINUS_ONE << 32;
    // The fourth word is the entry: the first one; of a block of messages, how many.
    [
        domain(target) | kind << 32,
        any,
        target.segment_bus | target.devfn << 32,
        u64::from(kind == 4),
        table,
    ]
}

/// The one who calls.
pub struct Caller {
    pub xen: Xen,
    pub domain: u16,
}

/// Makes every call on every target; a line for each: call, target, and which errno what numbers
/// got.
pub fn try_all(caller: &Caller, targets: &[Target]) -> String {
    let mut lines = Vec::new();
    for target in targets {
        let calls = CALLS.iter().chain(&OWN_CALLS).filter(|call| concerns(call, caller, target));
        lines.extend(calls.map(|call| {
            format!("{} | {} | {}", call.name, target.name, answers(caller, call, target))
        }));
    }
    lines.join("\n")
}

/// A target with a name such as own+other has one's domain and another's device.
fn concerns(call: &Call, caller: &Caller, target: &Target) -> bool {
    let own = OWN_CALLS.iter().any(|own| own.name == call.name);
    (!own || target.domain == caller.domain)
        && (!target.name.contains('+') || call.takes == Takes::Both)
}

/// The calls about a device's state that are dom0's, on the device at an address.
pub fn of_dom0(address: &str) -> Result<String, String> {
    let target = Target::parse(&format!("dom0=0,{address},0,0"))?;
    let caller = Caller { xen: Xen::open(0)?, domain: 0 };
    let names =
        ["prepare_msix", "release_msix", "restore_msi", "restore_msi_ext", "pci_device_reset"];
    let chosen = CALLS.iter().filter(|call| names.contains(&call.name));
    let lines: Vec<String> =
        chosen.map(|call| format!("{} | {}", call.name, answers(&caller, call, &target))).collect();
    Ok(lines.join("\n"))
}

/// ERRNO, or ERRNO:NUMBERS for each errno of a call that takes a number.
fn answers(caller: &Caller, call: &Call, target: &Target) -> String {
    if call.takes != Takes::Number {
        return make(caller, call, target, 0).to_string();
    }
    let errors: Vec<(u64, i32)> =
        (0..NUMBERS).map(|number| (number, make(caller, call, target, number))).collect();
    let mut kinds: Vec<i32> = errors.iter().map(|(_, error)| *error).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let told: Vec<String> =
        kinds.into_iter().map(|kind| format!("{kind}:{}", ranges(&errors, kind))).collect();
    told.join(" ")
}

/// The numbers with this errno, as 0-3,7.
fn ranges(errors: &[(u64, i32)], kind: i32) -> String {
    let runs = errors.chunk_by(|(_, one), (_, next)| one == next).filter(|run| run[0].1 == kind);
    let told: Vec<String> = runs
        .map(|run| match run {
            [(only, _)] => only.to_string(),
            _ => format!("{}-{}", run[0].0, run[run.len() - 1].0),
        })
        .collect();
    told.join(",")
}

fn make(caller: &Caller, call: &Call, target: &Target, number: u64) -> i32 {
    let (xen, words) = (&caller.xen, (call.words)(target, number));
    match call.by {
        Physdev(command) => xen.physdev(command, &words),
        Domctl(command) => xen.domctl(command, target.domain, &words),
        OwnDomctl(command) => xen.domctl(command, caller.domain, &words),
        EventChannel(command) => xen.event_channel(command, &words),
        DeviceModel(command) => xen.device_model(command, target.domain, &words),
    }
}
