# SPDX-License-Identifier: GPL-2.0-only
"""Shows that each guard has a test that fails without it: takes out one guard at a time.

tests/guards.toml lists the guards. What is built is a copy; the checkout stays as it is.
"""

import fcntl
import shutil
import subprocess
import time
import tomllib
from contextlib import contextmanager
from dataclasses import dataclass, replace

from . import cache, console, guests as hvm_tests, paths, report, toolchain, xen, xensource
from .rig import prepare
from .suites import host, rig

LIST = paths.TOP / "tests/guards.toml"
PAGE = paths.TOP / "docs/guards.md"
SUITE = "mutants"
_COPY = paths.CACHE / "mutants"
# Without its guard a program may well run for ever.
_SECONDS = 300
_HEAD = """\
<!-- SPDX-License-Identifier: GPL-2.0-only -->
# Guards and their tests

Each line is one guard and the tests that fail when it alone is taken out. `scripts/test mutants` \
takes them out one by one, in a copy, and sees the tests fail. What is
taken out, to the letter, stands in [tests/guards.toml](../tests/guards.toml), of which this page \
is made. Numbers are those of the invariants in
[threat-model.md](threat-model.md#invariants). Tests named with slashes run on the emulated machine.

| guard | invariant | where | tests that fail without it |
|---|---|---|---|
"""
_UNTESTED = """
## Guards that no test misses

Taken out alone, these change nothing that a test sees.

| guard | where | why |
|---|---|---|
"""


@dataclass(frozen=True)
class Guard:
    """A guard: what has to be taken out of which file, and the tests that fail then."""

    name: str
    says: str
    invariant: int
    file: str  # below the checkout, or, with `xen`, below Xen's source
    take: str
    tests: tuple
    leave: str = ""
    xen: bool = False  # the file is Xen's with the series; the tests run on the emulated machine


def read(file=LIST):
    """The guards of the list; a Failure names the entry that is not one."""
    entries = tomllib.loads(file.read_text())["guard"]
    found = []
    for entry in entries:
        try:
            found.append(Guard(**{**entry, "tests": tuple(entry["tests"])}))
        except (TypeError, KeyError) as wrong:
            raise console.Failure(
                f"{file.name}: '{entry.get('name', '?')}' is no guard: {wrong}", "See the others."
            ) from None
    return found


def page(guards, untested):
    """The text of docs/guards.md."""
    rows = "".join(
        f"| {guard.says} | {guard.invariant} | `{_place(guard)}`"
        f" | {', '.join(f'`{name}`' for name in guard.tests)} |\n"
        for guard in guards
    )
    return (
        _HEAD
        + rows
        + _UNTESTED
        + "".join(
            f"| {kept['says']} | `{_in_xen(kept['file'])}` | {kept['why']} |\n" for kept in untested
        )
    )


def untested():
    """The guards of Xen's that no test misses, as in the list."""
    return tomllib.loads(LIST.read_text()).get("untested", [])


def _place(guard):
    return _in_xen(guard.file) if guard.xen else guard.file


def _in_xen(file):
    return f"Xen: {file.removeprefix('xen/')}"


def run(into, names=()):
    """Takes out the guards, or those named; a guard that no test misses is a failed test."""
    guards = read()
    PAGE.write_text(page(guards, untested()))
    chosen = _chosen(guards, names)
    with into.stage("mutants: the module", SUITE):
        _run_module(into, [guard for guard in chosen if not guard.xen])
    with into.stage("mutants: Xen", SUITE):
        _run_xen(into, [guard for guard in chosen if guard.xen])


def check(names):
    """Stops when a name is no guard's."""
    _chosen(read(), names)


def _chosen(guards, names):
    known = {guard.name: guard for guard in guards}
    for name in names:
        if name not in known:
            raise console.Failure(f"there is no guard '{name}'", f"There are {', '.join(known)}.")
    return [known[name] for name in names] if names else guards


def without(guard, text):
    """A file's text with the guard taken out; a Failure when it is not there just once."""
    if text.count(guard.take) != 1:
        raise console.Failure(
            f"guard '{guard.name}': what is to be taken out stands {text.count(guard.take)} times"
            f" in {guard.file}",
            "Bring tests/guards.toml up to date.",
        )
    return text.replace(guard.take, guard.leave)


def _judge(into, guard, failed, seconds, output=()):
    """Records whether each test that should miss the guard did."""
    kept = [name for name in guard.tests if not any(is_of(name, case) for case in failed)]
    reason = f"without it, {', '.join(kept)} still passed" if kept else ""
    into.add(
        report.Case(
            SUITE, guard.name, report.FAIL if kept else report.PASS, seconds, reason, tuple(output)
        )
    )


def is_of(name, case):
    """Whether a failed case is the named test; one of the module's is named by its last word."""
    return name in (case, case.split("::")[-1])


@contextmanager
def _alone():
    """Keeps two runs out of each other's copy: the second one waits."""
    paths.CACHE.mkdir(parents=True, exist_ok=True)
    with open(paths.CACHE / "mutants.lock", "w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.say("another run takes out guards; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run_module(into, chosen):
    if not chosen:
        return
    with _alone():
        _run_copy(into, chosen)


def _run_copy(into, chosen):
    """Takes each guard out of a copy of the module, and runs its tests there."""
    shutil.rmtree(_COPY, ignore_errors=True)
    for name in ("Cargo.toml", "Cargo.lock", "src", "tests"):
        source, target = paths.TOP / name, _COPY / name
        target.parent.mkdir(parents=True, exist_ok=True)
        # With times of now: for cargo what the last mutant left would be newer than these files.
        (
            shutil.copytree(source, target, copy_function=shutil.copy)
            if source.is_dir()
            else shutil.copy(source, target)
        )
    _check_tests(chosen)
    for guard in chosen:
        begin, file = time.monotonic(), _COPY / guard.file
        kept = file.read_text()
        file.write_text(without(guard, kept))
        cases, said = _cargo(guard.tests)
        file.write_text(kept)
        _judge(
            into,
            guard,
            [case.name for case in cases if case.result == report.FAIL],
            time.monotonic() - begin,
            said,
        )


def _check_tests(chosen):
    """A test that does not exist, or that fails with every guard in place, shows nothing."""
    named = sorted({name for guard in chosen for name in guard.tests})
    cases, said = _cargo(named)
    passed = {case.name.split("::")[-1] for case in cases if case.result == report.PASS}
    if missing := [name for name in named if name not in passed]:
        raise console.Failure(
            f"these tests do not pass, or do not exist: {', '.join(missing)}",
            "Run scripts/test host first." + (f" {said[-1]}" if said and not cases else ""),
        )


def _cargo(tests):
    """Runs the module's tests of these names in the copy; their cases, and what cargo said."""
    tools = toolchain.find()
    environment = {
        **tools.environment(),
        "CARGO_TARGET_DIR": str(paths.CACHE / "cargo-mutants"),
        # A found counterexample is enough, the smallest is not asked for.
        "PROPTEST_MAX_SHRINK_ITERS": "0",
        "RUST_BACKTRACE": "0",
    }
    words = [tools.cargo, "test", "--locked", "--lib", "--tests", "--no-fail-fast", "--", *tests]
    try:
        done = subprocess.run(
            words,
            cwd=_COPY,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [], (f"no end in {_SECONDS}s",)
    return host.parse_tests(done.stdout), tuple(
        line for line in done.stderr.splitlines() if line.startswith("error")
    )


def _run_xen(into, chosen):
    if not chosen:
        return
    prepare()
    images = hvm_tests.build()
    for guard in chosen:
        begin = time.monotonic()
        seen = _Silent()
        product = _xen_without(guard)
        boots = rig.plan(images, True)
        asked = rig.select(boots, images, [_probe(name) for name in guard.tests])
        rig.run_boots(
            seen,
            [replace(kept, product=product) for boot in boots if (kept := boot.only(asked)).probes],
            images,
        )
        failed = [case for case in seen.cases if case.result == report.FAIL]
        _judge(
            into,
            guard,
            [case.name for case in failed],
            time.monotonic() - begin,
            [f"{c.name}: {c.reason}" for c in failed],
        )


def _probe(name):
    """What has to run for a case: MACHINE/TEST or MACHINE/DEVICE/TEST, without the judge's part."""
    words = name.split("/")
    return "/".join(words[:2] if words[1] == "hostile" else words[:3])


def _xen_without(guard):
    """Xen with the module and the series, but without one guard."""
    source = xensource.patched()
    text = without(guard, (source / guard.file).read_text())

    def make(into):
        shutil.copytree(source, into, symlinks=True, dirs_exist_ok=True)
        (into / guard.file).write_text(text)

    mutant = cache.build(
        "mutant-source", [source.name, guard.file, text], make, f"taking out '{guard.name}'"
    )
    return xen.made(replace(xen.RELEASE, name="mutant"), mutant) / "xen.gz"


class _Silent(report.Report):
    """A report that shows nothing: here tests are meant to fail."""

    def add(self, case, quiet=False):
        self.cases.append(case)
