# SPDX-License-Identifier: GPL-2.0-only
"""The suite `drivers`: Debian's own Linux with its own drivers as guest behind the stub domain.

A guest has several kinds of devices at once. A test is KIND/STEP: what rig/linux does with a
device, or what is done to it from dom0 meanwhile. The view from outside covers each guest from
beginning to end.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from .. import console, observe, table, xen
from ..rig import DEVICES, Guest, Machine, Unexpected, devices, prepare
from . import rig

SUITE = "drivers"
KINDS = ("nvme", "e1000e", "igb", "igbvf", "xhci", "ahci")
# Seconds a device works before something is done to it.
_LOAD = 2
_SECONDS = 480


@dataclass(frozen=True)
class Scenario:
    """One guest: what it does by itself, what is done to it, and the steps that this shows."""

    name: str
    inside: tuple  # steps of rig/linux, for each kind in turn
    shows: tuple  # steps as they are reported
    # called with the life.Life and the kinds; None awaits the guest's own end
    script: Callable | None = None
    kinds: tuple = KINDS
    vcpus: int = 1
    restarts: bool = False


@dataclass(frozen=True)
class Boot:
    """One start of the emulated machine, with guests one after another."""

    name: str
    scenarios: tuple
    variant: xen.Variant = xen.RELEASE
    iommu: str = "amd-vi"


def _unplug(life, kinds):
    """Takes each device away while it works, and gives it back."""
    for kind in kinds:
        life.await_line(f"Under load: {kind}")
        time.sleep(_LOAD)
        life.detach(DEVICES[kind].address)
        life.await_line(f"Gone: {kind}")
        life.attach(DEVICES[kind].address)
        life.await_line(f"Result of {kind}/detach-attach: ")


def _restart(life, kinds):
    """Restarts the guest while all devices work; the end comes while they work again."""
    _all_at_work(life, kinds)
    life.reboot()
    _all_at_work(life, kinds)


def _all_at_work(life, kinds):
    for kind in kinds:
        line = life.await_line(f"Result of {kind}/load: ")
        if not line.endswith("SUCCESS"):
            raise Unexpected(line)
    time.sleep(_LOAD)


OWN = Scenario("own", ("stock-driver", "affinity"), ("stock-driver", "affinity"), vcpus=2)
QUICK = Scenario("own", ("stock-driver",), ("stock-driver",), vcpus=2)
# One device per interrupt line: libxl cannot give a device back while another one of the guest's
# holds its line.
UNPLUG = Scenario(
    "unplug", ("detach-attach",), ("detach-attach",), _unplug, ("nvme", "e1000e", "ahci")
)
# libxl waits long for each device that it takes from behind a stub domain when the guest can no
# longer answer.
RESTART = Scenario(
    "restart",
    ("stock-driver", "load"),
    ("reboot", "destroy"),
    _restart,
    ("nvme", "e1000e"),
    restarts=True,
)
SCENARIOS = (OWN, UNPLUG, RESTART)


def plan(everything):
    """The boots of a run; `everything` adds the long ones."""
    boots = [Boot("amd-vi", (QUICK,))]
    if everything:
        # libxl may wait a minute for each device that it takes from behind a stub domain.
        boots = [
            Boot("amd-vi", SCENARIOS),
            Boot("debug", SCENARIOS, variant=xen.DEBUG),
            Boot("vt-d", SCENARIOS, iommu="vt-d"),
            Boot("again", SCENARIOS),
        ]
    return boots


def run(into, names=(), everything=False):
    """Runs the suite, or the scenarios and machines of these names; results go into the report
    `into`.
    """
    boots = select(plan(everything or bool(names)), names)
    ready = False
    with into.stage("drivers: images", SUITE):
        prepare(linux=True)
        ready = True
    for boot in boots if ready else ():
        with into.stage(f"drivers: {boot.name}", SUITE):
            _run_boot(into, boot)


def select(boots, names):
    """The boots with the scenarios that `names` ask for: MACHINE, SCENARIO or MACHINE/SCENARIO; all
    when empty.
    """
    known = {f"{boot.name}/{scenario.name}" for boot in boots for scenario in boot.scenarios}
    for name in names:
        if not any(f"/{name}/" in f"/{full}/" for full in known):
            raise console.Failure(
                f"there is no drivers test '{name}'", f"There are {', '.join(sorted(known))}."
            )

    def asked(boot, scenario):
        return not names or any(f"/{name}/" in f"/{boot.name}/{scenario.name}/" for name in names)

    chosen = [
        replace(boot, scenarios=tuple(s for s in boot.scenarios if asked(boot, s)))
        for boot in boots
    ]
    return [boot for boot in chosen if boot.scenarios]


def _run_boot(into, boot):
    product = xen.build(boot.variant)["gz"]
    with Machine(product, name=f"drivers-{boot.name}", iommu=boot.iommu, linux=True) as machine:
        for kind in KINDS:
            machine.make_present(DEVICES[kind].address)
        mark = machine.mark()
        for scenario in boot.scenarios:
            before, boots = rig.interrupts(machine), machine.boots
            result = machine.run(
                guest_of(scenario),
                scenario.script and partial(scenario.script, kinds=scenario.kinds),
            )
            left = (
                rig.left(before, rig.interrupts(machine))
                if machine.boots == boots and machine.running()
                else []
            )
            _judge(into, boot, scenario, result, left)
        alarms = rig.alarms(machine.lines_after(0), machine.lines_after(mark))
        rig.record(into, f"{boot.name}/no-alarm-of-xen", alarms, suite=SUITE)


def guest_of(scenario):
    """The guest of a scenario."""
    steps = ",".join(f"{kind}/{step}" for kind in scenario.kinds for step in scenario.inside)
    cards = [kind for kind in scenario.kinds if kind in ("e1000e", "igb", "igbvf")]
    echo = ",".join(
        f"{kind}:{devices.echo(DEVICES[kind].physical or DEVICES[kind].address)}" for kind in cards
    )
    return Guest(
        f"linux-{scenario.name}",
        linux=f"rig.steps={steps} rig.echo={echo}",
        vcpus=scenario.vcpus,
        memory=512,
        devices=tuple(DEVICES[kind].address for kind in scenario.kinds),
        timeout=_SECONDS,
        restarts=scenario.restarts,
    )


def _judge(into, boot, scenario, result, left):
    """Records what a guest showed, device by device."""
    into.retried(f"{SUITE}/{boot.name}/{scenario.name}", result.retries)
    said = tuple(result.console)
    console.say(
        f"{boot.name}/{scenario.name}: {result.status} {result.reason} ({result.seconds:.1f}s)"
    )
    for kind in scenario.kinds:
        place = f"{boot.name}/{kind}"
        for step in scenario.shows:
            rig.record(
                into,
                f"{place}/{step}",
                findings(scenario, kind, step, result, left),
                output=said,
                suite=SUITE,
            )
        own = only(result, DEVICES[kind].address)
        into.saw(kind, table.interrupts(own.layouts.values()))
        seen, order = outside(own, boot.iommu), tuple(observe.order(own))
        rig.record(into, f"{place}/{scenario.name}/outside", seen, output=order, suite=SUITE)


def findings(scenario, kind, step, result, left):
    """What is wrong with one step of one device."""
    if step == "destroy":
        return left or ([] if result.status == "SUCCESS" else [f"{result.status}: {result.reason}"])
    inside = scenario.inside[0] if step == "reboot" else step
    begin = f"Result of {kind}/{inside}: "
    words = [line.strip().removeprefix(begin) for line in result.console if line.startswith(begin)]
    wanted = 2 if step == "reboot" else 1
    if words == ["SUCCESS"] * wanted:
        return []
    reasons = _reasons(result.console, f"{kind}/{inside}")
    return reasons or [
        f"{len(words)} of {wanted} results ({', '.join(words) or 'none'});"
        f" {result.status}: {result.reason}"
    ]


def _reasons(lines, name):
    """The failures that a step reported."""
    found, inside = [], False
    for line in lines:
        if line.startswith("Test: "):
            inside = line.strip() == f"Test: {name}"
        elif inside and line.startswith("Failure: "):
            found.append(line.strip())
    return found


def only(result, device):
    """A result with no more than one of its devices."""
    return replace(
        result,
        layouts={device: result.layouts[device]},
        config_writes=[w for w in result.config_writes if w.device == device],
        table_writes=[w for w in result.table_writes if w.device == device],
    )


def outside(result, iommu):
    """What the view from outside finds wrong, over all times in which the device was the
    guest's.
    """
    found = [fault for held in holdings(result) for fault in observe.faults(held, iommu)]
    layout = next(iter(result.layouts.values()))
    if layout.msix and not result.table_writes:
        found.append("the trace shows no write to the MSI-X table")
    return (
        found
        if observe.enables(result)
        else [*found, "the trace shows no message interrupt switched on"]
    )


def holdings(result):
    """The result, of one device, in each time between two breaks."""
    edges = [
        0.0,
        *(edge for kept in _breaks(result) for edge in (kept.begin, kept.end) if edge),
        float("inf"),
    ]
    return [
        replace(
            result,
            config_writes=[w for w in result.config_writes if begin <= w.time < end],
            table_writes=[w for w in result.table_writes if begin <= w.time < end],
        )
        for begin, end in zip(edges[::2], edges[1::2])
    ]


def _breaks(result):
    return [kept for kept in result.breaks if set(kept.devices) & set(result.layouts)]
