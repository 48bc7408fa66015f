# SPDX-License-Identifier: GPL-2.0-only
"""The view from outside: QEMU's own trace of writes to the emulated devices' configuration space
and MSI-X tables.
"""

import os
import re
import subprocess
from dataclasses import dataclass, replace

# thread@seconds:pci_cfg_write NAME BUS:SLOT.FUNCTION @REGISTER <- VALUE
_CONFIG = re.compile(
    r"^(\d+)@(\d+\.\d+):pci_cfg_write \S+ ([0-9a-f]+):([0-9a-f]+)\.([0-7])"
    r" @0x([0-9a-f]+) <- 0x([0-9a-f]+)$"
)
# thread@seconds:memory_region_ops_write cpu CPU mr POINTER addr ADDRESS value VALUE size SIZE name
# 'msix-table'
_TABLE = re.compile(
    r"^\d+@(\d+\.\d+):memory_region_ops_write cpu (-?\d+) mr \S+ addr 0x([0-9a-f]+)"
    r" value 0x([0-9a-f]+) size (\d+) name 'msix-(?:table|pba)'$"
)
# What a machine traces from its start.
EVENTS = ("pci_cfg_write",)
# What is traced once dom0 is up. It fires for each write to any emulated register, some 20000 a
# second.
MEMORY_EVENT = "memory_region_ops_write"
# Of these, only tables are kept.
_UNKEPT = rf":{MEMORY_EVENT} .* name '(?!msix-(table|pba)')"
_ENTRY = 16


@dataclass(frozen=True)
class Write:
    """One write to the configuration space of an emulated device."""

    time: float  # seconds of the host's clock
    device: str  # host address in the machine, BUS:DEVICE.FUNCTION
    register: int  # byte offset
    value: int
    cpu: int | None  # the machine's CPU that did it; None when no CPU did
    phase: (
        str  # assign: until the guest is let run; run: from then until just before it is destroyed
    )
    dom0: frozenset = frozenset({0})  # dom0's CPUs

    @property
    def by_dom0(self):
        """True for what dom0 did: xen-pciback, or the toolstack."""
        return self.cpu in self.dom0


@dataclass(frozen=True)
class TableWrite:
    """One write to the MSI-X table of an emulated device, or to its pending bits, as the device got
    it.
    """

    time: float  # seconds of the host's clock
    device: str  # host address in the machine, BUS:DEVICE.FUNCTION
    vector: int | None  # the entry; None for the pending bits
    # byte offset in the entry: 0 and 4 address, 8 data, 12 vector control; or in the pending bits
    register: int
    value: int
    size: int  # bytes
    cpu: int | None  # the machine's CPU that did it; None when no CPU did
    phase: str  # as of Write
    dom0: frozenset = frozenset({0})  # dom0's CPUs

    @property
    def by_dom0(self):
        """True for what dom0 did."""
        return self.cpu in self.dom0


def made_by_xen(write):
    """A write that Xen made, on whichever CPU it was."""
    return replace(write, dom0=frozenset())


class Sieve:
    """Keeps of QEMU's log, which goes through a pipe, what is asked for; `log` grows while QEMU
    runs.
    """

    def __init__(self, pipe, log):
        os.mkfifo(pipe)
        with open(log, "ab") as sink:
            self.process = subprocess.Popen(
                ["grep", "-a", "-v", "-P", "--line-buffered", "-e", _UNKEPT, str(pipe)],
                stdout=sink,
                start_new_session=True,
            )

    def close(self):
        """Ends it; QEMU is gone."""
        self.process.kill()
        self.process.wait()


def parse(text, cpus):
    """The config writes in a piece of trace, as (time, device, register, value, cpu); `cpus` maps
    host threads to CPUs.
    """
    found = []
    for line in text.splitlines():
        if match := _CONFIG.match(line):
            thread, time, bus, slot, function, register, value = match.groups()
            device = f"{int(bus, 16):02x}:{int(slot, 16):02x}.{function}"
            found.append(
                (float(time), device, int(register, 16), int(value, 16), cpus.get(int(thread)))
            )
    return found


def parse_tables(text, layouts):
    """The table writes in a piece of trace, as (time, device, vector, register, value, size, cpu).

    `layouts` maps devices to devices.Layout. A write that is in no known table is left out: it is
    another device's.
    """
    found = []
    for line in text.splitlines():
        if match := _TABLE.match(line):
            time, cpu, address, value, size = match.groups()
            if place := _place(int(address, 16), layouts):
                found.append(
                    (
                        float(time),
                        *place,
                        int(value, 16),
                        int(size),
                        None if int(cpu) < 0 else int(cpu),
                    )
                )
    return found


def _place(address, layouts):
    """The device, entry and offset in it at an address of the machine."""
    for device, known in layouts.items():
        if known.msix is None:
            continue
        table, pba = address - known.msix.table, address - known.msix.pba
        if 0 <= table < known.msix.vectors * _ENTRY:
            return device, table // _ENTRY, table % _ENTRY
        if 0 <= pba < (known.msix.vectors + 63) // 64 * 8:
            return device, None, pba
    return None
