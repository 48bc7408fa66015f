# SPDX-License-Identifier: GPL-2.0-only
"""The HVM tests: builds an image of each, describes it as an xtf-runner wants, runs it on bare
emulated hardware.
"""

import argparse
import json
import re
import shutil
import subprocess
import tempfile
import time
import tomllib
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from . import cache, console, debian, paths, toolchain
from .rig import devices, doorbell, emulator

SOURCE = paths.TOP / "hvm-tests"
INSTALLED = paths.OUT / "hvm-tests"
# Cargo's own cache of compiled crates.
_TARGET = paths.CACHE / "cargo-hvm-tests"
_PARTS = [
    SOURCE / name for name in ("Cargo.toml", "Cargo.lock", ".cargo", "build.rs", "link.ld", "src")
]
_ENVIRONMENT = "hvm64"
# The program's place for its plan: what src/plan.rs begins it with, and the room after that.
_PLAN_MARK = b"hvm-tests: plan\n"
_PLAN_ROOM = 4096
_RESULT = re.compile(r"^Test result: (SUCCESS|SKIP|ERROR|FAILURE)$")
_BEGIN = re.compile(r"^Test: (\S+)$")
_END = re.compile(r"^Result of (\S+): (SUCCESS|SKIP|ERROR|FAILURE)$")
_REASON = re.compile(r"^(?:Failure|Error|Skip): .*$")
# How long a batch may take at most, under emulation.
_LONGEST_BATCH = 600
# The machine of a bare run: as plain as a PC can be with the devices under test in it. Only the
# newer chipset has the extended configuration space that turns virtual functions on.
_BARE = (
    "-accel",
    "tcg",
    "-cpu",
    "max",
    "-smp",
    "2",
    "-m",
    "128",
    "-nodefaults",
    "-display",
    "none",
    "-no-reboot",
    "-no-user-config",
    "-device",
    "isa-debug-exit,iobase=0xf4,iosize=1",
    "-debugcon",
    "stdio",
)
_CHIPSET = "pc,hpet=off"
_CHIPSET_OF_VIRTUAL_FUNCTIONS = "q35,hpet=off"


@dataclass(frozen=True)
class Test:
    """One image: a test, or a batch of them, and what hvm-tests/Cargo.toml says of it."""

    name: str
    image: Path
    summary: str
    category: str  # an xtf-runner's, or 'batch'
    vcpus: int
    bare: str  # yes, part or no: how much of it holds on plain hardware
    enables: str  # never or sometimes: may an observer outside see a device's real enable bit set
    seconds: int  # under emulation, until it counts as hung
    # what it can run on: sets of device kinds, the first of which it is run on alone
    on: tuple = (("edu",),)
    tests: tuple = ()  # the names of the tests it runs, in turn
    ends: bool = False  # it ends its guest: nothing runs after it
    config: str = ""  # further lines of xl's configuration

    @property
    def functional(self):
        """Whether it judges something by itself; the others are tools (a benchmark, an idle guest)
        or batches.
        """
        return self.category in ("functional", "xsa")

    @property
    def shared(self):
        """Whether it runs with others in a batch.

        Where a device must never be enabled, the view from outside is of the whole guest; and a
        configuration of its own makes a guest of its own.
        """
        return self.functional and self.enables != "never" and not self.config

    @property
    def batch(self):
        """Whether it runs the tests of others."""
        return self.category == "batch"

    @property
    def devices(self):
        """The kinds of devices to pass through to it, in this order."""
        return self.on[0]


@dataclass(frozen=True)
class Part:
    """What became of one test in what an image printed."""

    name: str
    # SUCCESS, SKIP, ERROR, FAILURE; CRASH: it began and did not end; MISSING: it never began
    status: str
    reason: str  # one sentence, '' on success
    lines: tuple  # what it printed


def build():
    """Builds every image, or takes them from the cache; returns {name: Test}, batches among
    them.
    """
    tools = toolchain.find()
    inputs = [*_PARTS, Path(__file__), tools.describe()]
    folder = cache.build(
        "hvm-tests", inputs, lambda into: _compile(tools, into), "building the HVM tests"
    )
    return _described(folder)


def described():
    """Every image as `build` returns it, before any is built: there are no files yet."""
    return _described(INSTALLED)


def _described(folder):
    tests = {
        name: Test(
            name,
            folder / name,
            on=tuple(tuple(kinds.split()) for kinds in on),
            tests=(name,),
            **known,
        )
        for name, known, on in _metadata()
    }
    return {**tests, **{batch.name: batch for batch in _batches(folder, tests.values())}}


def _batches(folder, tests):
    """One batch for each set of devices that a test can share with others; what ends the guest is
    the last in it.
    """
    sharing = sorted((test for test in tests if test.shared), key=lambda test: test.ends)
    for devices in dict.fromkeys(devices for test in sharing for devices in test.on):
        chosen = [test for test in sharing if devices in test.on]
        name = f"batch-{'-'.join(devices)}"
        yield Test(
            name,
            folder / name,
            f"all tests that run on {' and '.join(devices)}",
            "batch",
            max(test.vcpus for test in chosen),
            _bare_of(chosen),
            "sometimes",
            min(sum(test.seconds for test in chosen), _LONGEST_BATCH),
            (devices,),
            tuple(test.name for test in chosen),
        )


def _bare_of(tests):
    kinds = {test.bare for test in tests}
    return kinds.pop() if len(kinds) == 1 else "part"


def _metadata():
    """What Cargo.toml tells of each image: name, fields of Test, and the devices; every source file
    must be told of.
    """
    with open(SOURCE / "Cargo.toml", "rb") as file:
        known = tomllib.load(file)["package"]["metadata"]["tests"]
    if odd := names() ^ known.keys():
        raise console.Failure(
            "hvm-tests/src/tests and hvm-tests/Cargo.toml do not agree on"
            f" {', '.join(sorted(odd))}",
            "Give each test one file and one table [package.metadata.tests.NAME].",
        )
    return [
        (name, {key: known[name][key] for key in known[name] if key != "on"}, known[name]["on"])
        for name in known
    ]


def names():
    """The names of all tests, from their source files."""
    return {
        source.stem.replace("_", "-")
        for source in (SOURCE / "src/tests").glob("*.rs")
        if source.stem != "mod"
    }


def _compile(tools, folder):
    _cargo(tools, "build", "--release", "--locked")
    program = (_TARGET / "x86_64-unknown-none/release/hvm-tests").read_bytes()
    for test in _described(folder).values():
        test.image.write_bytes(planned(program, test.devices, test.tests))


def planned(program, devices, tests):
    """The program with a plan: on which kinds of devices it runs which tests. An earlier plan is
    written over.
    """
    text = f"devices {' '.join(devices)}\ntests {' '.join(tests)}\n".encode()
    if program.count(_PLAN_MARK) != 1:
        raise console.Failure(
            "the HVM tests' program has not one place for a plan", "See hvm-tests/src/plan.rs."
        )
    if len(text) > _PLAN_ROOM:
        raise console.Failure(
            f"a plan of {len(tests)} HVM tests does not fit", "Raise ROOM in hvm-tests/src/plan.rs."
        )
    start = program.index(_PLAN_MARK) + len(_PLAN_MARK)
    return program[:start] + text.ljust(_PLAN_ROOM, b"\0") + program[start + _PLAN_ROOM :]


def parts(test, lines):
    """What became of each test of an image, from the lines it printed; none is left out."""
    begun, ended = {}, {}
    current = None
    for line in lines:
        if found := _BEGIN.match(line):
            current = begun.setdefault(found[1], [])
        elif found := _END.match(line):
            ended[found[1]], current = found[2], None
        elif current is not None:
            current.append(line)
    return [_part(name, begun.get(name), ended.get(name), lines) for name in test.tests]


def _part(name, printed, word, lines):
    if printed is None:
        last = (list(lines) or ["it printed nothing"])[-1]
        return Part(name, "MISSING", f"never began; the image's last line: {last}", ())
    if word is None:
        return Part(
            name, "CRASH", f"no result; its last line: {(printed or ['none'])[-1]}", tuple(printed)
        )
    reasons = [line for line in printed if _REASON.match(line)]
    return Part(
        name, word, "" if word == "SUCCESS" else (reasons or ["no reason given"])[0], tuple(printed)
    )


def _cargo(tools, *words):
    environment = {**tools.environment(), "CARGO_TARGET_DIR": str(_TARGET)}
    console.run(["nice", tools.cargo, *words], "hvm-tests", cwd=SOURCE, env=environment)


def lint():
    """Checks the form of the source and clippy's rules; a Failure names the log."""
    tools = toolchain.find()
    _cargo(tools, "fmt", "--check")
    _cargo(tools, "clippy", "--release", "--locked", "--", "-D", "warnings")


def install(folder=INSTALLED, prefix=None, device=None):
    """Lays the tests out as an xtf-runner expects them, in FOLDER/tests; returns FOLDER.

    `prefix` is where FOLDER will stand on the machine that runs them (FOLDER itself by default),
    `device` the host address of the device to pass through; without one the tests have nothing to
    test and say SKIP.
    """
    folder = Path(folder)
    prefix = Path(prefix or folder.resolve())
    shutil.rmtree(folder / "tests", ignore_errors=True)
    for test in build().values():
        if test.batch:
            continue
        place = folder / "tests" / test.name
        place.mkdir(parents=True)
        file = f"test-{_ENVIRONMENT}-{test.name}"
        shutil.copyfile(test.image, place / file)
        (place / "info.json").write_text(json.dumps(information(test), indent=4) + "\n")
        (place / f"{file}.cfg").write_text(
            configuration(test, prefix / "tests" / test.name / file, device)
        )
    return folder


def information(test):
    """What an xtf-runner reads from a test's info.json."""
    return {
        "name": test.name,
        "category": test.category,
        "environments": [_ENVIRONMENT],
        "variations": [],
    }


def configuration(test, image, device=None):
    """A test's configuration in xl's form."""
    lines = [
        f'name="test-{_ENVIRONMENT}-{test.name}"',
        'type="hvm"',
        f"vcpus={test.vcpus}",
        "memory=32",
        f'firmware_override="{image}"',
        'vga="none"',
        'on_reboot="destroy"',
        *test.config.splitlines(),
    ]
    if device:
        lines.append(f'pci=["{device}"]')
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Outcome:
    """What an image did on bare hardware."""

    status: str  # SUCCESS, SKIP, ERROR, FAILURE, CRASH or TIMEOUT
    reason: str  # one sentence, '' on success
    output: str
    seconds: float
    parts: tuple = ()  # a Part for each test that fits bare hardware


def run_bare(test, emulator, tests=None, devices=None):
    """Runs one image on emulated hardware without Xen; `emulator` is a rig.emulator.Emulator.

    `tests` are the names it is to run, if not all of its own, and `devices` the kinds to run them
    on.
    """
    chosen = replace(test, tests=tuple(tests or test.tests), on=(tuple(devices or test.devices),))
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hvm-tests-") as folder:
        image = Path(folder) / "image"
        image.write_bytes(planned(test.image.read_bytes(), chosen.devices, chosen.tests))
        with _hardware(chosen.devices, folder) as words:
            output, late = _output(
                [*emulator.command, *words, "-kernel", image], emulator.env, test.seconds
            )
    return _judge(chosen, output, late, time.monotonic() - begin)


def _output(command, environment, seconds):
    """What QEMU printed, and whether it had to be stopped."""
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
        output, late = done.stdout + done.stderr, False
    except subprocess.TimeoutExpired as stopped:
        output, late = stopped.stdout or b"", True
    return output.decode(errors="replace"), late


@contextmanager
def _hardware(kinds, folder):
    """QEMU's words for a machine with devices of these kinds, and what they need beside it
    meanwhile.
    """
    with ExitStack() as stack:
        found = [devices.DEVICES[kind] for kind in kinds]
        virtual = any(device.physical for device in found)
        found = [_physical(device) for device in found]
        words = ["-M", _CHIPSET_OF_VIRTUAL_FUNCTIONS if virtual else _CHIPSET, *_BARE]
        for device in found:
            if device.disk:
                with open(Path(folder) / device.address, "wb") as disk:
                    disk.truncate(device.disk << 20)
            words += _words(device, folder)
        if "ivshmem" in kinds:
            server = doorbell.Doorbell(Path(folder) / "doorbell", devices.DOORBELL_VECTORS)
            stack.callback(server.close)
        yield words


def _physical(device):
    """The device itself, or the physical function of a virtual one."""
    return next((d for d in devices.DEVICES.values() if device.physical == d.address), device)


def _words(device, folder):
    words = [
        *device.extra,
        "-device",
        f"{device.model},addr={device.address.split(':')[1]}",
        *device.behind,
    ]
    return [word.replace("{folder}", str(folder)) for word in words]


def _judge(test, output, late, seconds):
    """The outcome, from what an image printed."""
    lines = output.splitlines()
    found = tuple(parts(test, lines))
    results = [match[1] for line in lines if (match := _RESULT.match(line))]
    if not results:
        last = (output.strip().splitlines() or ["it printed nothing"])[-1]
        return Outcome(
            "TIMEOUT" if late else "CRASH",
            f"no result; its last line: {last}",
            output,
            seconds,
            found,
        )
    reasons = [line for line in lines if _REASON.match(line)]
    reason = "" if results[-1] == "SUCCESS" else (reasons or ["no reason given"])[0]
    return Outcome(results[-1], reason, output, seconds, found)


def bare_tests(test, tests):
    """Those of an image's tests that plain hardware can pass; `tests` is what `build` returned."""
    return tuple(name for name in test.tests if tests[name].bare != "no")


def _main():
    parser = argparse.ArgumentParser(
        prog="guests", description="Builds and lays out the HVM tests."
    )
    parser.add_argument(
        "--prefix", help="where the folder will stand on the machine that runs the tests"
    )
    parser.add_argument(
        "--device", help="host address of the device to pass through, such as 0000:00:04.0"
    )
    parser.add_argument(
        "--bare",
        nargs="*",
        metavar="NAME",
        help="run these (or all) on emulated hardware without Xen",
    )
    options = parser.parse_args()
    if options.bare is None:
        folder = install(prefix=options.prefix, device=options.device)
        console.say(f"the tests are in {folder}/tests")
        return 0
    return _run_all_bare(options.bare)


def _run_all_bare(wanted):
    """Runs the named images, or all batches and what is in none; prints one line for each test that
    is not passed.
    """
    tests = build()
    if unknown := set(wanted) - tests.keys():
        raise console.Failure(
            f"there is no HVM test {', '.join(sorted(unknown))}", f"There are {', '.join(tests)}."
        )
    batched = {name for test in tests.values() if test.batch for name in test.tests}
    chosen = [tests[name] for name in wanted] or [
        t for t in tests.values() if t.batch or t.functional and t.name not in batched
    ]
    qemu = emulator.find(debian.Archive().ready())
    outcomes = [_report_bare(test, tests, qemu) for test in chosen]
    if wanted:
        print("\n".join(outcome.output for outcome in outcomes))
    return 0 if all(outcome.status == "SUCCESS" for outcome in outcomes) else 1


def _report_bare(test, tests, qemu):
    fitting = bare_tests(test, tests)
    if not fitting:
        return Outcome("SKIP", "nothing of it holds without Xen", "", 0.0)
    outcome = run_bare(test, qemu, fitting)
    console.say(f"{test.name}: {outcome.status} ({len(fitting)} tests, {outcome.seconds:.1f}s)")
    for part in outcome.parts:
        if part.status != "SUCCESS":
            console.say(f"  {part.name}: {part.status} {part.reason}")
    return outcome


if __name__ == "__main__":
    console.main(_main)
