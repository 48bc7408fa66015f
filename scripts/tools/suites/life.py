# SPDX-License-Identifier: GPL-2.0-only
"""What happens to a device between its assignment and its release: each event as a script for a
guest at work.

The guest is one of hvm-tests that has its device raise interrupts and counts them until it is
ended. What the device's registers got is the view from outside.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from .. import console, observe
from ..rig import DEVICES, Unexpected

_DEVICES = "/sys/bus/pci/devices"
_BEATS = 3
_FREE = re.compile(r"^free_memory\s*:\s*(\d+)", re.MULTILINE)
# Xen keeps pages of its heap for the next domain; a leak of a page in each life would show beyond
# that. In MiB.
_KEPT_MEMORY = 4


@dataclass
class Seen:
    """What one event showed, besides the writes to the device."""

    wrong: list = field(default_factory=list)
    by_xen: list = field(
        default_factory=list
    )  # times (begin, end) in which Xen acts, called by dom0 and on its processor
    told_again: float = 0.0  # when a reset began after which the device must be told again
    until: float = float("inf")  # when the device ceased to be the guest's


@dataclass(frozen=True)
class Event:
    """One event: `act(life, seen)` makes it happen to a guest at work."""

    name: str
    act: Callable
    kind: str = "e1000e"
    ends: bool = False  # the guest is gone afterwards
    restored: bool = False  # the device has to be told its interrupts again


class Run:
    """One guest's life with one event in it."""

    def __init__(self, event):
        self.event, self.seen = event, Seen()

    def script(self, life):
        """For Machine.run."""
        self.seen = Seen()
        await_beats(life)
        self.event.act(life, self.seen)

    def judge(self, boot, result):
        """Findings by part."""
        word = [] if result.status == "SUCCESS" else [f"{result.status}: {result.reason}"]
        found = {"": word + self.seen.wrong, "/outside": self._outside(boot, result)}
        if self.event.restored:
            found["/told-again"] = told_again(result, self.seen.told_again)
        return found

    def _outside(self, boot, result):
        result = before(result, self.seen.until)
        found = observe.faults(observe.as_xens(result, self.seen.by_xen), boot.form)
        if not observe.enables(result):
            found.append("no message interrupt was switched on, so this shows nothing")
        return [*found, *left_on(result)] if self.event.ends else found


def before(result, end):
    """The part of a result that was written before a time."""
    return replace(
        result,
        config_writes=[w for w in result.config_writes if w.time < end],
        table_writes=[w for w in result.table_writes if w.time < end],
    )


def left_on(result):
    """Capabilities whose enable bit was set last, when the guest's life was over."""
    last = {}
    for write in result.config_writes:
        for kind, enabled, _value in observe.controls(result, write):
            last[write.device, kind] = enabled
    return [
        f"{kind} of {device} is still on" for (device, kind), enabled in last.items() if enabled
    ]


def told_again(result, begin):
    """What is missing of the message and the enable bit after a reset that began at a time."""
    later = replace(result, config_writes=[w for w in result.config_writes if w.time >= begin])
    messages = [w for w in result.table_writes if w.time >= begin and w.register != 3]
    found = [] if observe.enables(later) else ["after the reset nothing was enabled again"]
    return found if messages else [*found, "after the reset no message was written again"]


def await_beats(life):
    """Waits until a guest at work has got more interrupts."""
    found = [int(match[1]) for line in life.printed() if (match := re.match(r"Beat (\d+): ", line))]
    life.await_line(f"Beat {(found[-1] if found else 0) + _BEATS}: ")


def _run(life, command, seconds=60):
    status, output = life.machine.agent.run(command, seconds)
    return status, output.strip()


def _must(life, command, seconds=60):
    status, output = _run(life, command, seconds)
    if status != 0:
        raise Unexpected(
            f"'{command}' failed: {output.splitlines()[-1] if output else 'it said nothing'}"
        )
    return output


def _xen_acts(life, seen, command):
    """Something that dom0 does to the device and in which Xen has a hand."""
    begin = time.time()
    _must(life, command)
    seen.by_xen.append((begin, time.time()))


def _destroyed(life, seen):
    """The guest is destroyed while interrupts come."""
    _xen_acts(life, seen, f"xl destroy {life.guest.name}")


def _stub_domain_dies(life, seen):
    """Its stub domain is destroyed before the guest."""
    _xen_acts(life, seen, f"xl destroy {life.stub_domain()}")
    # xen-pciback resets a device whose front end is gone: the guest waits for interrupts that do
    # not come.
    time.sleep(1)
    _destroyed(life, seen)


def _reset(life, seen):
    """Dom0 resets the device at work; of what the device itself knew, nothing is left."""
    seen.told_again = time.time()
    _xen_acts(life, seen, f"echo 1 > {_DEVICES}/0000:{life.guest.devices[0]}/reset")


def _removed(life, seen):
    """Dom0 removes the device at work, as when it was pulled out, and finds it again."""
    _xen_acts(life, seen, f"echo 1 > {_DEVICES}/0000:{life.guest.devices[0]}/remove")
    seen.until = time.time()
    time.sleep(1)
    _must(life, "echo 1 > /sys/bus/pci/rescan")
    _destroyed(life, seen)


def _saved(life, seen):
    """Saving is refused, and the guest goes on."""
    status, output = _run(life, f"xl save {life.guest.name} /tmp/saved")
    if status == 0:
        seen.wrong.append(f"a guest with a device was saved: {output}")
    await_beats(life)


def _enabled_before(life, seen):
    """Dom0 leaves MSI on in a device, without a message of its own, that another guest gets then.
    """
    device = DEVICES["edu"].address
    control = life.machine.layouts[device].msi.offset + 2
    file = f"{_DEVICES}/0000:{device}/config"
    _must(life, f"printf '\\001' | dd of={file} bs=1 seek={control} conv=notrunc")
    if not _enabled(life, file, control):
        seen.wrong.append("dom0 could not switch MSI on in a device that nobody has")
    life.machine.run(
        _next(life, device),
        lambda _next: seen.wrong.extend(
            ["MSI is still on, with another guest about to run"]
            if _enabled(life, file, control)
            else []
        ),
    )


def _enabled(life, file, control):
    return int(_must(life, f"od -An -tu1 -j{control} -N1 {file}")) & 1


def _next(life, device):
    """A guest with another device, which is never let run."""
    return replace(life.guest, name="next", devices=(device,), paused=True)


def _lives(count):
    """Guests with a device come and go; Xen's memory is what it was."""

    def act(life, seen):
        device = DEVICES["edu"].address
        life.machine.run(_next(life, device))
        first = _free(life)
        for _ in range(count):
            result = life.machine.run(_next(life, device))
            if result.status != "SUCCESS":
                seen.wrong.append(result.reason)
        lost = first - _free(life)
        console.say(f"life: after {count} guests Xen's free memory is {lost} MiB less, of {first}")
        if lost > _KEPT_MEMORY:
            seen.wrong.append(f"{count} guests cost {lost} MiB of memory")

    return act


def _free(life):
    return int(_FREE.search(_must(life, "xl info"))[1])


EVENTS = (
    Event("destroyed-at-work", _destroyed, ends=True),
    Event("stub-domain-dies-first", _stub_domain_dies, ends=True),
    Event("reset-by-dom0", _reset, "igb", restored=True),
    Event("removed-by-dom0", _removed, ends=True),
    Event("save-is-refused", _saved),
    Event("enabled-before", _enabled_before),
    Event("three-lives", _lives(3)),
)
LONG_EVENTS = (Event("hundred-lives", _lives(100)),)
