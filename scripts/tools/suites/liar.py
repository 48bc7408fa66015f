# SPDX-License-Identifier: GPL-2.0-only
"""A device that lies while it is assigned, as one whose firmware an earlier guest took over.

What it answers is forged from outside (rig.forge), before the assignment or from then on now and
now. Two pages of the machine hold words that nobody else has: one is dom0's memory, one is another
device's. The assignment has to fail, with one line of msitrap's, or the guest sees none of these
words beside its device's table, and none of them changes.
"""

import os
import re
import struct
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from .. import console
from ..rig import DEVICES, Unexpected, forge

KIND = "e1000e"
_DEVICE = DEVICES[KIND].address
_HOOK = "/stubdom/hook"
_PAGE = 4096
# Of dom0's memory, one page of these will stand where a base address register of this size can
# point.
_PAGES, _BAR_SIZE = 64, 0x4000
_SAID = re.compile(r"msitrap: .*\b" + re.escape(_DEVICE))
# What msitrap says of a device that it accepts or lets go is no reason.
_REFUSED = re.compile(
    rf"msitrap: .*\b{re.escape(_DEVICE)}(?!: (?:managed|released))"
    rf"|assign \(\S*{re.escape(_DEVICE)}\) failed"
)
_BESIDE = re.compile(r"Beside (0x[0-9a-f]+): (0x[0-9a-f]+)$")
_LOOKED = re.compile(r"Beside: (\d+) dwords read|Beside: none")
# Registers of a type 0 header, and of e1000e's capabilities as offsets from their beginning.
_COMMAND, _HEADER_TYPE, _BARS, _CAPABILITIES = 0x04, 0x0E, 0x10, 0x34
_CONTROL, _TABLE, _PBA = 2, 4, 8
_POWER, _POWER_CONTROL, _D3HOT = 0x01, 4, 3
_MSIX, _CHAIN_SPARE = 0x11, 0x40
# For a guest that begins without a device, and is given one later.
WITHOUT_DEVICE = 'passthrough="enabled"'
# Attempts of each assignment that no guest follows.
_TIMES = 8


@dataclass
class Place:
    """Where the words that nobody else has stand, by page: address in the machine, and content."""

    memory: int = 0  # a page of dom0's
    device: int = 0  # a page of another device's
    content: dict = field(default_factory=dict)  # address: bytes

    @property
    def words(self):
        """All words of both pages."""
        return {
            word for page in self.content.values() for (word,) in struct.iter_unpack("<I", page)
        }


@dataclass(frozen=True)
class Lie:
    """One lie: `make(machine, place)` gives a forge.Lie; `flips`: it takes turns with the truth."""

    name: str
    make: Callable
    flips: bool = False


def _capability(machine, number):
    """Where a capability of the device begins."""
    return forge.capability(machine.forge.memory(forge.window(_DEVICE), 256), number)


def _msix(machine, register, value, width=4):
    return forge.Lie.of(_capability(machine, _MSIX) + register, value, width)


def _bar(machine, address):
    return forge.Lie.of(_BARS + 4 * machine.layouts[_DEVICE].msix.table_bar, address)


def _moved(machine, place):
    """Another capability of MSI-X in front of the chain, whose table is elsewhere."""
    chain = machine.forge.read(_DEVICE, _CAPABILITIES, 1)
    body = struct.pack("<BBHII", _MSIX, chain, 0x7FF, 1, 0x801)
    return forge.Lie(
        {
            _CAPABILITIES: bytes([_CHAIN_SPARE]),
            _CHAIN_SPARE: body,
            _BARS + 4: place.memory.to_bytes(4, "little"),
        }
    )


def _circle(machine, _place):
    """A chain of capabilities without an end."""
    first = machine.forge.read(_DEVICE, _CAPABILITIES, 1)
    return forge.Lie.of(first + 1, first, 1)


LIES = (
    Lie("the-table-in-memory", lambda machine, place: _bar(machine, place.memory)),
    Lie("the-table-in-another-device", lambda machine, place: _bar(machine, place.device)),
    Lie(
        "the-table-far-behind-its-bar",
        lambda machine, place: _msix(
            machine,
            _TABLE,
            (place.memory - machine.layouts[_DEVICE].msix.table) % (1 << 32) & ~7 | 3,
        ),
    ),
    Lie(
        "pending-bits-far-behind-their-bar",
        lambda machine, place: _msix(
            machine, _PBA, (place.memory - machine.layouts[_DEVICE].msix.table) % (1 << 32) & ~7 | 3
        ),
    ),
    Lie("the-table-in-ports", lambda machine, place: _msix(machine, _TABLE, 2)),
    Lie("the-table-in-no-bar", lambda machine, place: _msix(machine, _TABLE, 7)),
    Lie("a-table-of-2048-entries", lambda machine, place: _msix(machine, _CONTROL, 0x7FF, 2)),
    Lie("another-capability", _moved),
    Lie("capabilities-in-a-circle", _circle),
    Lie("a-bridge", lambda machine, place: forge.Lie.of(_HEADER_TYPE, 1, 1)),
    Lie(
        "asleep",
        lambda machine, place: forge.Lie.of(
            _capability(machine, _POWER) + _POWER_CONTROL, _D3HOT, 2
        ),
    ),
    Lie("decoding-off", lambda machine, place: forge.Lie.of(_COMMAND, 0, 2)),
    Lie("all-ones", lambda machine, place: forge.ALL_ONES),
)
_BY_NAME = {lie.name: lie for lie in LIES}


def flipping(name):
    """A lie that takes turns with the truth."""
    return replace(_BY_NAME[name], name=f"{name}-now-and-then", flips=True)


# With a guest after the assignment: those that could show it something.
SHOWN = (
    _BY_NAME["the-table-in-memory"],
    _BY_NAME["the-table-in-another-device"],
    _BY_NAME["the-table-far-behind-its-bar"],
    flipping("the-table-in-memory"),
)
SHOWN_LONG = (
    *(lie for lie in LIES if lie not in SHOWN),
    flipping("the-table-in-another-device"),
    flipping("the-table-far-behind-its-bar"),
    flipping("all-ones"),
)


@dataclass
class Seen:
    """What came of a lie."""

    place: Place = field(default_factory=Place)
    assigned: bool = False
    wrong: list = field(default_factory=list)
    said: list = field(
        default_factory=list
    )  # of assignments without a guest: (name, line, lines of Xen)


class Run:
    """One guest that is given a device that lies."""

    def __init__(self, lie):
        self.lie, self.seen = lie, Seen()

    @contextmanager
    def around(self, machine):
        """For the whole life of the guest, as a context."""
        self.seen = Seen(place=secrets(machine))
        with lying(machine, self.lie, self.seen.place):
            yield
        self.seen.wrong += changed(machine, self.seen.place)

    def script(self, life):
        """For Machine.run; it is reached when the device was assigned."""
        self.seen.assigned = True
        life.await_result()

    def judge(self, _boot, result):
        """Findings by part."""
        if (
            result.status != "SUCCESS"
            and not self.seen.assigned
            and "could not create" not in result.reason
        ):
            return {"": [f"{result.status}: {result.reason}"]}
        findings = (
            faults_of_guest(result, self.seen.place)
            if self.seen.assigned
            else faults_of_refusal(result.xen_log)
        )
        return {"": findings + self.seen.wrong}


class Assignments:
    """A device that lies in each way is assigned to a guest that is not let run, again and
    again.
    """

    def __init__(self):
        self.seen = Seen()

    @contextmanager
    def around(self, machine):
        """For the whole life of the guest, as a context."""
        self.seen = Seen(place=secrets(machine))
        yield
        self.seen.wrong += changed(machine, self.seen.place)

    def script(self, life):
        """For Machine.run."""
        machine = life.machine
        for lie in [each for lie in LIES for each in (lie, flipping(lie.name))]:
            mark = machine.mark()
            with lying(machine, lie, self.seen.place):
                status, output = machine.agent.run(
                    f"{_HOOK} storm-assign {_TIMES} {life.domain} 0000:{_DEVICE}"
                )
            if status != 0:
                raise Unexpected(f"{lie.name}: {output.strip()}")
            said = [
                line
                for line in machine.lines_after(machine.settled(mark, 0.2))
                if _REFUSED.search(line)
            ]
            self.seen.said.append((lie.name, output.strip(), said))

    def judge(self, _boot, result):
        """Findings by part."""
        word = [] if result.status == "SUCCESS" else [f"{result.status}: {result.reason}"]
        few = [] if len(self.seen.said) == 2 * len(LIES) else ["not every lie was told"]
        return {"": word + few + self.seen.wrong, "/said": faults_of_assignments(self.seen.said)}


@contextmanager
def lying(machine, lie, place):
    """A time in which the device lies."""
    way = machine.forge.flipping if lie.flips else machine.forge.lying
    with way(_DEVICE, lie.make(machine, place)):
        yield


def secrets(machine):
    """Fills the two pages with words that nobody else has, and finds out where they are."""
    mark = _page()[:16]
    pages = [mark + _page()[len(mark) :] for _ in range(_PAGES)]
    machine.agent.ask("keep", wait=60, data=forge.encoded(b"".join(pages)))
    # A base address register holds no other than a multiple of its size.
    memory = next((place for place in machine.forge.places(mark) if place % _BAR_SIZE == 0), None)
    if memory is None:
        raise console.Failure(
            f"none of {_PAGES} pages of dom0 stands at a multiple of {_BAR_SIZE:#x}"
        )
    own, other = machine.forge.memory(memory, _PAGE), _page()
    machine.doorbell.fill(other)
    device = machine.forge.read(DEVICES["ivshmem"].address, _BARS + 8) & ~0xF
    if machine.forge.memory(device, _PAGE) != other:
        raise console.Failure(
            "the page of another device is not where its base address says", "Is it another QEMU?"
        )
    return Place(memory, device, {memory: own, device: other})


def _page():
    """A page of words, none of them zero."""
    return bytes(byte or 0x5A for byte in os.urandom(_PAGE))


def changed(machine, place):
    """What of the two pages is no longer as it was."""
    if not machine.running():
        return ["the machine is gone, and the two pages with it"]
    found = []
    for address, content in place.content.items():
        now = machine.forge.memory(address, _PAGE)
        different = [
            offset
            for offset in range(0, _PAGE, 4)
            if now[offset : offset + 4] != content[offset : offset + 4]
        ]
        if different:
            found.append(
                f"{len(different)} words at {address:#x} were changed,"
                f" the first at {different[0]:#x}"
            )
    return found


def faults_of_refusal(xen_log):
    """What is wrong with an assignment that failed: msitrap says why, once."""
    said = [line for line in xen_log if _SAID.search(line)]
    return (
        []
        if len(said) == 1
        else [f"the assignment failed, and msitrap said {len(said)} lines about the device"]
    )


def faults_of_guest(result, place):
    """What is wrong with a guest that got the device: it sees only what is its device's."""
    lines = [line.strip() for line in result.console]
    if not any(_LOOKED.match(line) for line in lines):
        return [f"the guest looked at nothing ({result.status}: {result.reason})"]
    seen = [(match[1], int(match[2], 16)) for line in lines if (match := _BESIDE.match(line))]
    return [
        f"the guest saw {value:#010x} beside the table at {at}, which is not its device's"
        for at, value in seen
        if value in place.words
    ]


def faults_of_assignments(said):
    """What is wrong with assignments that no guest followed: each ends; why one was refused, Xen or
    msitrap says.
    """
    found = []
    for name, line, lines in said:
        numbers = {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", line)}
        tried, assigned = numbers.get("tried", 0), numbers.get("assigned", 0)
        if not tried or numbers.get("stuck", 1):
            found.append(f"{name}: {line or 'nothing is said'}")
        if assigned < tried and not lines:
            found.append(f"{name}: refused, and nothing says why ({line})")
    return found
