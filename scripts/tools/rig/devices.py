# SPDX-License-Identifier: GPL-2.0-only
"""The emulated devices that can be passed through, and what their configuration space says of their
interrupts.
"""

import os
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_STATUS, _CAPABILITY_LIST, _FIRST_CAPABILITY = 0x06, 1 << 4, 0x34
_MSI, _MSIX = 0x05, 0x11
# More capabilities than fit into the 192 bytes there are for them.
_LONGEST_CHAIN = 48
# Of the echo service of each network: what comes in goes back.
ECHO_PORT = 7
# Vectors of the device whose interrupts the host fires.
DOORBELL_VECTORS = 16


@dataclass(frozen=True)
class Device:
    """An emulated device that can be passed through."""

    address: str  # BUS:DEVICE.FUNCTION in the machine; bus 00
    # QEMU's name and properties, as after -device; {folder} is the machine's own; '' has no words
    # of its own
    model: str
    extra: tuple = ()  # further words of QEMU's command line before it: a drive, a network
    behind: tuple = ()  # further words after it: what is plugged into it
    # MiB of the disk {folder}/ADDRESS, made for each start of the machine; it begins with
    # `pattern()`
    disk: int = 0
    others: (
        tuple
    ) = ()  # addresses of its further functions, each a Device of its own on the command line
    physical: str = ""  # of a virtual function: its physical function, which dom0's own driver has
    hidden: bool = True  # xen-pciback takes it while dom0 starts

    @property
    def addresses(self):
        """The host addresses of all its functions."""
        return (self.address, *self.others)

    @property
    def on_command_line(self):
        """False for what QEMU makes as part of another device."""
        return bool(self.model)

    def words(self, folder):
        """Its words of QEMU's command line; `folder` holds its files."""
        if not self.on_command_line:
            return []
        words = [
            *self.extra,
            "-device",
            f"{self.model},addr={self.address.split(':')[1]}",
            *self.behind,
        ]
        return [word.replace("{folder}", str(folder)) for word in words]

    def make_disk(self, folder):
        """Makes its disk, if it has one."""
        if self.disk:
            file = Path(folder) / self.address
            file.write_bytes(pattern())
            os.truncate(file, self.disk << 20)


def _disk(address):
    return ("-drive", f"if=none,id=disk{_slot(address)},file={{folder}}/{address},format=raw")


def _network(address):
    network = f"user,id=net{_slot(address)},net=10.0.{int(_slot(address), 16)}.0/24,restrict=on"
    return ("-netdev", f"{network},guestfwd=tcp:{echo(address)}:{ECHO_PORT}-cmd:cat")


def echo(address):
    """The address of the echo service in the network of the network card at a host address."""
    return f"10.0.{int(_slot(address), 16)}.100"


def _slot(address):
    return address[3:5]


# Kinds of devices by name. Three `edu` alike, so that one boot can show differently set up pciback:
# permissive outlives a guest. Each igb keeps the sixteen functions from 0x80 above its own for
# virtual functions.
DEVICES = {
    "edu": Device("00:04.0", "edu"),
    "edu-2": Device("00:05.0", "edu"),
    "edu-3": Device("00:06.0", "edu"),
    # Not at 00:02.0, where QEMU takes any device for Intel's graphics.
    "igb": Device("00:03.0", "igb,netdev=net03", _network("00:03.0")),
    "igb-physical": Device("00:07.0", "igb,netdev=net07", _network("00:07.0"), hidden=False),
    "igbvf": Device("00:17.0", "", physical="00:07.0"),
    "intel-hda": Device("00:08.0", "intel-hda"),
    "ahci": Device(
        "00:09.0",
        "ich9-ahci,id=ahci",
        _disk("00:09.0"),
        ("-device", "ide-hd,drive=disk09,bus=ahci.0"),
        disk=16,
    ),
    "e1000e": Device("00:0a.0", "e1000e,netdev=net0a", _network("00:0a.0")),
    # A table of three pages, the last one shared with other things.
    "nvme": Device(
        "00:0b.0", "nvme,serial=msitrap,drive=disk0b,msix_qsize=600", _disk("00:0b.0"), disk=128
    ),
    "ivshmem": Device(
        "00:0c.0",
        f"ivshmem-doorbell,chardev=doorbell,vectors={DOORBELL_VECTORS}",
        ("-chardev", "socket,id=doorbell,path={folder}/doorbell"),
    ),
    "xhci": Device(
        "00:0d.0",
        "nec-usb-xhci,id=xhci",
        _disk("00:0d.0"),
        ("-device", "usb-storage,drive=disk0d,bus=xhci.0"),
        disk=16,
    ),
    "multi": Device(
        "00:0e.0", "edu,multifunction=on", behind=("-device", "edu,addr=0e.1"), others=("00:0e.1",)
    ),
}


@cache
def pattern(mebibytes=4):
    """What a disk begins with: little-endian 64-bit words, word i (from 0) is (i + 1) times an odd
    constant.
    """
    mask, step = (1 << 64) - 1, 0x9E3779B97F4A7C15
    words = mebibytes << 17
    return struct.pack(f"<{words}Q", *((number * step) & mask for number in range(1, words + 1)))


@dataclass(frozen=True)
class Msi:
    """The MSI capability of a function."""

    offset: int  # in configuration space
    wide: bool  # 64-bit address
    masks: bool  # mask and pending bits
    vectors: int  # as many as it has


@dataclass(frozen=True)
class Msix:
    """The MSI-X capability of a function."""

    offset: int  # in configuration space
    vectors: int
    table: int  # the table's address in the machine
    table_bar: int
    table_offset: int
    pba: int  # the PBA's address in the machine
    pba_bar: int
    pba_offset: int


@dataclass(frozen=True)
class Layout:
    """Where a function's interrupts are set up, read before any guest ran."""

    msi: Msi | None
    msix: Msix | None


def layout(config, bars):
    """The layout in a configuration space (bytes) of a function whose base addresses are `bars`
    (six numbers).
    """
    chain = capabilities(config)
    msi, msix = chain.get(_MSI), chain.get(_MSIX)
    return Layout(_msi(config, msi) if msi else None, _msix(config, bars, msix) if msix else None)


def capabilities(config):
    """The offsets of a function's capabilities by their number."""
    found = {}
    if not _u16(config, _STATUS) & _CAPABILITY_LIST:
        return found
    place = config[_FIRST_CAPABILITY] & ~3
    for _ in range(_LONGEST_CHAIN):
        if not place:
            break
        found.setdefault(config[place], place)
        place = config[place + 1] & ~3
    return found


def _msi(config, offset):
    control = _u16(config, offset + 2)
    return Msi(offset, bool(control & 0x80), bool(control & 0x100), 1 << (control >> 1 & 7))


def _msix(config, bars, offset):
    table, pba = struct.unpack_from("<II", config, offset + 4)
    vectors = (_u16(config, offset + 2) & 0x7FF) + 1
    table_bar, pba_bar = table & 7, pba & 7
    return Msix(
        offset,
        vectors,
        bars[table_bar] + (table & ~7),
        table_bar,
        table & ~7,
        bars[pba_bar] + (pba & ~7),
        pba_bar,
        pba & ~7,
    )


def _u16(config, offset):
    return struct.unpack_from("<H", config, offset)[0]
