# SPDX-License-Identifier: GPL-2.0-only
"""The suite `object`: the module's object and the series, before anything boots."""

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from .. import console, gate, module, paths, report, series, unchanged, xensource
from . import host, units

SUITE = "object"


def run(into, everything=False):
    """Runs the suite; results go into the report `into`. `everything` adds
    `option-off-is-stock`.
    """
    with into.stage("object: the object and its gate", SUITE):
        begin = time.monotonic()
        unit = module.build()
        results = gate.check(unit)
        gate.report(unit, results)
        for result in results:
            _add(into, f"gate-{result.rule}", result.findings, begin)
        _timed(into, "same-bytes-in-another-folder", lambda: _differs_elsewhere(unit))
    with into.stage("object: the gate's own tests", SUITE):
        units.run(SUITE, into, lambda name: name in host.OBJECT_UNITS)
    with into.stage("object: the series", SUITE):
        _timed(into, "series-is-for-git-am", lambda: series.faults(xensource.PATCHES))
        _timed(
            into,
            "series-applies",
            lambda: [] if xensource.patched().is_dir() else ["it made no source"],
        )
    if everything:
        with into.stage("object: the option off", SUITE):
            _timed(into, "option-off-is-stock", _changed_when_off)


def _add(into, name, findings, begin):
    reason = f"{len(findings)} found: {findings[0]}" if findings else ""
    word = report.FAIL if findings else report.PASS
    into.add(
        report.Case(SUITE, name, word, time.monotonic() - begin, reason, tuple(findings)),
        quiet=name.startswith("gate-"),
    )


def _timed(into, name, check):
    """Adds the result of a check that returns findings, or raises a Failure."""
    begin = time.monotonic()
    try:
        with console.sentences():
            findings = check()
        _add(into, name, findings, begin)
    except console.Failure as failure:
        into.add(report.failed(SUITE, name, failure, time.monotonic() - begin))


def _differs_elsewhere(unit):
    """Builds the object in another folder, with a cache of its own."""
    with tempfile.TemporaryDirectory(prefix="msitrap-elsewhere-") as name:
        folder = Path(name).resolve()
        for part in ("Cargo.toml", "Cargo.lock", "src", "scripts"):
            copy = shutil.copytree if (paths.TOP / part).is_dir() else shutil.copy
            copy(paths.TOP / part, folder / part)
        console.run(
            [sys.executable, "-B", "-m", "tools.build", "object"],
            "object-elsewhere",
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": str(folder / "scripts"),
                "MSITRAP_CACHE": str(folder / "cache"),
            },
        )
        same = (folder / "out/msitrap.o").read_bytes() == unit.read_bytes()
    return [] if same else ["the object differs when it is built in another folder"]


def _changed_when_off():
    """The objects of Xen that the series, with its option off, changes."""
    compared, differing = unchanged.compare()
    console.say(f"object: {compared} objects of Xen compared")
    return [f"{name} differs" for name in differing]
