# SPDX-License-Identifier: GPL-2.0-only
"""The suite `rig`: the emulated machine with msitrap's Xen, and guests judged from inside and
outside.
"""

import difflib
import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from .. import console, debian, guests, observe, paths, report, table, xen
from ..rig import DEVICES, ONE_EACH, SMP, Guest, Machine, Processors, emulator, prepare
from . import flask, liar, life, parties, smp

SUITE = "rig"
# What a hypervisor says when something is wrong with it.
_ALARM = re.compile(
    r"\bWARN|\bBUG\b|Assertion|Xen call trace|Xen WARN|Panic on CPU|lock.*(order|recursion)|UBSAN",
    re.I,
)
LEARNED = "learned as the guest's function"
UNMANAGED = "not managed, and interrupt remapping is off"
# The guest's own words when an expected interrupt of MSI did not come.
NOTHING_CAME = re.compile(r"expected \d+ of vector 0x[0-9a-f]+ on vCPU \d+, saw")
_WORDS = {"SUCCESS": report.PASS, "SKIP": report.SKIP}
# What every Xen and IOMMU has to show; each finds Xen on another path.
_SUBSET = {
    "edu": (
        "msi-deliver",
        "msi-rewrite",
        "msi-widths",
        "msi-bad-address",
        "xsa-16-map-pirq",
        "xsa-356-retarget",
        "shutdown-in-flight",
    ),
    "e1000e": (
        "msi-deliver",
        "msix-deliver",
        "msix-function-mask",
        "msix-linux-order",
        "msix-widths",
        "msix-bad-address",
        "msix-affinity",
        "msix-bar-move",
        "msix-decode-off",
        "modes-in-turn",
        "msix-race",
        "bar-places",
        "pirq-own",
        "xsa-43-log-flood",
        "shutdown-in-flight",
    ),
    "xhci": ("msi-multi-deliver", "msi-multi-change", "msi-multi-affinity"),
    "igbvf": ("msix-deliver", "msix-mask-loop", "msix-affinity"),
}


@dataclass(frozen=True)
class Probe:
    """One life of a guest and how it is judged: `judge(boot, result)` gives findings by test name
    ('' is its own).
    """

    name: str
    guest: Callable  # images by name -> Guest
    judge: Callable
    test: guests.Test | None = (
        None  # the image that judges from inside, with those of its tests to run
    )
    script: Callable | None = None  # what is done to the guest while it runs: given its life.Life
    attack: parties.Attack | None = None  # its script, when that is one
    around: Callable = (
        lambda _machine: nullcontext()
    )  # what holds from before its life until after, as a context

    @property
    def names(self):
        """What it can be asked for by, machine apart: DEVICES/TEST of each test inside, or its own
        name.
        """
        return (
            [f"{_kind(self.test)}/{name}" for name in self.test.tests] if self.test else [self.name]
        )

    def only(self, names):
        """The probe with no more tests than `names` names, or None without any."""
        kept = tuple(name for name in self.names if name in names)
        if not kept or not self.test:
            return self if kept else None
        return _functional(replace(self.test, tests=tuple(name.split("/")[1] for name in kept)))


@dataclass(frozen=True)
class Boot:
    """One start of the emulated machine, and what is run on it."""

    name: str
    probes: tuple
    variant: xen.Variant = xen.RELEASE
    options: str = ""
    iommu: str = "amd-vi"
    kernel: str = "small"
    product: Path | None = None  # a Xen from elsewhere, in place of the variant's
    trapped: bool = True  # msitrap manages devices
    remapped: bool = True  # with interrupt remapping
    processors: Processors = ONE_EACH
    forging: bool = False  # devices can be made to lie
    labelled: bool = False  # FLASK enforces a policy, and its devices have a label

    @property
    def form(self):
        """The form of the messages that Xen makes (observe.FORMS)."""
        return self.iommu if self.remapped else "none"

    @property
    def names(self):
        """What its tests can be asked for by."""
        return [f"{self.name}/{name}" for probe in self.probes for name in probe.names]

    def only(self, names):
        """The boot with no more tests than `names` names."""
        mine = {
            name.removeprefix(f"{self.name}/") for name in names if name.startswith(f"{self.name}/")
        }
        return replace(
            self, probes=tuple(kept for probe in self.probes if (kept := probe.only(mine)))
        )


def run(into, names=(), everything=False):
    """Runs the suite, or the tests of these names; results go into the report `into`."""
    images, qemu = {}, None
    with into.stage("rig: images", SUITE):
        qemu = emulator.find(debian.Archive().ready())
        images = guests.build()
    if not images:
        return
    everything = everything or bool(names)
    boots = plan(images, everything)
    chosen = select(boots, images, names)
    if bare := Boot("bare", bare_probes(images, everything)).only(chosen).probes:
        with into.stage("rig: guests on plain hardware", SUITE):
            _run_bare(into, [probe.test for probe in bare], qemu)
    kept = [kept for boot in boots if (kept := boot.only(chosen)).probes]
    run_boots(into, kept, images)
    parties.write(
        {boot.name: probe.attack for boot in kept for probe in boot.probes if probe.attack}
    )


def run_boots(into, boots, images):
    """Runs the probes of each boot."""
    ready = False
    with into.stage("rig: images", SUITE):
        if boots:
            prepare()
        ready = True
    for boot in boots if ready else ():
        with into.stage(f"rig: {boot.name}", SUITE):
            _run_boot(into, boot, images)


def names_of(boots, images):
    """The full names of all that can be asked for."""
    return [name for boot in (Boot("bare", bare_probes(images)), *boots) for name in boot.names]


def select(boots, images, names):
    """The full names that `names` ask for: all when empty, else by full name, or by machine, device
    or test in it.
    """
    known = names_of(boots, images)
    chosen = set()
    for name in names:
        found = [full for full in known if f"/{name}/" in f"/{full}/"]
        if not found:
            words = {part for full in known for part in (full, *full.split("/"))}
            near = difflib.get_close_matches(name, sorted(words), 5, 0.4)
            raise console.Failure(
                f"there is no rig test '{name}'",
                f"Near it: {', '.join(near) or ', '.join(sorted(words)[:5])}.",
            )
        chosen.update(found)
    return chosen if names else set(known)


def plan(images, everything):
    """The boots of a run; `everything` adds the long ones."""
    functional = _whole_or_quick(map(_functional, images_of_devices(images)), everything)
    subset = {f"{kind}/{test}" for kind, tests in _SUBSET.items() for test in tests}
    few = _chosen(functional, subset)
    events, long = (
        tuple(_event(images, event) for event in chosen)
        for chosen in (life.EVENTS, life.LONG_EVENTS)
    )
    boots = [
        # Last, because xen-pciback stays permissive with a device for as long as the machine runs.
        Boot("amd-vi", (*functional, _doorbell(images["msix-doorbell"]), _hostile(images))),
        Boot("vt-d", few, iommu="vt-d"),
        Boot("life", events),
        Boot("smp", _races(images, smp.RACES), processors=SMP),
        Boot("liar", (*_lies(images, liar.SHOWN), _assignments(images)), forging=True),
        Boot(
            "off",
            (_missing("msi-deliver"), _hostile(images, managed=False)),
            options="msitrap=off",
            trapped=False,
        ),
        Boot(
            "no-remapping",
            (_unmanaged("msi-deliver"),),
            options="iommu=no-intremap",
            trapped=False,
            remapped=False,
        ),
        Boot(
            "no-remapping-managed",
            _chosen(functional, {"e1000e/msi-deliver", "e1000e/msix-deliver"}),
            options="iommu=no-intremap msitrap=no-require-intremap",
            remapped=False,
        ),
    ]
    if everything:
        boots += [
            Boot("debug", (*functional, _hostile(images)), variant=xen.DEBUG),
            Boot("debug-life", (*events, *long), variant=xen.DEBUG),
            Boot("vt-d-whole", (*functional, _hostile(images)), iommu="vt-d"),
            Boot("stock-kernel", (*functional, _hostile(images, kernel="stock")), kernel="stock"),
            Boot(
                "phantom",
                _of_device(functional, "e1000e"),
                options=f"pci-phantom={DEVICES['e1000e'].address[:5]},1",
            ),
            Boot("smp-long", _races(images, smp.LONG_RACES), processors=SMP),
            Boot("smp-ports", _races(images, smp.PORT_RACES), processors=SMP, kernel="stock"),
            Boot("smp-debug", _races(images, smp.RACES), variant=xen.DEBUG, processors=SMP),
            *(Boot(f"smp-again-{n}", _races(images, smp.RACES), processors=SMP) for n in (1, 2)),
            Boot("liar-long", _lies(images, liar.SHOWN_LONG), forging=True),
            Boot("flood", (_functional(images["log-flood-million"]),)),
            Boot(
                "xsm",
                _chosen(functional, {"edu/msi-deliver", "e1000e/msix-deliver"}),
                variant=xen.XSM,
                options="flask=enforcing",
                labelled=True,
            ),
            Boot("alone", tuple(_functional(test) for test in images.values() if test.functional)),
            *(Boot(f"again-{n}", (*functional, _hostile(images))) for n in (1, 2)),
        ]
    return boots


def _chosen(probes, names):
    """The probes with no more tests than these, DEVICES/TEST."""
    return tuple(kept for probe in probes if (kept := probe.only(names)))


def _whole_or_quick(probes, everything):
    """The probes; but for everything without the races of two vCPUs, which have one CPU between
    them here: they are for the machine `smp`.
    """
    probes = tuple(probes)
    quick = {name for probe in probes for name in probe.names if "/smp-" not in name}
    return probes if everything else _chosen(probes, quick)


def _of_device(probes, kind):
    return tuple(probe for probe in probes if probe.test.devices == (kind,))


def images_of_devices(images):
    """The images that together run each test on each device: the batches, and the tests that are in
    none.
    """
    batches = [test for test in images.values() if test.batch]
    batched = {name for batch in batches for name in batch.tests}
    return [
        *batches,
        *(test for test in images.values() if test.functional and test.name not in batched),
    ]


def bare_probes(images, everything=True):
    """The guests that plain hardware can pass, with the tests that hold there."""
    probes = _whole_or_quick(map(_functional, images_of_devices(images)), everything)
    holds = {f"/{name}" for name, test in images.items() if test.bare != "no"}
    kept = (
        probe.only([name for name in probe.names if name[name.index("/") :] in holds])
        for probe in probes
    )
    return tuple(filter(None, kept))


def _run_bare(into, tests, qemu):
    for test in tests:
        outcome = guests.run_bare(test, qemu, test.tests)
        _add_parts(into, f"bare/{_kind(test)}", outcome.parts, outcome)


def _add_parts(into, place, parts, outcome):
    """Records each test of an image at `place`, and that the image came to its end when there are
    several.
    """
    several = len(parts) > 1
    for part in parts:
        reason = "" if part.status == "SUCCESS" else f"{part.status}: {part.reason}"
        if part.status in ("CRASH", "MISSING"):
            reason += f" ({outcome.status}: {outcome.reason})"
        word, seconds = _WORDS.get(part.status, report.FAIL), 0.0 if several else outcome.seconds
        into.add(
            report.Case(SUITE, f"{place}/{part.name}", word, seconds, reason, part.lines),
            quiet=several,
        )
    if several:
        ended = outcome.status in ("SUCCESS", "SKIP", "ERROR", "FAILURE")
        passed = sum(part.status == "SUCCESS" for part in parts)
        console.say(f"{place}: {passed} of {len(parts)} tests passed")
        record(
            into,
            f"{place}/ran",
            [] if ended else [f"{outcome.status}: {outcome.reason}"],
            outcome.seconds,
        )


def _kind(test):
    """The devices of an image in one word."""
    return "-".join(test.devices)


def _run_boot(into, boot, images):
    product = boot.product or xen.build(boot.variant)["gz"]
    used = sorted({device for probe in boot.probes for device in probe.guest(images).devices})
    with Machine(
        product,
        name=boot.name,
        xen_options=boot.options,
        iommu=boot.iommu,
        kernel=boot.kernel,
        processors=boot.processors,
        forging=boot.forging,
        labels=dict.fromkeys(used, flask.LABEL) if boot.labelled else None,
    ) as machine:
        # dom0's driver of a physical function takes interrupts of its own when it makes virtual
        # ones.
        for device in used:
            machine.make_present(device)
        before = interrupts(machine)
        boots, mark = machine.boots, machine.mark()
        for probe in boot.probes:
            _run_probe(into, boot, machine, probe, images)
        if boot.trapped and machine.boots == boots:
            record(into, f"{boot.name}/leaves-no-interrupt", left(before, interrupts(machine)))
        record(
            into,
            f"{boot.name}/no-alarm-of-xen",
            alarms(machine.lines_after(0), machine.lines_after(mark)),
        )
        if boot.labelled:
            record(into, f"{boot.name}/no-denial", flask.denials(machine.lines_after(0)))
            guest = guest_of(images["idle"], devices=(flask.UNLABELLED,), paused=True)
            record(into, f"{boot.name}/unlabelled", flask.let_pass(machine.run(guest)))


def alarms(everything, later):
    """The alarms of Xen in the lines `later`, without those it also gave while it started: they are
    the emulator's.
    """
    early = {line for line in everything[: len(everything) - len(later)] if _ALARM.search(line)}
    return [line for line in later if _ALARM.search(line) and line not in early]


def _run_probe(into, boot, machine, probe, images):
    if not machine.running():
        machine.boot()
    with probe.around(machine):
        result = machine.run(probe.guest(images), probe.script)
    name = f"{boot.name}/{probe.name}"
    into.retried(f"{SUITE}/{name}", result.retries)
    if probe.test:
        into.saw(_kind(probe.test), table.interrupts(result.layouts.values()))
        _add_parts(
            into,
            f"{boot.name}/{_kind(probe.test)}",
            guests.parts(probe.test, result.console),
            result,
        )
    for part, findings in probe.judge(boot, result).items():
        seconds = 0 if part else result.seconds
        record(into, name + part, findings, seconds, tuple(_relevant(result, part)))


def record(into, name, findings, seconds=0.0, output=(), suite=SUITE):
    """Records a test that has these findings; none is a pass."""
    word = report.FAIL if findings else report.PASS
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    into.add(
        report.Case(suite, name, word, seconds, f"{findings[0]}{more}" if findings else "", output)
    )


def _relevant(result, part):
    """The lines that tell most of a failure: the device's registers for the view from outside, else
    the guest's words.
    """
    if part.endswith("/outside"):
        return observe.order(result)
    if result.stacks:
        return [*(result.console or result.xen_log)[-2:], *result.stacks]
    return result.console or result.xen_log[-20:]


def _functional(test):
    """An image that judges from inside, alone or a batch, seen from outside as well."""
    name = _kind(test) if test.batch else f"{_kind(test)}/{test.name}"
    return Probe(
        name,
        lambda images: guest_of(_planned(test, images)),
        lambda boot, result: _judge(boot, test, result),
        test,
    )


def _planned(test, images):
    """The test, with an image that runs no more than it names."""
    whole = images[test.name]
    if test.tests == whole.tests:
        return whole
    image = paths.OUT / "rig" / f"{test.name}.image"
    image.parent.mkdir(parents=True, exist_ok=True)
    image.write_bytes(guests.planned(whole.image.read_bytes(), test.devices, test.tests))
    return replace(test, image=image)


def guest_of(test, **options):
    """The guest that runs an image, with its devices."""
    devices = tuple(address for kind in test.devices for address in DEVICES[kind].addresses)
    known = {
        "vcpus": test.vcpus,
        "devices": devices,
        "timeout": test.seconds,
        "config": test.config,
    }
    return Guest(test.name, test.image, **{**known, **options})


def _judge(boot, test, result):
    outside = observe.faults(result, boot.form, test.enables != "never")
    if not any(w.phase == "run" for w in result.config_writes):
        outside.append("the trace shows no write of this guest's device at all")
    if (
        test.batch
        and any(name.startswith("msix-") for name in test.tests)
        and not result.table_writes
    ):
        outside.append("the trace shows no write to an MSI-X table")
    unlearned = [
        f"Xen did not log '{LEARNED}' of {device}"
        for device in result.layouts
        if not any(LEARNED in line and device in line for line in result.xen_log)
    ]
    return {
        "/outside": outside,
        "/learned": unlearned,
        "/log": parties.verbose(result.xen_log) + parties.repeated(result.xen_log),
    }


def _word(result):
    return [] if result.status == "SUCCESS" else [f"{result.status}: {result.reason}"]


def _doorbell(test):
    """The guest whose vectors are fired from outside, when it asks for them."""
    return Probe(
        f"{_kind(test)}/{test.name}",
        lambda _images: guest_of(test),
        lambda boot, result: {"": _word(result), **_judge(boot, test, result)},
        script=_fire,
    )


def _fire(life):
    """Fires each vector that the guest asks for: 'Fire TURN of TURNS: VECTOR'."""
    turn, turns = 1, 1
    while turn <= turns:
        said = life.await_line(f"Fire {turn} of ").replace(":", "").split()
        turns = int(said[3])
        life.machine.ring(int(said[4]))
        turn += 1
    life.await_result()


def _missing(name):
    """With msitrap off the 2017 bug must be back: the guest's own words, and no enable seen
    outside.
    """

    def judge(_boot, result):
        findings = (
            []
            if silent(result)
            else [
                "the interrupts came, or the guest failed otherwise"
                f" ({result.status}: {result.reason})"
            ]
        )
        return {
            "": findings,
            "/outside": [f"MSI was switched on ({w.value:#x})" for w in observe.enables(result)],
        }

    return Probe(name, lambda images: guest_of(images[name]), judge)


def silent(result):
    """Whether a guest ran and says that no interrupt of MSI came."""
    return result.status == "FAILURE" and any(NOTHING_CAME.search(line) for line in result.console)


def _unmanaged(name):
    """Without interrupt remapping a device is left alone: as with msitrap off, and Xen says why, in
    one line.
    """
    missing = _missing(name)

    def judge(boot, result):
        said = [line for line in result.xen_log if UNMANAGED in line]
        return {
            **missing.judge(boot, result),
            "/said": [] if len(said) == 1 else [f"Xen said '{UNMANAGED}' {len(said)} times"],
        }

    return replace(missing, judge=judge)


def _hostile(images, **how):
    """All that a stub domain and a program in dom0 try, on two guests at work."""

    def victim():
        return guest_of(_on(images["beat-msi"], "igb"), paused=not attack.managed)

    attack = parties.Attack(victim, **how)
    return Probe(
        "hostile",
        lambda _images: guest_of(_on(images["beat-msix"], "e1000e"), paused=True),
        lambda boot, result: {"": _word(result), **parties.judge(attack, result, boot.form)},
        script=attack.script,
        attack=attack,
    )


def _races(images, races):
    return tuple(_race(images, race) for race in races)


def _race(images, race):
    """A guest with two vCPUs, and what others do beside it at the same time."""
    one = smp.Run(race)
    return Probe(
        race.name,
        lambda _images: guest_of(_on(images[race.test], race.kind)),
        lambda boot, result: one.judge(boot, result),
        script=one.script,
    )


def _lies(images, lies):
    return tuple(_lie(images, lie) for lie in lies)


def _lie(images, lie):
    """A guest whose device lied while it was assigned, and that looks at what is beside its
    table.
    """
    one = liar.Run(lie)
    return Probe(
        f"lies/{lie.name}",
        lambda _images: guest_of(_on(images["smp-beside"], liar.KIND)),
        one.judge,
        script=one.script,
        around=one.around,
    )


def _assignments(images):
    """A device that lies in each way, given to a guest that is not let run."""
    one = liar.Assignments()
    return Probe(
        "lies/assignments",
        lambda _images: guest_of(
            images["idle"], devices=(), paused=True, config=liar.WITHOUT_DEVICE
        ),
        one.judge,
        script=one.script,
        around=one.around,
    )


def _event(images, event):
    """One event in the life of a device that is at work."""
    one = life.Run(event)
    return Probe(
        f"life/{event.name}",
        lambda _images: guest_of(_on(images["beat-msix"], event.kind)),
        lambda boot, result: one.judge(boot, result),
        script=one.script,
    )


def _on(test, kind):
    """The test with an image for one of the devices that it can run on."""
    image = paths.OUT / "rig" / f"{test.name}-{kind}.image"
    image.parent.mkdir(parents=True, exist_ok=True)
    image.write_bytes(guests.planned(test.image.read_bytes(), (kind,), test.tests))
    return replace(test, image=image, on=((kind,),))


def words_of(result):
    """What a stub domain's hook said, as a mapping."""
    return dict(word.split("=", 1) for word in result.hook.split() if "=" in word)


def interrupts(machine):
    """Xen's own list of message interrupts, and of interrupts and whose they are, without what
    changes all the time.
    """
    # Twice, because another line of Xen's can stand in the middle of one.
    lines = [line for key in "MiMi" for line in machine.monitor(f"debug-keys {key}").splitlines()]
    return sorted({found for line in lines if (found := interrupt(line))})


def interrupt(line):
    """What a line of Xen's lists names that should last: an interrupt's number, and its domain's;
    None of other lines.
    """
    if found := re.search(r"\b(MSI(?:-X)?)\s+(\d+) vec", line):
        return f"{found[1]} {found[2]}"
    if found := re.search(r"\bIRQ:\s*(\d+).*?\b(d\d+):", line):
        return f"IRQ {found[1]} of {found[2]}"
    if found := re.search(r"\bIRQ:\s*(\d+).*PCI-MSI.*mapped, unbound", line):
        return f"IRQ {found[1]} of nobody"
    return None


def left(before, after):
    """What Xen lists after and did not before, as findings."""
    # dom0's own are always there.
    if not before or not after:
        return ["Xen did not list its interrupts"]
    return [f"left behind: {line}" for line in after if line not in before]
