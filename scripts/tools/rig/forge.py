# SPDX-License-Identifier: GPL-2.0-only
"""A device that lies: its registers changed from outside, by no CPU of the machine.

Two ways. QEMU's qtest writes to configuration space as a bus would: the emulated device itself
changes, its base addresses move. And what the device answers is an array in QEMU's memory, which is
this program's child: a write there changes only the answer, of registers that no bus could change
as well.
"""

import base64
import contextlib
import os
import re
import socket
import threading
import time
from dataclasses import dataclass

from .. import console
from . import devices

# The window of configuration space (ECAM) of QEMU's q35, where its firmware and Xen expect it.
WINDOW = 0xB0000000
_CONFIG, _PAGE = 256, 4096
_CACHE_LINE_SIZE = 0x0C
_BARS = range(0x10, 0x28)
# The machine's memory is one larger mapping; QEMU's own objects are in smaller ones.
_MOST = 1 << 30
# What is read of it at once.
_SLICE = 64 << 20
_MAPPING = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) rw-p \S+ \S+ 0\s*(?:\[heap\])?$")
_ANSWER_SECONDS = 30
# Seconds between two changes of a register that flips: as fast as QEMU gets to run beside it.
_PAUSE = 0.0002
_WIDTHS = {1: "b", 2: "w", 4: "l"}


@dataclass(frozen=True)
class Lie:
    """What a device says in place of the truth: bytes by register."""

    values: dict  # register: bytes

    @classmethod
    def of(cls, register, value, width=4):
        """One register."""
        return cls({register: value.to_bytes(width, "little")})


ALL_ONES = Lie({0: b"\xff" * _CONFIG})


def words(path):
    """QEMU's words for a door to qtest."""
    return ["-qtest", f"unix:{path},server=on,wait=off", "-qtest-log", "none"]


class Forge:
    """The registers of a machine's devices, by host address; `process` is QEMU's."""

    def __init__(self, path, process):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(_ANSWER_SECONDS)
        self.socket.connect(str(path))
        self.lines = self.socket.makefile("rw", encoding="ascii", newline="\n")
        self.lock = threading.Lock()
        self.process, self.known = process, {}

    def close(self):
        """Ends it; QEMU is gone, or goes on without."""
        self.lines.close()
        self.socket.close()

    def ask(self, command):
        """The answer to one command of qtest: its words after OK."""
        with self.lock:
            self.lines.write(f"{command}\n")
            self.lines.flush()
            while (
                not (answer := self.lines.readline()).startswith(("OK", "FAIL", "ERR")) and answer
            ):
                continue
        if not answer.startswith("OK"):
            raise console.Failure(
                f"QEMU's qtest does not take '{command}': {answer.strip() or 'it is gone'}"
            )
        return answer.split()[1:]

    def memory(self, address, size):
        """Bytes at an address of the machine."""
        return bytes.fromhex(self.ask(f"read {address:#x} {size:#x}")[0].removeprefix("0x"))

    def read(self, device, register, width=4):
        """A register of a device, in bytes of so many."""
        return int.from_bytes(self.memory(window(device) + register, width), "little")

    def write(self, device, register, value, width=4):
        """Writes a register as a bus would: the device itself changes."""
        self.ask(f"write{_WIDTHS[width]} {window(device) + register:#x} {value:#x}")

    def places(self, mark):
        """Where in the machine's memory pages stand that begin so."""
        with _Memory(self.process) as memory:
            found = [
                at - begin
                for begin, end in ram(self.process)
                for at in memory.places(begin, end, mark)
            ]
        return [
            place for place in found if place % _PAGE == 0 and self.memory(place, len(mark)) == mark
        ]

    def answers(self, device):
        """Where the device's answers stand in QEMU's memory."""
        if device not in self.known:
            self.known[device] = self._find(device)
        return self.known[device]

    def lying(self, device, lie):
        """A time in which the device answers with the lie, wherever it would answer with the truth.

        What it answers to a write stays: the size of a base address register is read by writing to
        it.
        """
        return self._answering(device, lie, _insist)

    def flipping(self, device, lie):
        """A time in which the device answers now with the truth and now with the lie."""
        return self._answering(device, lie, _flip)

    @contextlib.contextmanager
    def _answering(self, device, lie, how):
        place, over = self.answers(device), threading.Event()
        with _Memory(self.process) as memory:
            truth = {
                offset: memory.read(place + offset, len(data))
                for offset, data in lie.values.items()
            }
            thread = threading.Thread(
                target=how, args=(memory, place, truth, lie.values, over), daemon=True
            )
            thread.start()
            try:
                yield
            finally:
                over.set()
                thread.join()
                # QEMU may be gone by then.
                with contextlib.suppress(OSError, console.Failure):
                    self._tell(device, memory, place, truth)

    def _tell(self, device, memory, place, truth):
        """Puts the truth back; a base address that was written back as it was read has moved."""
        for offset, data in truth.items():
            memory.write(place + offset, data)
            for register in range(max(offset, _BARS.start), min(offset + len(data), _BARS.stop), 4):
                self.write(
                    device, register, int.from_bytes(data[register - offset :][:4], "little")
                )

    def _find(self, device):
        """The one place whose bytes are the device's and change with it."""
        known = self.memory(window(device), _CONFIG)
        with _Memory(self.process) as memory:
            found = [
                place
                for begin, end in mappings(self.process)
                for place in memory.places(begin, end, known[:64])
            ]
            size = known[_CACHE_LINE_SIZE]
            self.write(device, _CACHE_LINE_SIZE, size ^ 0x50, 1)
            found = [
                place
                for place in found
                if memory.read(place + _CACHE_LINE_SIZE, 1)[0] == size ^ 0x50
            ]
            self.write(device, _CACHE_LINE_SIZE, size, 1)
            found = [
                place for place in found if memory.read(place + _CACHE_LINE_SIZE, 1)[0] == size
            ]
        if len(found) != 1:
            raise console.Failure(
                f"QEMU's memory holds the registers of {device} {len(found)} times",
                "Is it another QEMU?",
            )
        return found[0]


def window(device):
    """Where the configuration space of a device on bus 0 begins: BUS:DEVICE.FUNCTION."""
    bus, rest = device.split(":")
    slot, function = rest.split(".")
    return WINDOW + (int(bus, 16) << 20 | int(slot, 16) << 15 | int(function) << 12)


def encoded(content):
    """Bytes as dom0's agent takes them."""
    return base64.b64encode(content).decode()


def capability(config, number):
    """Where a capability begins in a configuration space."""
    found = devices.capabilities(config).get(number)
    if found is None:
        raise console.Failure(f"the device has no capability {number:#x}")
    return found


def mappings(process, text=None):
    """The memory of a process in which its objects can be, as (begin, end)."""
    return [(begin, end) for begin, end in _all(process, text) if end - begin < _MOST]


def ram(process, text=None):
    """The mapping that is the machine's memory, all of which is below the hole for devices."""
    return [(begin, end) for begin, end in _all(process, text) if end - begin >= _MOST]


def _all(process, text):
    if text is None:
        with open(f"/proc/{process}/maps", encoding="ascii") as file:
            text = file.read()
    return [
        (int(match[1], 16), int(match[2], 16))
        for line in text.splitlines()
        if (match := _MAPPING.match(line))
    ]


class _Memory:
    """The memory of a process that this one may change: it started it."""

    def __init__(self, process):
        try:
            self.file = os.open(f"/proc/{process}/mem", os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise console.Failure(
                f"QEMU's memory cannot be opened ({error})",
                "Does a setting (ptrace_scope) forbid it?",
            ) from error

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        os.close(self.file)

    def read(self, place, size):
        """Bytes at a place."""
        return os.pread(self.file, size, place)

    def write(self, place, data):
        """Puts bytes at a place."""
        os.pwrite(self.file, data, place)

    def places(self, begin, end, wanted):
        """Where some bytes stand."""
        found = set()
        for start in range(begin, end, _SLICE):
            try:
                # What lies across the end of a slice is in the next one, too.
                content = self.read(start, min(_SLICE + len(wanted), end - start))
            except OSError:
                continue
            at = content.find(wanted)
            while at >= 0:
                found.add(start + at)
                at = content.find(wanted, at + 1)
        return sorted(found)


def _flip(memory, place, truth, lie, over):
    with contextlib.suppress(OSError):
        while not over.is_set():
            for said in (lie, truth):
                for offset, data in said.items():
                    memory.write(place + offset, data)
                time.sleep(_PAUSE)


def _insist(memory, place, truth, lie, over):
    with contextlib.suppress(OSError):
        while not over.is_set():
            for offset, data in lie.items():
                if memory.read(place + offset, len(data)) == truth[offset]:
                    memory.write(place + offset, data)
            time.sleep(_PAUSE)
