# SPDX-License-Identifier: GPL-2.0-only
"""The command scripts/test."""

import argparse
import sys

from . import console, first, guests, mutants, report, resume, table, xensource
from .rig import room
from .suites import drivers, host, object as objects, rig

_TEXT = """\
Tests msitrap.

  scripts/test               everything but the long tests
  scripts/test all           everything
  scripts/test all --part NAME[,NAME...]
                             only these parts of everything
  scripts/test all --resume  leaves out the parts that passed before with the same
                             inputs; their counts are shown apart
  scripts/test parts         the parts, and which have passed with the inputs of now
  scripts/test host          form, lints, unit and property tests: needs no Xen
  scripts/test coverage      the module's own tests, and which lines of its core they reach
  scripts/test object        the object that Xen links, the series, what the option changes
  scripts/test rig           the emulated machine: guests that test, and Linux with its drivers
  scripts/test rig NAME...   only the guests so named
  scripts/test drivers [NAME...]
                             only Linux, or only these of its machines and scenarios
  scripts/test mutants [GUARD...]
                             takes out each guard in turn: a test has to fail (long)
  scripts/test table         puts the last run's table of devices into README.md

The last line counts; the status is 0 only when nothing failed. Results are in
out/report/test.json and test.xml (JUnit), the object's in out/report/object.json,
consoles and traces of the emulated machine in out/rig. A run of all of the rig
also makes the table of devices and drivers: out/devices.md.
"""
_PARTS = ("all", "host", "coverage", "object", "rig", "drivers", "mutants", "parts", "table")
_ON_THE_RIG = (None, "all", "rig", "drivers", "mutants")
# What scripts/setup has to install, if not all of it.
_SETUP = {"host": "host", "coverage": "host", "object": "build", "parts": "build"}


def main(words):
    """Runs the command; returns its exit status."""
    options = _parse(words)
    if options.part == "table":
        table.put()
        return 0
    _check(options)
    first.setup(_SETUP.get(options.part, "rig"))
    if options.part == "parts":
        resume.show()
        return 0
    origin = table.origin()
    into = report.Report()
    if options.part in _ON_THE_RIG:
        room.check()
    if options.part == "all":
        complete = _run_all(into, options, origin)
    else:
        _run(into, options)
        complete = options.part in (None, "rig") and not options.names
    if options.part not in ("host", "coverage"):
        _tell_xen(into)
    content = resume.whole(into.content())
    if complete and content["devices"]:
        table.write({**content, **origin})
    return into.finish()


def _check(options):
    """Stops, before any work, when something that the user named cannot serve."""
    if options.part == "rig":
        described = guests.described()
        rig.select(rig.plan(described, True), described, options.names)
    if options.part == "drivers":
        drivers.select(drivers.plan(True), options.names)
    if options.part == "mutants":
        mutants.check(options.names)
    if options.parts:
        resume.chosen(options.parts)
    if options.part not in ("host", "coverage"):
        first.check()


def _run(into, options):
    """Runs one suite, or all of them without the long tests."""
    if options.part in (None, "host"):
        host.run(into)
    if options.part == "mutants":
        mutants.run(into, options.names)
    if options.part == "coverage":
        host.run_module(into, shown=True)
    if options.part in (None, "object"):
        objects.run(into)
    if options.part in (None, "rig"):
        rig.run(into, options.names)
    if options.part in (None, "drivers") or (options.part == "rig" and not options.names):
        drivers.run(into, options.names)


def _run_all(into, options, origin):
    """Runs the parts that are asked for and not carried; returns whether the report has all."""
    asked, record = resume.chosen(options.parts), resume.Record(into, origin)
    left = [part for part in asked if not (options.resume and record.carry(part))]
    record.stages([part for part in left if part.stage])
    for part in left:
        if part.suite in ("host", "object"):
            with record.suite(part):
                host.run(into) if part.suite == "host" else objects.run(into, True)
    for suite in (rig, drivers):
        names = [name for part in left if part.suite == suite.SUITE for name in part.tests]
        everything = sum(part.suite == suite.SUITE for part in resume.parts()) == sum(
            part.suite == suite.SUITE for part in left
        )
        if names:
            suite.run(into, () if everything else names, True)
    return not options.parts


def _tell_xen(into):
    """Puts the source of Xen into the report, when there is one."""
    try:
        into.xen = xensource.describe()
    except console.Failure as failure:
        console.say(f"the version of Xen is not known: {failure.what}")


def _parse(words):
    parser = argparse.ArgumentParser(
        prog="scripts/test",
        usage=f"scripts/test [{' | '.join(_PARTS)}] [NAME...] [--part NAME[,NAME...]] [--resume]",
        description=_TEXT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("part", nargs="?", choices=_PARTS, help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--part", dest="parts", action="append", default=[], help=argparse.SUPPRESS)
    parser.add_argument("--resume", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    given = bool(options.parts)
    options.parts = [name for names in options.parts for name in names.split(",") if name]
    if given and not options.parts:
        parser.error("--part names no part")
    if options.names and options.part not in ("rig", "drivers", "mutants"):
        parser.error("names go with 'rig', 'drivers' and 'mutants'")
    if (options.parts or options.resume) and options.part != "all":
        parser.error("--part and --resume go with 'all'")
    return options


if __name__ == "__main__":
    console.main(lambda: main(sys.argv[1:]))
