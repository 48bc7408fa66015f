# SPDX-License-Identifier: GPL-2.0-only
"""The parts of `scripts/test all`, and which of them have passed with the inputs of now.

A record of a part that passed is kept in the cache, under a key of all that its result rests on.
"""

import json
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache as once
from pathlib import Path

from . import cache, console, debian, guests, paths, report, table, toolchain, xen, xensource
from .rig import images
from .suites import drivers, host, rig

_FOLDER = "passed"
# What no result on the emulated machine rests on.
_NOT_THE_RIGS = ("docs", "tests", "scripts/tools/tests")


@dataclass(frozen=True)
class Part:
    """A part of the run: a suite, or one start of the emulated machine."""

    name: str
    suite: str
    stage: str = ""  # the stage of the report that it is, when it is no suite
    tests: tuple = ()  # what to ask the suite for, when it is no suite


def parts():
    """All parts, in the order in which they run."""
    described = guests.described()
    bare = rig.Boot("bare", rig.bare_probes(described))
    return [
        Part("host", "host"),
        Part("object", "object"),
        Part("rig-bare", "rig", "rig: guests on plain hardware", tuple(bare.names)),
        *(
            Part(f"rig-{boot.name}", "rig", f"rig: {boot.name}", tuple(boot.names))
            for boot in rig.plan(described, True)
        ),
        *(
            Part(
                f"drivers-{boot.name}",
                "drivers",
                f"drivers: {boot.name}",
                tuple(f"{boot.name}/{s.name}" for s in boot.scenarios),
            )
            for boot in drivers.plan(True)
        ),
    ]


def chosen(names):
    """The parts of these names, all when there are none."""
    known = {part.name: part for part in parts()}
    for name in names:
        if name not in known:
            raise console.Failure(f"there is no part '{name}'", f"There are {', '.join(known)}.")
    return [part for part in known.values() if not names or part.name in names]


class Record:
    """What passed before, and what passes in this run."""

    def __init__(self, into, origin):
        self.into, self.origin = into, origin

    def carry(self, part):
        """Takes over a part that passed with the same inputs; whether there is such a record."""
        kept = last(part)
        if kept:
            self.into.carried.append(kept)
            console.say(
                f"{part.name}: passed on {kept['date']} with the same inputs, not run again"
            )
        return bool(kept)

    @contextmanager
    def suite(self, part):
        """Around the run of a whole suite: records it."""
        # Before the run, so that a file that changes meanwhile is not taken for what was tested.
        file, begin, before = _file(part), time.monotonic(), len(self.into.cases)
        yield
        self._write(part, file, self.into.cases[before:], time.monotonic() - begin)

    def stages(self, chosen_parts):
        """Has the report record each of these parts when its stage ends."""
        files = {part.stage: (part, _file(part)) for part in chosen_parts}

        def ended(stage, cases, seconds):
            if stage in files:
                self._write(*files[stage], cases, seconds)

        self.into.ended = ended

    def _write(self, part, file, cases, seconds):
        results = [case.result for case in cases]
        if report.FAIL in results or report.PASS not in results:
            return
        devices = {
            kind: offer
            for kind, offer in self.into.devices.items()
            if any(kind in case.name.split("/") for case in cases)
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            json.dumps(
                {
                    "part": part.name,
                    **self.origin,
                    "seconds": round(seconds, 1),
                    "passed": results.count(report.PASS),
                    "skipped": results.count(report.SKIP),
                    "devices": devices,
                    "cases": [
                        {"suite": case.suite, "name": case.name, "result": case.result}
                        for case in cases
                    ],
                },
                indent=1,
            )
            + "\n"
        )


def last(part):
    """The record of a part that passed with the inputs of now, or None."""
    try:
        return json.loads(_file(part).read_text())
    except (OSError, ValueError):
        return None


def whole(content):
    """What test.json holds, with carried parts as if they had run: for the table of devices."""
    suites = [
        *content["suites"],
        *({"name": kept["part"], "cases": kept["cases"]} for kept in content["carried"]),
    ]
    devices = {
        kind: offer for kept in content["carried"] for kind, offer in kept["devices"].items()
    }
    return {**content, "suites": suites, "devices": {**devices, **content["devices"]}}


def show():
    """Prints each part, and when it passed with the inputs of now."""
    for part in parts():
        kept = last(part)
        told = (
            f"passed on {kept['date']} at {kept['commit']},"
            f" {kept['passed']} tests in {kept['seconds']:.0f}s"
            if kept
            else "-"
        )
        print(f"  {part.name:24} {told}", flush=True)


def _file(part):
    return paths.CACHE / _FOLDER / f"{part.name}-{_key(part.suite)}.json"


@once
def _key(suite):
    """The key of all that a suite's result rests on."""
    inputs = [*map(_named, _files(suite)), toolchain.find().describe(), *xen.compiler_versions()]
    if suite != "host":
        inputs.append(xensource.stock().name)
    if suite in ("rig", "drivers"):
        archive = debian.Archive().ready()
        packages = [*images.QEMU_PACKAGES, *images.DOM0_PACKAGES, "linux-image-amd64"]
        inputs += [*archive.candidates(packages), os.environ.get("QEMU", "")]
    return cache.key(*inputs)


def _files(suite):
    """The files of the checkout that a suite's result rests on."""
    left_out = [paths.TOP / name for name in _NOT_THE_RIGS] if suite in ("rig", "drivers") else []
    for file in host.kept_files(paths.TOP):
        pages = file.suffix == ".md" and suite != "host"
        if not pages and not any(folder in file.parents for folder in left_out):
            yield file


def _named(file):
    return f"{file.relative_to(paths.TOP)} {cache.key(file)}"
