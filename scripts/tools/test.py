# SPDX-License-Identifier: GPL-2.0-only
"""The command scripts/test."""

import argparse
import sys

from . import console, mutants, report, table
from .rig import room
from .suites import drivers, host, object as objects, rig

_TEXT = """\
Tests msitrap.

  scripts/test               everything but the long tests
  scripts/test all           everything
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


def main(words):
    """Runs the command; returns its exit status."""
    options = _parse(words)
    if options.part == "table":
        table.put()
        return 0
    everything, origin = options.part == "all", table.origin()
    if options.part in (None, "all", "rig", "drivers", "mutants"):
        room.check()
    into = report.Report()
    if options.part in (None, "all", "host"):
        host.run(into)
    if options.part == "mutants":
        mutants.run(into, options.names)
    if options.part == "coverage":
        host.run_module(into, shown=True)
    if options.part in (None, "all", "object"):
        objects.run(into, everything)
    if options.part in (None, "all", "rig"):
        rig.run(into, options.names, everything)
    if options.part in (None, "all", "drivers") or (options.part == "rig" and not options.names):
        drivers.run(into, options.names, everything)
    if options.part in (None, "all", "rig") and not options.names and into.devices:
        table.write({**into.content(), **origin})
    return into.finish()


def _parse(words):
    parser = argparse.ArgumentParser(
        prog="scripts/test", usage="scripts/test [all | host | coverage | object | rig [NAME...] | drivers [NAME...] | mutants [GUARD...] | table]",
        description=_TEXT, formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("part", nargs="?", choices=("all", "host", "coverage", "object", "rig", "drivers", "mutants", "table"), help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    if options.names and options.part not in ("rig", "drivers", "mutants"):
        parser.error("names go with 'rig', 'drivers' and 'mutants'")
    return options


if __name__ == "__main__":
    console.main(lambda: main(sys.argv[1:]))
