# SPDX-License-Identifier: GPL-2.0-only
"""The command scripts/build: the module's object, the link gate, Xen."""

import argparse
import sys

from . import console, first, gate, module, paths, xen, xensource

_TEXT = """\
Builds msitrap for Xen 4.20.

  scripts/build                 the object, its gate, Xen release and debug
  scripts/build object          only the object (out/msitrap.o) and its gate
  scripts/build xen             only Xen: out/xen-4.20.gz, .efi, -syms, and the same of
                                xen-4.20-debug
  scripts/build xen --release   one of the two

XEN_SRC=folder-or-tarball takes Xen's source from there instead of Debian's archive,
MSITRAP_CACHE=folder keeps the builds there instead of in .cache, RUSTC and CARGO name a compiler.
The gate's findings and the object's sizes are in out/report/object.json.
"""


def main(words):
    """Runs the command; returns its exit status."""
    options = _parse(words)
    if options.part != "object":
        xensource.check()
    first.setup("build")
    # A tree that was built before needs little more.
    if options.part != "object" and not any(paths.CACHE.glob("xen-tree-*")):
        xen.check_disk()
    if options.part != "xen":
        build_object()
    if options.part != "object":
        xensource.tell_newer()
        console.say(f"Xen's source: {xensource.describe()}")
        for variant in _variants(options):
            for file in xen.build(variant).values():
                console.say(f"made {file}")
    return 0


def build_object():
    """Builds the object and holds it to the gate; returns its path."""
    unit = module.build()
    results = gate.check(unit)
    report = gate.report(unit, results)
    gate.demand(results)
    console.say(
        f"made {module.OBJECT}: {len(results)} of {len(results)} rules of the gate pass,"
        f" see {report}"
    )
    return unit


def _variants(options):
    chosen = [v for v, on in ((xen.RELEASE, options.release), (xen.DEBUG, options.debug)) if on]
    return chosen or [xen.RELEASE, xen.DEBUG]


def _parse(words):
    parser = argparse.ArgumentParser(
        prog="scripts/build",
        usage="scripts/build [object | xen [--release] [--debug]]",
        description=_TEXT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("part", nargs="?", choices=("object", "xen"), help=argparse.SUPPRESS)
    parser.add_argument("--release", action="store_true", help="only Xen as it is shipped")
    parser.add_argument(
        "--debug", action="store_true", help="only Xen with its own checks (CONFIG_DEBUG=y)"
    )
    options = parser.parse_args(words)
    if (options.release or options.debug) and options.part != "xen":
        parser.error("--release and --debug go with 'xen'")
    return options


if __name__ == "__main__":
    console.main(lambda: main(sys.argv[1:]))
