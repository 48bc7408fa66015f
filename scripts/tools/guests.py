# SPDX-License-Identifier: GPL-2.0-only
"""The HVM tests: builds an image of each, describes it as an xtf-runner wants, runs it on bare emulated hardware."""

import argparse
import json
import re
import shutil
import subprocess
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

from . import cache, console, debian, paths, toolchain

SOURCE = paths.TOP / "hvm-tests"
INSTALLED = paths.OUT / "hvm-tests"
# Cargo's own cache of compiled crates.
_TARGET = paths.CACHE / "cargo-hvm-tests"
_PARTS = [SOURCE / name for name in ("Cargo.toml", "Cargo.lock", ".cargo", "build.rs", "link.ld", "src")]
_ENVIRONMENT = "hvm64"
_RESULT = re.compile(r"^Test result: (SUCCESS|SKIP|ERROR|FAILURE)$", re.MULTILINE)
_REASON = re.compile(r"^(?:Failure|Error|Skip): .*$", re.MULTILINE)
# The machine of a bare run: as plain as a PC can be with the device under test in it.
_BARE = (
    "-M", "pc,hpet=off", "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "128", "-nodefaults", "-display", "none",
    "-no-reboot", "-no-user-config", "-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-device", "edu,addr=4",
    "-debugcon", "stdio",
)


@dataclass(frozen=True)
class Test:
    """One image, and what hvm-tests/Cargo.toml says of it."""

    name: str
    image: Path
    summary: str
    category: str
    vcpus: int
    bare: str  # yes, part or no: how much of it holds on plain hardware
    enables: str  # never or sometimes: may an observer outside see the device's MSI enable bit set
    seconds: int  # under emulation, until it counts as hung

    @property
    def functional(self):
        """Whether it judges something; the others are tools: a benchmark, an idle guest."""
        return self.category == "functional"


def build():
    """Builds every image, or takes them from the cache; returns {name: Test}."""
    tools = toolchain.find()
    inputs = [*_PARTS, Path(__file__), tools.describe()]
    folder = cache.build("hvm-tests", inputs, lambda into: _compile(tools, into), "building the HVM tests")
    return {name: Test(name, folder / name, **known) for name, known in sorted(_metadata().items())}


def _metadata():
    """What Cargo.toml tells of each image; every source file must be told of, and nothing else."""
    with open(SOURCE / "Cargo.toml", "rb") as file:
        known = tomllib.load(file)["package"]["metadata"]["tests"]
    sources = {source.stem for source in (SOURCE / "src/bin").glob("*.rs")}
    if odd := sources ^ known.keys():
        raise console.Failure(
            f"hvm-tests/src/bin and hvm-tests/Cargo.toml do not agree on {', '.join(sorted(odd))}",
            "Give each image one table [package.metadata.tests.NAME].",
        )
    return known


def _compile(tools, folder):
    _cargo(tools, "build", "--release", "--locked")
    for name in _metadata():
        shutil.copyfile(_TARGET / "x86_64-unknown-none/release" / name, folder / name)


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

    `prefix` is where FOLDER will stand on the machine that runs them (FOLDER itself by default), `device` the
    host address of the device to pass through; without one the tests have nothing to test and say SKIP.
    """
    folder = Path(folder)
    prefix = Path(prefix or folder.resolve())
    shutil.rmtree(folder / "tests", ignore_errors=True)
    for test in build().values():
        place = folder / "tests" / test.name
        place.mkdir(parents=True)
        file = f"test-{_ENVIRONMENT}-{test.name}"
        shutil.copyfile(test.image, place / file)
        (place / "info.json").write_text(json.dumps(information(test), indent=4) + "\n")
        (place / f"{file}.cfg").write_text(configuration(test, prefix / "tests" / test.name / file, device))
    return folder


def information(test):
    """What an xtf-runner reads from a test's info.json."""
    return {"name": test.name, "category": test.category, "environments": [_ENVIRONMENT], "variations": []}


def configuration(test, image, device=None):
    """A test's configuration in xl's form."""
    lines = [
        f'name="test-{_ENVIRONMENT}-{test.name}"', 'type="hvm"', f"vcpus={test.vcpus}", "memory=32",
        f'firmware_override="{image}"', 'vga="none"', 'on_reboot="destroy"',
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


def run_bare(test, emulator):
    """Runs one image on emulated hardware without Xen; `emulator` is a rig.emulator.Emulator."""
    command = [*emulator.command, *_BARE, "-kernel", str(test.image)]
    begin = time.monotonic()
    try:
        done = subprocess.run(
            command, env=emulator.env, stdin=subprocess.DEVNULL, capture_output=True, timeout=test.seconds, check=False
        )
        output, late = done.stdout + done.stderr, False
    except subprocess.TimeoutExpired as stopped:
        output, late = stopped.stdout or b"", True
    return _judge(output.decode(errors="replace"), late, time.monotonic() - begin)


def _judge(output, late, seconds):
    """The outcome, from what an image printed."""
    results = _RESULT.findall(output)
    if not results:
        last = (output.strip().splitlines() or ["it printed nothing"])[-1]
        return Outcome("TIMEOUT" if late else "CRASH", f"no result; its last line: {last}", output, seconds)
    reasons = _REASON.findall(output)
    return Outcome(results[-1], "" if results[-1] == "SUCCESS" else (reasons or ["no reason given"])[0], output, seconds)


def _main():
    parser = argparse.ArgumentParser(prog="guests", description="Builds and lays out the HVM tests.")
    parser.add_argument("--prefix", help="where the folder will stand on the machine that runs the tests")
    parser.add_argument("--device", help="host address of the device to pass through, such as 0000:00:04.0")
    parser.add_argument("--bare", nargs="*", metavar="NAME", help="run these (or all fit) on emulated hardware without Xen")
    options = parser.parse_args()
    if options.bare is None:
        folder = install(prefix=options.prefix, device=options.device)
        console.say(f"the tests are in {folder}/tests")
        return 0
    return _run_all_bare(options.bare)


def _run_all_bare(names):
    """Runs the named tests, or all functional ones that plain hardware can pass; prints one line each."""
    from .rig import emulator  # only this needs a QEMU

    tests = build()
    if unknown := set(names) - tests.keys():
        raise console.Failure(f"there is no HVM test {', '.join(sorted(unknown))}", f"There are {', '.join(tests)}.")
    chosen = [tests[name] for name in names] or [t for t in tests.values() if t.functional and t.bare != "no"]
    qemu = emulator.find(debian.Archive().ready())
    failed = 0
    for test in chosen:
        outcome = run_bare(test, qemu)
        failed += outcome.status != "SUCCESS"
        console.say(f"{test.name}: {outcome.status} {outcome.reason}".rstrip() + f" ({outcome.seconds:.1f}s)")
        if names:
            print(outcome.output)
    return 1 if failed else 0


if __name__ == "__main__":
    console.main(_main)
