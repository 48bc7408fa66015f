# SPDX-License-Identifier: GPL-2.0-only
"""The command scripts/run: builds all, then compares who may enable MSI, stock Xen with msitrap."""

import argparse
import errno
import re
import sys
from dataclasses import dataclass, field

from . import console, debian, first, guests, observe, report, xen, xensource
from .rig import DEVICES, Guest, Machine, emulator, room
from .suites import rig

_TEXT = """\
Builds Xen with msitrap and an emulated machine, and shows who may enable MSI:
stock Xen with each of pciback's modes, and msitrap. Both are built from the same
source, stock Xen without the series. Everything shown is measured in this run, the
hardware's side in QEMU's own trace. The table for other programs is
out/report/run.json, consoles and traces are in out/rig.
"""
REACHES, UNPROGRAMMED, WRITES = (
    "msi_reaches_guest",
    "unprogrammed_enable_reaches_hardware",
    "msi_writes_by_pciback",
)
_INTX = re.compile(r"saw \d+ of INTx on vCPU \d+$|INTx-disable")
ROWS = {
    REACHES: "MSI reaches the guest",
    UNPROGRAMMED: "stub domain can enable an unprogrammed device",
    WRITES: "writes to MSI bits by pciback on the device's real registers",
}


@dataclass(frozen=True)
class Column:
    """One way to let a guest have MSI, and what is known to come of it."""

    name: str
    title: str
    device: str
    pciback: str
    expected: dict


@dataclass
class Measured:
    """What was seen of a column."""

    cells: dict = field(default_factory=dict)
    order: list = field(default_factory=list)
    retries: int = 0


def _expected(reaches, unprogrammed, writes):
    """The cells that are known beforehand; `writes` says whether there are any."""
    return {REACHES: reaches, UNPROGRAMMED: unprogrammed, WRITES: writes}


# A device of its own for each: permissive outlives the guest.
STOCK = (
    Column(
        "stock",
        "stock Xen, default pciback",
        DEVICES["edu"].address,
        "default",
        _expected(False, False, False),
    ),
    Column(
        "permissive",
        "stock Xen, permissive",
        DEVICES["edu-2"].address,
        "permissive",
        _expected(True, True, True),
    ),
    Column(
        "interrupt-control",
        "stock Xen, allow_interrupt_control",
        DEVICES["edu-3"].address,
        "interrupt-control",
        _expected(True, True, True),
    ),
)
MSITRAP = (
    Column(
        "msitrap",
        "msitrap, default pciback",
        DEVICES["edu"].address,
        "default",
        _expected(True, False, False),
    ),
)
COLUMNS = (*STOCK, *MSITRAP)


def main(words):
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="scripts/run",
        usage="scripts/run",
        description=_TEXT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(words)
    first.check()
    first.setup("rig")
    room.check()
    xensource.tell_newer()
    emulator.find(debian.Archive().ready())
    images = guests.build()
    products, stock = xen.build(), xen.build(xen.STOCK)
    table, versions = {}, {"source": xensource.describe()}
    with Machine(stock["gz"], name="run-stock") as machine:
        versions["stock"] = machine.version
        _measure(machine, STOCK, images, table)
        third = _pcifront(machine, images)
    with Machine(products["gz"], name="run-msitrap") as machine:
        versions["msitrap"] = machine.version
        _measure(machine, MSITRAP, images, table)
    _write(table, third, versions)
    _show(table, third, versions)
    _go_on(products)
    return _demand(table)


def _measure(machine, columns, images, table):
    """Measures the cells of these columns, each shown as soon as it is known."""
    for column in columns:
        measured = table[column.name] = Measured()
        options = {"devices": (column.device,), "pciback": column.pciback}
        result = machine.run(rig.guest_of(images["msi-deliver"], **options))
        measured.order = observe.order(result, "run")
        _cell(column, measured, REACHES, _reaches(column, result))
        _cell(column, measured, WRITES, len(observe.by_dom0(result)))
        attempt = machine.run(_attempt("enable-unprogrammed", images, **options))
        _cell(column, measured, UNPROGRAMMED, _reached_hardware(column, attempt))
        measured.retries = result.retries + attempt.retries


def _attempt(hook, images, **options):
    """A guest that never runs, in whose stub domain a hook does."""
    return Guest(hook, images["idle"].image, stubdom_hook=hook, paused=True, **options)


def _cell(column, measured, row, value):
    measured.cells[row] = value
    console.say(f"{column.title}: {ROWS[row]}: {_word(value)}")


def _reaches(column, result):
    """Whether the guest got its interrupts; anything but a clear yes or no stops the run."""
    if rig.silent(result):
        return False
    # What stock Xen does to INTx besides is no matter of this table.
    failures = [line for line in result.console if line.startswith("Failure: ")]
    if result.status == "SUCCESS" or (
        result.status == "FAILURE" and failures and all(map(_INTX.search, failures))
    ):
        return True
    raise console.Failure(
        f"'{column.title}' cannot be measured:"
        f" the guest ended with {result.status} ({result.reason})",
        "Its console is in out/rig; run the command again when the machine has less to do.",
    )


def _reached_hardware(column, result):
    """Whether the stub domain's own attempt set the device's enable bit."""
    if "wrote" not in rig.words_of(result):
        raise console.Failure(
            f"'{column.title}' cannot be measured:"
            f" the stub domain did not make its attempt ({result.hook or result.reason})",
            "Its console is in out/rig.",
        )
    return bool(observe.enables(result))


def _pcifront(machine, images):
    """The article's third option, pcifront's own command: what it sets up, and for whom."""
    result = machine.run(_attempt("pcifront-msi", images, devices=(STOCK[0].device,)))
    if result.status != "SUCCESS" or "bound" not in rig.words_of(result):
        return f"could not be measured ({result.hook or result.reason})"
    seen = f"{result.hook}; enable bit set {len(observe.enables(result))} times, seen from outside"
    guest = re.search(r"HVM restore d(\d+)", "\n".join(result.xen_log))
    asked = re.search(r"xen map irq failed -(\d+) for (\d+) domain", "\n".join(result.dom0_log))
    if not guest or not asked:
        return f"could not be measured ({seen})"
    whose = "the guest" if asked[2] == guest[1] else "the stub domain"
    return (
        f"dom0 asks Xen for an interrupt of domain {asked[2]}, {whose}"
        f" (the guest is domain {guest[1]}); "
        f"Xen answers -{asked[1]}, {errno.errorcode.get(int(asked[1]), 'unknown')} ({seen})"
    )


def _word(value):
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _show(table, third, versions):
    """The table, what was compared, the evidence from outside, the third option."""
    width = max(map(len, ROWS.values()))
    print(f"\n{'who may enable MSI':{width}} | " + " | ".join(column.title for column in COLUMNS))
    print("-" * width + "-+-" + "-+-".join("-" * len(column.title) for column in COLUMNS))
    for row, title in ROWS.items():
        cells = (
            f"{_word(table[column.name].cells[row]):{len(column.title)}}" for column in COLUMNS
        )
        print(f"{title:{width}} | " + " | ".join(cells))
    print(
        f"\nStock Xen is {versions['stock']}, msitrap's is {versions['msitrap']},"
        f" both built from {versions['source']}."
    )
    print("\nWhat the device's registers got with msitrap, in order, as QEMU saw it from outside:")
    for text in table["msitrap"].order:
        print(f"  {text}")
    print(f"\nThe article's option 3, pcifront's own command to enable MSI, on stock Xen: {third}.")
    if retries := sum(measured.retries for measured in table.values()):
        print(f"Guests run again for the emulator's own fault: {retries}.")


def _write(table, third, versions):
    content = {
        name: {
            **measured.cells,
            "register_writes": measured.order,
            "emulator_fault_retries": measured.retries,
        }
        for name, measured in table.items()
    }
    report.write_json("run", {**content, "pcifront_msi": third, "xen": versions})


def _go_on(products):
    print("\nXen with msitrap, to copy to a real machine (docs/hardware.md says how):")
    for file in products.values():
        print(f"  {file}")


def _demand(table):
    """The exit status: a cell that is not as expected is named."""
    odd = [
        f"'{ROWS[row]}' is {_word(value)} with '{column.title}'"
        for column in COLUMNS
        for row, value in table[column.name].cells.items()
        if bool(value) != column.expected[row]
    ]
    if odd:
        raise console.Failure(
            f"the table is not as it should be: {'; '.join(odd)}",
            "Consoles and traces of the run are in out/rig.",
        )
    return 0


if __name__ == "__main__":
    console.main(lambda: main(sys.argv[1:]))
