# SPDX-License-Identifier: GPL-2.0-only
"""What a hostile stub domain and a program in dom0 try (rig/stubdom/hook.rs), and what has to come
of it.

Every call stands here once, with what must become of it; the attempts and this list have to agree.
What a device's registers got is the view from outside (observe).
"""

import errno
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass, field

from .. import console, observe, paths, report
from ..rig import Unexpected

# Where libxl puts numbers of message interrupts begins; below are the machine's lines, INTx among
# them.
_LINES = 24
MODES = ("default", "allow_interrupt_control", "permissive")
PCIBACK = "/sys/bus/pci/drivers/pciback"
# A device that dom0's own driver works.
DOM0_DEVICE = "00:07.0"
TARGETS = {
    "own": "its own guest, and the device of it",
    "self": "the stub domain itself",
    "other": "another guest, and its device",
    "dom0": "dom0, and a device that it works itself",
    "own+other": "another guest's device, for its own guest",
    "own+dom0": "dom0's device, for its own guest",
}
_CROSSED = ("own+other", "own+dom0")
_HOOK = "/stubdom/hook"
_BEATS = 3
# About one device of one guest; each of some ten reasons to refuse a message, and some events.
_MOST_LINES = 20
# Bytes of Command; Cache Line Size and Latency Timer, which are nobody's but dom0's.
_COMMAND, _FREE_REGISTERS = (0x04, 0x05), (0x0C, 0x0D)


@dataclass(frozen=True)
class Allowed:
    """Why a call may work, and for which numbers of interrupts."""

    why: str
    numbers: range = range(256)


_INTX = Allowed("INTx of its own guest's device is its to emulate", range(_LINES))
_EMULATED = Allowed("it emulates interrupts of its own guest")
_LEFT_OUT = Allowed("Xen leaves these frames out, and says so to nobody")
_OWN = Allowed("its own numbers")
_BOTH, _EACH = (*TARGETS,), tuple(name for name in TARGETS if name not in _CROSSED)

# The calls: the targets they are made on, and on which of them what may work. All else is refused.
CALLS = {
    "map_pirq MSI": (_BOTH, {}),
    "map_pirq MSI_SEG": (_BOTH, {}),
    "map_pirq MSI_SEG, MSI-X": (_BOTH, {}),
    "map_pirq MULTI_MSI": (_BOTH, {}),
    "map_pirq GSI": (_EACH, {"own": _INTX}),
    "bind_pt_irq MSI": (_EACH, {}),
    "bind_pt_irq MSI_TRANSLATE": (_EACH, {"own": _INTX}),
    "bind_pt_irq PCI": (_EACH, {"own": _INTX}),
    "bind_pt_irq ISA": (_EACH, {}),
    "unbind_pt_irq MSI": (_EACH, {}),
    "unbind_pt_irq PCI": (_EACH, {"own": _INTX}),
    "unbind_pt_irq ISA": (_EACH, {}),
    "unmap_pirq": (_EACH, {"own": _INTX}),
    "irq_permission": (_EACH, {}),
    "irq_permission, taken": (_EACH, {}),
    "gsi_permission": (_EACH, {}),
    "iomem_permission of the table": (_EACH, {}),
    "iomem_permission of the interrupt window": (_EACH, {}),
    "ioport_permission of 0xcf8": (_EACH, {}),
    "ioport_mapping of 0xcf8": (_EACH, {}),
    "memory_mapping of the table": (_BOTH, {"own": _LEFT_OUT}),
    "memory_mapping of the pending bits": (_BOTH, {"own": _LEFT_OUT}),
    "memory_mapping undone where the table was left out": (_EACH, {}),
    "memory_mapping of the interrupt window": (_EACH, {}),
    "assign_device": (_BOTH, {}),
    "test_assign_device": (_BOTH, {}),
    "deassign_device": (_BOTH, {}),
    "set_target": (_EACH, {}),
    "prepare_msix": (_EACH, {}),
    "release_msix": (_EACH, {}),
    "restore_msi": (_EACH, {}),
    "restore_msi_ext": (_EACH, {}),
    "pci_device_reset": (_EACH, {}),
    "manage_pci_add": (_EACH, {}),
    "manage_pci_add_ext": (_EACH, {}),
    "manage_pci_remove": (_EACH, {}),
    "pci_device_add": (_EACH, {}),
    "pci_device_remove": (_EACH, {}),
    "inject_msi": (_EACH, {"own": _EMULATED}),
    "set_pci_intx_level": (_EACH, {"own": _EMULATED}),
    "set_isa_irq_level": (_EACH, {"own": _EMULATED}),
    "set_pci_link_route": (_EACH, {"own": _EMULATED}),
    "apic_write": (_EACH, {}),
    "setup_gsi": (_EACH, {}),
    "pci_mmcfg_reserved": (_EACH, {}),
    "get_free_pirq": (("self",), {"self": _OWN}),
    "irq_status_query": (("self",), {"self": _OWN}),
    "eoi": (("self",), {"self": _OWN}),
    "pirq_eoi_gmfn": (("self",), {}),
    "alloc_irq_vector": (("self",), {}),
    "free_irq_vector": (("self",), {}),
    "bind_pirq": (("self",), {"self": _INTX}),
}
# What dom0 may ask of Xen about a managed device, and Xen's answer.
DOM0_CALLS = {
    "prepare_msix": errno.EPERM,
    "release_msix": errno.EPERM,
    # Xen writes again what it knows: its own message, and enable last.
    "restore_msi": 0,
    "restore_msi_ext": 0,
    "pci_device_reset": 0,
}
# What has to work on a Xen that does not manage the device, for the attempts to mean something.
GRANTED = ("map_pirq MSI_SEG", "bind_pt_irq MSI", "unbind_pt_irq MSI", "unmap_pirq")


@dataclass
class Seen:
    """What the attempts on one machine showed."""

    calls: dict = field(default_factory=dict)  # phase: {(call, target): answer}
    config: dict = field(default_factory=dict)  # phase: lines of rig/stubdom/config.rs
    dom0: dict = field(default_factory=dict)  # (what, device): lines
    by_xen: list = field(default_factory=list)  # times (begin, end) of what dom0 may have Xen do
    victim: object = None  # rig.Result of the other guest


def parse(lines):
    """The answers to calls, by (call, target)."""
    return {
        (call, target): answer
        for call, target, answer in (line.split(" | ") for line in lines if line.count(" | ") == 2)
    }


def worked(answer):
    """The numbers for which a call worked, as a set; {None} for a call without numbers; nothing
    when it was refused.
    """
    if answer == "0":
        return {None}
    found = re.search(r"(?:^| )0:(\S+)", answer)
    return {n for run in found[1].split(",") for n in _numbers(run)} if found else set()


def _numbers(run):
    first, _, last = run.partition("-")
    return range(int(first), int(last or first) + 1)


def faults_of_calls(answers):
    """What is wrong with the answers to all calls, as sentences."""
    wanted = {(call, target) for call, (targets, _allowed) in CALLS.items() for target in targets}
    found = [
        f"{call} was not tried on {target}" for call, target in sorted(wanted - answers.keys())
    ]
    found += [
        f"nothing is said of {call} on {target}" for call, target in sorted(answers.keys() - wanted)
    ]
    return found + [
        fault for at in sorted(wanted & answers.keys()) for fault in _fault(*at, answers[at])
    ]


def _fault(call, target, answer):
    if not re.fullmatch(r"\d+|\d+:[\d,-]+( \d+:[\d,-]+)*", answer):
        return [f"{call} on {target}: no answer ({answer})"]
    done, allowed = worked(answer), CALLS[call][1].get(target)
    if not allowed:
        return [f"{call} on {target} worked ({answer})"] if done else []
    beyond = done - {None} - set(allowed.numbers)
    if beyond:
        return [f"{call} on {target} worked for {sorted(beyond)} ({answer})"]
    return []


def faults_of_grants(answers):
    """What a Xen that does not manage the device refused of what it grants: then the attempts show
    nothing.
    """
    return [
        f"{call} on own was refused ({answers.get((call, 'own'))})"
        for call in GRANTED
        if not any(
            number is None or number >= _LINES for number in worked(answers.get((call, "own"), ""))
        )
    ]


def faults_of_config(lines, layout):
    """What is wrong with writes to configuration space: each register must have been tried, and
    none changed.
    """
    if errors := [line for line in lines if line.startswith("error=")]:
        return errors
    tried = {(match[1], int(match[2])): match for line in lines if (match := _CONFIG.match(line))}
    found = [
        f"{register:#x} was not written"
        for register in _registers(layout)
        if (hex(register), 1) not in tried
    ]
    found += [
        f"INTx-disable was not written, {width} bytes"
        for width in _widths(tried)
        if (_command(width), width) not in tried
    ]
    # Of Command, pciback answers with what was written; the device's is seen from outside.
    return found + [
        f"{at}/{width} changed ({match[0]})"
        for (at, width), match in tried.items()
        if int(match[3], 16) and int(at, 16) not in (*_COMMAND, *_FREE_REGISTERS)
    ]


_CONFIG = re.compile(r"(0x[0-9a-f]+)/(\d) tried=\d+ failed=\d+ changed=(0x[0-9a-f]+)$")


def _widths(tried):
    return sorted({width for _register, width in tried}) or [1]


def _command(width):
    return "0x5" if width == 1 else "0x4"


def _registers(layout):
    """The bytes of the message capabilities."""
    msi, msix = layout.msi, layout.msix
    length = 10 + 4 * msi.wide + 10 * msi.masks if msi else 0
    return [
        *(range(msi.offset, msi.offset + length) if msi else ()),
        *(range(msix.offset, msix.offset + 12) if msix else ()),
    ]


def faults_of_pcifront(lines):
    """What is wrong with pcifront's own command to enable MSI: it must fail and set nothing."""
    said = dict(word.split("=", 1) for word in " ".join(lines).split() if "=" in word)
    if not said.get("control"):
        return [f"the attempt was not made ({' '.join(lines)})"]
    enabled = int(said["control"], 16) & 1
    return [f"it worked ({' '.join(lines)})"] if enabled or said.get("interrupts") else []


def faults_of_command(lines):
    """What is wrong with dom0's own writes to Command: INTx-disable must be as it was."""
    return [
        f"Command changed ({line})"
        for line in lines
        if (match := _CONFIG.match(line)) and int(match[1], 16) in _COMMAND and int(match[3], 16)
    ]


def faults_of_table(lines):
    """What is wrong with stores to the MSI-X table: none may fail, none may do anything, a direct
    one never ends.
    """
    match = re.match(
        r"table tried=(\d+) failed=0 changed=0 store=never$", lines[0] if lines else ""
    )
    return (
        []
        if match and int(match[1])
        else [f"stores to the table: {'; '.join(lines) or 'nothing is said'}"]
    )


def faults_of_dom0_calls(lines):
    """What is wrong with Xen's answers to dom0's calls."""
    said = dict(line.split(" | ") for line in lines if line.count(" | ") == 1)
    return [
        f"{call} returned {said.get(call, 'nothing')}, not {wanted}"
        for call, wanted in DOM0_CALLS.items()
        if said.get(call) != str(wanted)
    ]


# By the kernel: the small one lets no program at ports, Debian's keeps programs off memory that has
# an owner.
_CONFIG_WAYS = {"small": ("dom0-config", "dom0-ecam"), "stock": ("dom0-config", "dom0-ports")}
_TABLE_WAYS = {"small": ("dom0-memory", "dom0-table"), "stock": ("dom0-table",)}


class Attack:
    """The attempts on one machine: an attacker's script for Machine.run, and what was seen.

    `victim` makes the other guest's rig.Guest; where Xen does not manage devices, it is paused, and
    only calls are made.
    """

    def __init__(self, victim, managed=True, kernel="small"):
        self.victim, self.managed, self.kernel, self.seen = victim, managed, kernel, Seen()

    def script(self, life):
        """The life of the attacker: its guest is set up, and not let run yet."""
        self.seen = Seen()
        result = self.seen.victim = life.machine.run(
            self.victim(), lambda victim: self._attack(life, victim)
        )
        if result.status != "SUCCESS":
            raise Unexpected(f"the other guest: {result.reason}")

    def _attack(self, life, victim):
        if not self.managed:
            self._calls("unprogrammed", life, victim)
            return
        lives = (life, victim)
        _await_beats(victim)
        self._calls("unprogrammed", life, victim)
        for mode in MODES:
            _loosen(life, mode)
            self._config(mode, life)
        if self.kernel == "small":
            self.seen.config["pcifront"] = life.take_over("pcifront-msi")
        life.unpause()
        _await_beats(life)
        self._calls("at work", life, victim)
        self._config("at work", life)
        _all_beat(lives)
        for one in lives:
            self._by_dom0(one)
        _all_beat(lives)

    def _calls(self, phase, life, victim):
        own = life.stub_domain()
        layouts, mine, other = life.machine.layouts, life.guest.devices[0], victim.guest.devices[0]
        owners = {
            "own": (life.domain, mine),
            "self": (own, mine),
            "other": (victim.domain, other),
            "dom0": (0, DOM0_DEVICE),
            "own+other": (life.domain, other),
            "own+dom0": (life.domain, DOM0_DEVICE),
        }
        targets = " ".join(
            _target(name, domain, device, layouts) for name, (domain, device) in owners.items()
        )
        self.seen.calls[phase] = parse(life.take_over(f"calls {own} {targets}"))

    def _config(self, phase, life):
        self.seen.config[phase] = life.take_over("config")

    def _by_dom0(self, life):
        """All that a program in dom0 can do to a device at work."""
        device = life.guest.devices[0]
        msix = life.machine.layouts[device].msix
        for way in (*_CONFIG_WAYS[self.kernel], *(_TABLE_WAYS[self.kernel] if msix else ())):
            self._dom0(life, way)
        with self._xen_acts():
            self._dom0(life, "dom0-calls")
        # Without memory a guest at work would find its device gone.
        life.machine.agent.run(f"xl pause {life.guest.name}")
        with self._xen_acts():
            self._dom0(life, "dom0-decode")
        life.machine.agent.run(f"xl unpause {life.guest.name}")

    def _dom0(self, life, what):
        device = life.guest.devices[0]
        status, output = life.machine.agent.run(f"{_HOOK} {what} 0000:{device}")
        self.seen.dom0[what, device] = output.splitlines()
        if status != 0:
            raise Unexpected(f"dom0's {what}: {output.strip() or 'it did not end'}")

    @contextmanager
    def _xen_acts(self):
        """A time in which Xen itself writes to the device, called by dom0 and so on dom0's
        processor.
        """
        begin = time.time()
        yield
        self.seen.by_xen.append((begin, time.time()))


def _target(name, domain, device, layouts):
    msix = layouts[device].msix
    return f"{name}={domain},0000:{device},{msix.table:x},{msix.pba:x}"


def _loosen(life, mode):
    """Sets xen-pciback's mode for the attacker's device, at once."""
    if mode == "default":
        return
    status, output = life.machine.agent.run(f"echo 0000:{life.guest.devices[0]} > {PCIBACK}/{mode}")
    if status != 0:
        raise console.Failure(f"pciback does not take {mode}: {output.strip()}")


def _beats(life):
    """How often a guest's heart has beaten."""
    found = [int(match[1]) for line in life.printed() if (match := _BEAT.match(line))]
    return found[-1] if found else 0


_SAID = re.compile(r"msitrap: d\d+ ([0-9a-f:.]+): ")
_BEAT = re.compile(r"Beat (\d+): ")


def _await_beats(life):
    """Waits until a guest at work has got more interrupts."""
    life.await_line(f"Beat {_beats(life) + _BEATS}: ")


def _all_beat(lives):
    for life in lives:
        _await_beats(life)


def judge(attack, result, iommu):
    """Findings about the attempts of one machine, by part."""
    seen = attack.seen
    if not attack.managed:
        return {"/granted": faults_of_grants(seen.calls.get("unprogrammed", {}))}
    found = {
        "/calls": [
            f"{phase}: {fault}"
            for phase in ("unprogrammed", "at work")
            for fault in faults_of_calls(seen.calls.get(phase, {}))
        ],
        "/log": verbose(result.xen_log) + repeated(result.xen_log),
        "/never-enabled": [
            f"the stub domain enabled it: {w}"
            for w in observe.enables(result)
            if w.phase == "assign"
        ],
    }
    if attack.kernel == "small":
        found["/pcifront"] = faults_of_pcifront(seen.config.get("pcifront", []))
    layout = next(iter(result.layouts.values()))
    for mode in (*MODES, "at work"):
        found[f"/config-{mode.replace(' ', '-')}"] = faults_of_config(
            seen.config.get(mode, []), layout
        )
    for who, one in (("own", result), ("other", seen.victim)):
        found |= {f"/{who}{part}": faults for part, faults in _judge_dom0(attack, one).items()}
        found[f"/{who}/outside"] = outside(seen, one, iommu)
    return found


def _judge_dom0(attack, result):
    """Findings about what dom0 did to a guest's device."""
    seen = attack.seen
    if result is None:
        return {"/dom0": ["it did not run"]}
    device, layout = next(iter(result.layouts.items()))

    def lines(what):
        return seen.dom0.get((what, device), [])

    found = {
        f"/{way}": faults_of_config(lines(way), layout) + faults_of_command(lines(way))
        for way in _CONFIG_WAYS[attack.kernel]
    }
    found |= {
        f"/{way}": faults_of_table(lines(way)) for way in _TABLE_WAYS[attack.kernel] if layout.msix
    }
    arrived = {w.register for w in result.config_writes if w.by_dom0}
    found["/dom0-other-registers"] = [
        f"dom0's writes to register {register:#x} did not arrive"
        for register in _FREE_REGISTERS
        if register not in arrived
    ]
    return {**found, "/dom0-calls": faults_of_dom0_calls(lines("dom0-calls"))}


def outside(seen, result, iommu):
    """The view from outside of a device that was attacked; what Xen wrote when dom0 called it is
    Xen's.
    """
    if result is None:
        return ["it did not run"]
    kept = observe.as_xens(result, seen.by_xen)
    faults = observe.faults(kept, iommu)
    return (
        faults
        if observe.enables(kept)
        else [*faults, "no message interrupt was switched on, so this shows nothing"]
    )


def repeated(lines):
    """Lines of msitrap's that Xen logged more than once."""
    own = [line for line in lines if _SAID.search(line)]
    return sorted(
        {f"logged {own.count(line)} times: {line}" for line in own if own.count(line) > 1}
    )


def verbose(lines):
    """Devices of which msitrap said more than there are reasons for, in the life of one guest."""
    said = [match[1] for line in lines if (match := _SAID.search(line))]
    return [
        f"{said.count(device)} lines about {device}"
        for device in sorted(set(said))
        if said.count(device) > _MOST_LINES
    ]


def write(attacks):
    """Writes out/parties.md and out/report/parties.json from the attempts, by machine."""
    managed = next((a.seen for a in attacks.values() if a.managed and a.seen.calls), None)
    if not managed:
        return
    stock = (
        next((a.seen.calls.get("unprogrammed") for a in attacks.values() if not a.managed), None)
        or {}
    )
    answers = {
        phase: {f"{call} | {target}": said for (call, target), said in calls.items()}
        for phase, calls in managed.calls.items()
    }
    dom0 = {f"{what} {device}": lines for (what, device), lines in managed.dom0.items()}
    unmanaged = {f"{call} | {target}": said for (call, target), said in stock.items()}
    report.write_json(
        "parties",
        {
            "calls": answers,
            "config": managed.config,
            "dom0": dom0,
            "calls with msitrap=off": unmanaged,
        },
    )
    (paths.OUT / "parties.md").write_text(table(managed.calls.get("at work", {}), stock))


def table(answers, stock):
    """The table of calls and results, in Markdown."""
    lines = [f"* **{name}**: {what}" for name, what in TARGETS.items()]
    head = "| call | " + " | ".join(TARGETS) + " | own, with `msitrap=off` | allowed because |"
    rows = [_row(call, answers, stock) for call in CALLS]
    return "\n".join([*lines, "", head, "|" + " --- |" * (len(TARGETS) + 3), *rows]) + "\n"


def _row(call, answers, stock):
    cells = [_cell(answers.get((call, target))) for target in TARGETS]
    why = "; ".join(sorted({allowed.why for allowed in CALLS[call][1].values()}))
    own = next((stock[call, target] for target in ("own", "self") if (call, target) in stock), None)
    return f"| {call} | {' | '.join(cells)} | {_cell(own)} | {why} |"


def _cell(answer):
    """An answer for people: what worked, or the errors."""
    if answer is None:
        return "–"
    if answer == "0":
        return "works"
    kinds = [kind.partition(":") for kind in answer.split(" ")]
    return ", ".join(
        f"works for {numbers}" if kind == "0" else errno.errorcode.get(int(kind), kind)
        for kind, _, numbers in kinds
    )
