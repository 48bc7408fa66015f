# SPDX-License-Identifier: GPL-2.0-only
"""The suite `host`: form, lints, unit and property tests; needs no Xen and no emulator."""

import re
import shutil
import subprocess
import time
from pathlib import Path

from .. import console, coverage, guests, paths, report, toolchain
from . import units

SUITE = "host"
# These judge the object and are part of its suite.
OBJECT_UNITS = frozenset({"test_elf", "test_gate", "test_module", "test_symbols", "test_xen"})
_TARGET = paths.CACHE / "cargo-host"
_UNKEPT = frozenset({".git", ".cache", "out", "target", "__pycache__"})
# Made by programs that leave no room for a comment, or text of a licence.
_NO_SPDX = re.compile(
    r"(^|/)(Cargo\.lock|LICENSE|COPYING|\.gitignore)$|\.(json|patch)$|/series$"
    r"|\.proptest-regressions$"
)
_TEST = re.compile(
    r"^test (\S+)(?: - should panic)? \.\.\. (ok|FAILED|ignored)(?:.*<([\d.]+)s>)?", re.MULTILINE
)
_PROGRAM = re.compile(r"^\s+Running .*\((.+)\)$", re.MULTILINE)
# Section numbers of specifications have this form too, and begin with one digit.
_ADDRESS = re.compile(r"(?<![\d.])\d{2,3}(?:\.\d{1,3}){3}(?![\d.])")


def run(into):
    """Runs the suite; results go into the report `into`."""
    with into.stage("host: form and lints", SUITE):
        for name, check in _checks().items():
            into.add(_judged(name, check))
    run_module(into)
    with into.stage("host: tests of the scripts", SUITE):
        units.run(SUITE, into, lambda name: name not in OBJECT_UNITS)
    console.say(
        f"host: {sum(c.suite == SUITE and c.result == report.PASS for c in into.cases)}"
        " tests passed"
    )


def run_module(into, shown=False):
    """Runs the module's tests, and counts the lines of its core they reach; `shown`: by file."""
    programs = None
    with into.stage("host: unit and property tests", SUITE):
        programs = cargo_tests(into)
    if programs is None:
        return
    with into.stage("host: coverage of the core", SUITE):
        _cover(into, programs, shown)


def _cover(into, programs, shown):
    begin = time.monotonic()
    measured = coverage.measure(toolchain.find(), programs)
    coverage.write(measured)
    table = coverage.table(measured)
    for line in table if shown else table[-1:]:
        console.say(f"host: {line}")
    into.add(
        _case("coverage-of-core", coverage.findings(measured), time.monotonic() - begin, table)
    )


def _checks():
    """Checks by name; each returns its findings, or raises a Failure."""
    return {
        "rustfmt": lambda: cargo("fmt", "--check"),
        "clippy": lambda: cargo("clippy", "--locked", "--all-targets", "--", "-D", "warnings"),
        "clippy-boundary": lambda: cargo(
            "clippy",
            "--locked",
            "--lib",
            "--target",
            "x86_64-unknown-none",
            "-Zbuild-std=core",
            "--",
            "-D",
            "warnings",
        ),
        "guests-lint": guests.lint,
        "shellcheck": lambda: shellcheck(shell_scripts(kept_files(paths.TOP))),
        "licences": lambda: without_licence(kept_files(paths.TOP)),
        "no-foreign-names": lambda: naming(kept_files(paths.TOP), foreign_names()),
    }


def _judged(name, check):
    begin = time.monotonic()
    try:
        with console.sentences():
            findings = check() or []
    except console.Failure as failure:
        return report.failed(SUITE, name, failure, time.monotonic() - begin)
    return _case(name, findings, time.monotonic() - begin, findings)


def _case(name, findings, seconds, output):
    """The result of a check; `output` is what tells more when it failed."""
    if not findings:
        return report.Case(SUITE, name, report.PASS, seconds)
    return report.Case(
        SUITE, name, report.FAIL, seconds, f"{len(findings)} found: {findings[0]}", tuple(output)
    )


def cargo(command, *words):
    """Runs one of cargo's commands on the module; a Failure names the log."""
    tools = toolchain.find()
    # Beside the compiler: cargo itself would first look among the user's own programs.
    program = tools.rustc.with_name(f"cargo-{command}")
    if not program.is_file():
        raise console.Failure(
            f"{tools.rustc} has no cargo-{command} beside it",
            "Install rustfmt and clippy of the same compiler"
            " (Debian: rust-clippy and rustfmt, or their -web kin).",
        )
    environment = {
        **tools.environment(),
        "CARGO": str(tools.cargo),
        "CARGO_TARGET_DIR": str(_TARGET),
    }
    log = f"cargo-{command}"
    (paths.LOGS / f"{log}.log").unlink(missing_ok=True)
    console.run([program, command, *words], log, cwd=paths.TOP, env=environment)


def cargo_tests(into):
    """Runs the module's tests, each as a result of its own; returns the programs that held them."""
    tools = toolchain.find()
    words, counting = coverage.instrumentation(tools)
    environment = {**tools.environment(), "CARGO_TARGET_DIR": str(_TARGET), **counting}
    begin = time.monotonic()
    done = subprocess.run(
        [
            tools.cargo,
            "test",
            *words,
            "--locked",
            "--lib",
            "--tests",
            "--no-fail-fast",
            "--",
            "-Zunstable-options",
            "--report-time",
        ],
        cwd=paths.TOP,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    found = parse_tests(done.stdout)
    log = paths.LOGS / "cargo-test.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(done.stderr + done.stdout)
    for case in found:
        into.add(case, quiet=True)
    if done.returncode != 0 and not any(case.result == report.FAIL for case in found):
        raise console.Failure("cargo could not run the module's tests", "The log says why.", log)
    console.say(f"host: {len(found)} tests of the module in {time.monotonic() - begin:.1f}s")
    return _PROGRAM.findall(done.stderr)


def parse_tests(output):
    """The results in what `cargo test` prints."""
    words = {"ok": report.PASS, "FAILED": report.FAIL, "ignored": report.SKIP}
    cases = []
    for name, word, seconds in _TEST.findall(output):
        said = tuple(_said(output, name)) if word == "FAILED" else ()
        reason = {"FAILED": _panic(said), "ignored": "it is marked to be ignored"}.get(word, "")
        cases.append(report.Case(SUITE, name, words[word], float(seconds or 0), reason, said))
    return cases


def _said(output, name):
    """What a failed test printed."""
    lines = output.splitlines()
    head = f"---- {name} stdout ----"
    if head not in lines:
        return []
    rest = lines[lines.index(head) + 1 :]
    end = next(
        (n for n, line in enumerate(rest) if line.startswith(("---- ", "failures:"))), len(rest)
    )
    return [line for line in rest[:end] if line.strip()]


def _panic(said):
    """Where and with what a test panicked, in one line."""
    for number, line in enumerate(said):
        if " panicked at " in line:
            following = said[number + 1] if number + 1 < len(said) else ""
            return f"{line.split(' panicked at ')[1]} {following}".strip()
    return said[0] if said else "it failed and printed nothing"


def kept_files(top):
    """The files of the checkout that are kept, not made."""
    found = []
    for item in sorted(top.iterdir()):
        if item.name in _UNKEPT or item.is_symlink():
            continue
        found += kept_files(item) if item.is_dir() else [item]
    return found


def shell_scripts(files):
    """Those of the files that a shell runs."""
    return [file for file in files if re.match(rb"#!.*\b(ba)?sh\b", file.read_bytes()[:80])]


def shellcheck(files):
    """The findings of shellcheck, each with its place."""
    if not shutil.which("shellcheck"):
        raise console.Failure("shellcheck is missing", "Run scripts/setup host.")
    found = []
    for file in files:
        # The shell of busybox is closest to dash.
        dialect = ["-s", "dash"] if b"busybox" in file.read_bytes()[:80] else []
        done = subprocess.run(
            ["shellcheck", "-f", "gcc", *dialect, file], capture_output=True, text=True, check=False
        )
        found += (done.stdout + done.stderr).splitlines()
    return [line.removeprefix(f"{paths.TOP}/") for line in found]


def without_licence(files):
    """The files that do not name their licence in their first lines."""
    found = []
    for file in files:
        name = str(file.relative_to(paths.TOP))
        head = b"\n".join(file.read_bytes().split(b"\n")[:5])
        if not _NO_SPDX.search(name) and b"SPDX-License-Identifier: GPL-2.0-only" not in head:
            found.append(
                f"{name} does not say SPDX-License-Identifier: GPL-2.0-only in its first lines"
            )
    return found


def foreign_names():
    """Names that belong to this machine alone: its folders and the hosts its packages come from."""
    names = {str(paths.TOP), f"{Path.home()}/"}
    settings = [
        *Path("/etc/apt").rglob("*.list"),
        *Path("/etc/apt").rglob("*.sources"),
        *Path("/etc/apt").rglob("*.conf"),
    ]
    for file in [*settings, Path("/etc/apt/apt.conf"), *Path.home().glob(".cargo/config*")]:
        if file.is_file():
            names |= set(
                re.findall(
                    r"https?://(?:[^/@\s\"]*@)?([\w-]+(?:\.[\w-]+)+)",
                    file.read_text(errors="replace"),
                )
            )
    return names


def naming(files, names):
    """Where the files name one of `names`, or an address of a network."""
    found = []
    for file in files:
        if file.name == "Cargo.lock":
            continue
        for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1):
            where = f"{file.relative_to(paths.TOP)}:{number}"
            found += [f"{where} names {name}" for name in names if name in line]
            found += [f"{where} names the address {address}" for address in _ADDRESS.findall(line)]
    return found
