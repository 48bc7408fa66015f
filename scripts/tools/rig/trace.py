# SPDX-License-Identifier: GPL-2.0-only
"""The view from outside: QEMU's own trace of config writes to the emulated devices."""

import re
from dataclasses import dataclass

# thread@seconds:pci_cfg_write NAME BUS:SLOT.FUNCTION @REGISTER <- VALUE
_LINE = re.compile(
    r"^(\d+)@(\d+\.\d+):pci_cfg_write \S+ ([0-9a-f]+):([0-9a-f]+)\.([0-7]) @0x([0-9a-f]+) <- 0x([0-9a-f]+)$"
)
# The events a machine traces.
EVENTS = ("pci_cfg_write",)


@dataclass(frozen=True)
class Write:
    """One write to the configuration space of an emulated device."""

    time: float  # seconds of the host's clock
    device: str  # host address in the machine, BUS:DEVICE.FUNCTION
    register: int  # byte offset
    value: int
    cpu: int | None  # the machine's CPU that did it: 0 is dom0's; None when no CPU did
    phase: str  # assign: until the guest is let run; run: from then until just before it is destroyed

    @property
    def by_dom0(self):
        """True for what dom0 did: xen-pciback, or the toolstack."""
        return self.cpu == 0


def parse(text, cpus):
    """The writes in a piece of trace, as (time, device, register, value, cpu); `cpus` maps host threads to CPUs."""
    found = []
    for line in text.splitlines():
        if match := _LINE.match(line):
            thread, time, bus, slot, function, register, value = match.groups()
            device = f"{int(bus, 16):02x}:{int(slot, 16):02x}.{function}"
            found.append((float(time), device, int(register, 16), int(value, 16), cpus.get(int(thread))))
    return found
