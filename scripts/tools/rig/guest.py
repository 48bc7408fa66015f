# SPDX-License-Identifier: GPL-2.0-only
"""A guest of the emulated machine, and what became of it."""

import re
from dataclasses import dataclass, field
from pathlib import Path

# The words a guest itself can end with; CRASH and TIMEOUT are the rig's.
WORDS = ("SUCCESS", "SKIP", "ERROR", "FAILURE")
_RESULT = re.compile(rf"Test result: ({'|'.join(WORDS)})\b")
# QEMU's SVM emulation at times mixes host and guest state: the guest dies of a triple fault with
# Xen's own code segment and address in its state. Xen prints the state, then the fault.
_MIXED_STATE = re.compile(r"RIP:\s+e008:\[<ffff82d0[0-9a-f]{8}>\]")
_GUEST_STATE = re.compile(r"\*\*\* Dumping Dom(\d+) vcpu#\d+ state: \*\*\*")
_TRIPLE_FAULT = "Triple fault - invoking HVM shutdown"
# What each Linux guest's kernel is told: its console is Xen's, a panic ends it.
_LINUX = "earlyprintk=xen,keep loglevel=4 panic=-1"
# The small kernel serves dom0 too, with a driver for its igb; in a stub domain it would take the
# guest's.
_NO_IGB = "initcall_blacklist=igb_init_module"
# Lines of a register dump in which RIP stands.
_DUMP = 6


@dataclass(frozen=True)
class Guest:
    """An HVM guest to run."""

    name: str
    image: Path | None = None  # a 32-bit ELF started in place of a firmware; None for Linux
    linux: str = ""  # for Linux, words of its kernel's command line: what rig/linux is to do
    vcpus: int = 1
    memory: int = 32  # MiB
    devices: (
        tuple
    ) = ()  # host addresses, BUS:DEVICE.FUNCTION; each gets a slot of its own in the guest
    device_model: str = "stubdom"  # or dom0: where QEMU runs
    pciback: str = "default"  # or permissive, interrupt-control
    stubdom_hook: str = (
        ""  # words for rig/stubdom/hook.rs, run in the stub domain before the guest starts
    )
    restarts: bool = False  # a reboot makes a new domain of it
    paused: bool = False  # not let run, except by a script
    timeout: float = 60  # seconds from its start to its last line
    config: str = ""  # further lines of xl's configuration


@dataclass
class Break:
    """A time in which devices were not the guest's: detached, or while it restarted. Seconds of the
    host's clock.
    """

    devices: tuple
    begin: float
    end: float | None = None  # None: they never came back
    run: float | None = (
        None  # when it was given back, or the guest spoke again; until then the toolstack assigns
    )


@dataclass
class Result:
    """What became of a guest."""

    # SUCCESS, SKIP, ERROR, FAILURE, CRASH or TIMEOUT; of a paused guest SUCCESS: it was set up
    status: str
    reason: str  # one sentence, '' on success
    console: list = field(default_factory=list)  # what the guest printed, line by line
    config_writes: list = field(
        default_factory=list
    )  # trace.Write, from assignment to just before the end
    table_writes: list = field(default_factory=list)  # trace.TableWrite, likewise
    layouts: dict = field(
        default_factory=dict
    )  # devices.Layout of each of its devices, by host address
    breaks: list = field(default_factory=list)  # Break, in the order they happened
    hook: str = ""  # what the stub domain's hook printed
    dom0_log: list = field(
        default_factory=list
    )  # what dom0's kernel (pciback) said to the hook's attempt
    interrupts: str = ""  # Xen's debug keys i and M, taken after the hook
    seconds: float = 0.0
    retries: int = 0  # times the emulator's own fault ended it and it was run again
    xen_log: list = field(default_factory=list)  # all of Xen's console meanwhile
    stacks: list = field(
        default_factory=list
    )  # where the machine's CPUs were when it did not go on
    device_model_log: str = ""  # what QEMU, and the stub domain's kernel, printed


def printed_by(lines, domain):
    """What a domain printed itself, from Xen's console."""
    mark = f"(d{domain}) "
    return [line.split(mark, 1)[1] for line in lines if mark in line]


def result_word(printed):
    """The last word of a guest in XTF's form, or None."""
    for line in reversed(printed):
        if found := _RESULT.search(line):
            return found[1]
    return None


def reason_of(printed, word):
    """Why a guest did not succeed: the line before its last that says so."""
    if word == "SUCCESS":
        return ""
    said = [line.strip() for line in printed if line.strip() and not _RESULT.search(line)]
    marked = [line for line in said if line.lower().startswith(word.lower())]
    return (marked or said or ["it gave no reason"])[-1]


def emulator_fault(lines):
    """True when a guest died of exactly the emulator's known fault."""
    if not any(_TRIPLE_FAULT in line for line in lines):
        return False
    for index, line in enumerate(lines):
        if _GUEST_STATE.search(line):
            return any(_MIXED_STATE.search(near) for near in lines[index : index + _DUMP])
    return False


def config(guest, image, cpus):
    """The guest's configuration in xl's form."""
    lines = [
        'type="hvm"',
        f'name="{guest.name}"',
        *_program(guest, image),
        f"vcpus={guest.vcpus}",
        f"memory={guest.memory}",
        'vga="none"',
        "vnc=0",
        'on_crash="preserve"',
        'on_poweroff="preserve"',
        f'on_reboot="{"restart" if guest.restarts else "preserve"}"',
        'on_watchdog="preserve"',
        'device_model_version="qemu-xen"',
        cpus,
    ]
    if guest.devices:
        lines.append(f"pci={[_passed(guest, device) for device in guest.devices]}")
    if guest.device_model == "stubdom":
        ramdisk = "/stubdom/ramdisk" if guest.image else "/linux/stubdom-ramdisk"
        lines += [
            "device_model_stubdomain_override=1",
            'stubdomain_kernel="/stubdom/vmlinux"',
            f'stubdomain_ramdisk="{ramdisk}"',
            "stubdomain_memory=256",
            f'stubdomain_cmdline="console=hvc0 loglevel=5 xen_privcmd.unrestricted=1 {_NO_IGB}"',
        ]
    return "\n".join([*lines, guest.config]) + "\n"


def _program(guest, image):
    """What the guest starts. QEMU opens Linux' files where it runs: in the stub domain's
    ramdisk.
    """
    if guest.image:
        return [f'firmware_override="{image}"']
    words = f"{_LINUX} {guest.linux}"
    return ['kernel="/linux/bzImage"', 'ramdisk="/linux/ramdisk"', f'cmdline="{words}"']


def _passed(guest, device):
    return f"{device},permissive=1" if guest.pciback == "permissive" else device
