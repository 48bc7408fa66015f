# SPDX-License-Identifier: GPL-2.0-only
"""Several parties inside Xen at once: two vCPUs of a guest, dom0's two, a stub domain, each on a
processor of its own.

Each race is a guest of hvm-tests that works on its interrupts with two vCPUs, which are moved from
processor to processor meanwhile, and what dom0 and the stub domain do beside it
(rig/stubdom/storm.rs). A second caller with a device model's rights is dom0: it has them all, and
two vCPUs; libxl gives a stub domain one.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from .. import observe
from ..rig import DEVICES, Unexpected
from . import parties

_HOOK = "/stubdom/hook"
# What is repeated beside a guest lasts so many seconds; a guest's own storms last longer.
SECONDS = 5
# Seconds of the machine's time in which a guest says nothing, with a beat each half second, when
# something has stopped.
_QUIET = 15
# Where nothing of the guest's is.
_FREE_FRAME = 0xD0000
_FRAMES = 4
# Fewer times than that show nothing: each is some calls or writes.
_FEWEST = 10
# Another device that nobody has, and whose registers anybody in dom0 may write.
_FREE_DEVICE = DEVICES["edu-3"].address
# Xen's lists of message interrupts, interrupts, and domains, which walk what a guest changes.
_KEYS = "MiQ"


@dataclass(frozen=True)
class Beside:
    """What one party repeats beside a guest: words for rig/stubdom/hook.rs, and what is wrong with
    its answer.
    """

    party: str  # dom0 or stubdom
    words: Callable  # life -> words
    faults: Callable  # lines -> findings


@dataclass(frozen=True)
class Race:
    """A guest and what others do beside it."""

    name: str
    test: str  # an image of hvm-tests
    kind: str  # its device
    beside: tuple = ()
    keys: bool = False  # Xen is asked for its lists all the time
    kernel: str = "small"
    moved: bool = True  # its vCPUs change processors


@dataclass
class Seen:
    """What the parties beside a guest said."""

    said: list = field(default_factory=list)  # (Beside, lines)
    wrong: list = field(default_factory=list)


class Run:
    """One race, to be run once."""

    def __init__(self, race):
        self.race, self.seen = race, Seen()

    def script(self, life):
        """For Machine.run."""
        self.seen = Seen()
        agent = life.machine.agent
        life.await_line("Beat 1: ")
        if self.race.moved:
            agent.ask("wander", domain=life.domain, vcpus=life.guest.vcpus)
        begun = [(one, self._begin(life, one)) for one in self.race.beside]
        life.await_result(lambda: self.race.keys and agent.ask("keys", keys=_KEYS), quiet=_QUIET)
        agent.ask("stay")
        for one, number in begun:
            self.seen.said.append((one, self._end(life, one, number)))

    def _begin(self, life, one):
        if one.party == "stubdom":
            return life.begin_take_over(one.words(life))
        return life.begin_command(f"{_HOOK} {one.words(life)}")

    def _end(self, life, one, number):
        if one.party == "stubdom":
            return life.end_take_over(one.words(life))
        status, output = life.end_command(number)
        if status != 0:
            self.seen.wrong.append(
                f"dom0's '{one.words(life)}' ended with status {status}: {output.strip()}"
            )
        return output.splitlines()

    def judge(self, boot, result):
        """Findings by part."""
        word = [] if result.status == "SUCCESS" else [f"{result.status}: {result.reason}"]
        found = {"": word + self.seen.wrong, "/outside": observe.faults(result, boot.form)}
        if not observe.enables(result):
            found["/outside"].append("no message interrupt was switched on, so this shows nothing")
        found["/log"] = parties.verbose(result.xen_log) + parties.repeated(result.xen_log)
        if self.race.beside:
            found["/beside"] = [
                fault for one, lines in self.seen.said for fault in one.faults(lines)
            ]
            if len(self.seen.said) < len(self.race.beside):
                found["/beside"].append("what was to be done beside it did not come to its end")
        return found


def _numbers(lines, what):
    """NAME=NUMBER of the line that begins with a word, or {}."""
    line = next((line for line in lines if line.startswith(f"{what} ")), "")
    return {name: int(value, 0) for name, value in re.findall(r"(\w+)=(0x[0-9a-f]+|\d+)", line)}


def _tried(lines, what):
    tried = _numbers(lines, what).get("tried", 0)
    return (
        []
        if tried >= _FEWEST
        else [f"{what}: done {tried} times only ({'; '.join(lines) or 'nothing is said'})"]
    )


def faults_of_command(lines):
    """What is wrong with dom0's writes of a bit of Command: none may be lost."""
    lost = _numbers(lines, "command").get("lost", 0)
    return _tried(lines, "command") + (
        [f"{lost} of dom0's writes to Command were undone ({'; '.join(lines)})"] if lost else []
    )


def faults_of_config(lines):
    """What is wrong with dom0's writes to other registers: they must have been made."""
    return _tried(lines, "config")


def faults_of_ports(lines):
    """What is wrong with the race for the address port: what reached the device is the view from
    outside.
    """
    return _tried(lines, "ports")


def faults_of_calls(lines):
    """What is wrong with a stub domain's calls on its own guest's messages: none may work."""
    said = _numbers(lines, "calls")
    worked = [
        f"{name} {said[name]} times"
        for name in ("mapped", "bound", "unbound", "unmapped")
        if said.get(name)
    ]
    return _tried(lines, "calls") + (
        [f"calls of the stub domain worked: {', '.join(worked)}"] if worked else []
    )


def faults_of_mapping(lines):
    """What is wrong with mapping and unmapping: it must have been tried; what came of it the guest
    finds out.
    """
    return _tried(lines, "mapping")


def _address(life):
    return f"0000:{life.guest.devices[0]}"


def _target(life):
    device = life.guest.devices[0]
    msix = life.machine.layouts[device].msix
    table, pending = (msix.table, msix.pba) if msix else (0, 0)
    return f"own={life.domain},0000:{device},{table:x},{pending:x}"


def _place(life):
    table = life.machine.layouts[life.guest.devices[0]].msix.table
    return f"{_FREE_FRAME:x} {table >> 12:x} {_FRAMES:x}"


def _ports(life):
    """MSI's message address, or the table's place in an MSI-X capability, whose control register is
    in the same dword.
    """
    layout = life.machine.layouts[life.guest.devices[0]]
    register = layout.msi.offset + 4 if layout.msi else layout.msix.offset
    return f"storm-ports {SECONDS} {_address(life)} {register:x} 0000:{_FREE_DEVICE}"


COMMAND = Beside(
    "dom0", lambda life: f"storm-command {SECONDS} {_address(life)}", faults_of_command
)
BUS_MASTER = Beside(
    "dom0", lambda life: f"storm-bus-master {SECONDS} {_address(life)}", faults_of_command
)
CONFIG = Beside("dom0", lambda life: f"storm-config {SECONDS} {_address(life)}", faults_of_config)
PORTS = Beside("dom0", _ports, faults_of_ports)
CALLS = Beside("stubdom", lambda life: f"storm-calls {SECONDS} {_target(life)}", faults_of_calls)
ADD = Beside(
    "stubdom", lambda life: f"storm-add {SECONDS} {_target(life)} {_place(life)}", faults_of_mapping
)
REMOVE = Beside(
    "dom0", lambda life: f"storm-remove {SECONDS} {_target(life)} {_place(life)}", faults_of_mapping
)
MAP = Beside(
    "dom0", lambda life: f"storm-map {SECONDS} {_target(life)} {_place(life)}", faults_of_mapping
)

RACES = (
    Race("a-live-message-is-rewritten", "smp-msi-rewrite", "edu"),
    Race("a-live-block-is-rewritten", "smp-multi-rewrite", "xhci"),
    Race("live-entries-are-rewritten", "smp-msix-rewrite", "e1000e"),
    Race("on-and-off-beside-dom0s-command", "smp-on-off-storm", "e1000e", (COMMAND,)),
    Race("masks-beside-hostile-calls", "smp-mask-storm", "nvme", (CALLS,)),
    Race("table-beside-mapping", "smp-table-string", "e1000e", (ADD, REMOVE, MAP)),
    Race("on-and-off-beside-debug-keys", "smp-on-off-storm", "nvme", keys=True),
    Race("dma-faults-beside-dom0s-config", "smp-dma-fault", "edu", (CONFIG,)),
    # One writer of Command each: what two programs in dom0 undo of each other is no fault of Xen's.
    Race("command-is-as-dom0-left-it", "smp-command", "e1000e", (COMMAND,)),
)
# The same with other devices, or other registers of dom0's.
LONG_RACES = (
    Race("a-live-message-with-a-mask-is-rewritten", "smp-msi-rewrite", "igb"),
    Race("on-and-off-beside-dom0s-config", "smp-on-off-storm", "igb", (CONFIG,)),
    Race("bus-master-is-as-dom0-left-it", "smp-command", "igb", (BUS_MASTER,)),
    Race("intx-stays-disabled-beside-dom0s-command", "smp-command", "e1000e", (CONFIG,)),
)
# Ports are for a program of dom0 only under a kernel that has iopl.
PORT_RACES = (
    Race("ports-checked-for-one-device-reach-no-other", "smp-msi-rewrite", "e1000e", (PORTS,)),
)
