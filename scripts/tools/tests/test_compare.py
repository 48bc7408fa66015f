# SPDX-License-Identifier: GPL-2.0-only
"""The comparison: what is measured, shown, and demanded of it."""

import contextlib
import io
import json
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from tools import compare, console, guests, paths, xen, xensource
from tools.rig import Layout, Result, Write
from tools.rig.devices import Msi

CAME = ["Test result: SUCCESS"]
SILENT = [
    "Failure: first time: expected 10 of vector 0x51 on vCPU 0, saw nothing",
    "Test result: FAILURE",
]
ON, OFF = 0x81, 0x80
VERSIONS = {"source": "4.20.4 (xen.tar)", "stock": "4.20.4", "msitrap": "4.20.4+msitrap"}
LAYOUTS = {"00:04.0": Layout(Msi(0x40, True, False, 1), None)}


def writes(*steps):
    """Writes of a running guest, from (cpu, register, value)."""
    return [Write(0.0, "00:04.0", register, value, cpu, "run") for cpu, register, value in steps]


class FakeMachine:
    """Gives for each of pciback's modes what that mode is known to give."""

    def __init__(self, **changed):
        self.behaviour = {
            "default": (False, False),
            "permissive": (True, True),
            "interrupt-control": (True, True),
            **changed,
        }

    def run(self, guest):
        """The result of one guest."""
        reaches, unprogrammed = self.behaviour[guest.pciback]
        seen = writes((0, 0x42, ON)) if unprogrammed else []
        if guest.stubdom_hook:
            return Result("SUCCESS", "", config_writes=seen, hook="wrote=0x0081", layouts=LAYOUTS)
        status = "SUCCESS" if reaches else "FAILURE"
        return Result(
            status, "", console=CAME if reaches else SILENT, config_writes=seen, layouts=LAYOUTS
        )


class CompareTest(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.enterContext(mock.patch.object(paths, "REPORT", self.folder))
        self.printed = io.StringIO()
        self.enterContext(contextlib.redirect_stdout(self.printed))
        image = guests.Test(
            "x", Path("x"), "", "functional", 1, "yes", "sometimes", 60, tests=("x",)
        )
        self.images = {"msi-deliver": image, "idle": image}

    def measure(self, stock=None, msitrap=None):
        table = {}
        compare._measure(stock or FakeMachine(), compare.STOCK, self.images, table)
        compare._measure(
            msitrap or FakeMachine(default=(True, False)), compare.MSITRAP, self.images, table
        )
        return table

    def test_known_pattern_passes(self):
        table = self.measure()
        self.assertEqual(compare._demand(table), 0)
        compare._write(table, "text", VERSIONS)
        written = json.loads((self.folder / "run.json").read_text())
        for name in ("stock", "permissive", "interrupt-control", "msitrap"):
            self.assertLessEqual(
                {compare.REACHES, compare.UNPROGRAMMED, compare.WRITES}, written[name].keys()
            )
        self.assertEqual(written["msitrap"][compare.WRITES], 0)
        self.assertIs(written["stock"][compare.REACHES], False)
        self.assertEqual(written["permissive"][compare.WRITES], 1)
        self.assertEqual(written["xen"], VERSIONS)

    def test_table_shows_every_cell(self):
        compare._show(self.measure(), "text", VERSIONS)
        said = self.printed.getvalue()
        self.assertIn(
            "Stock Xen is 4.20.4, msitrap's is 4.20.4+msitrap, both built from 4.20.4 (xen.tar).",
            said,
        )
        rows = [line for line in self.printed.getvalue().splitlines() if " | " in line]
        self.assertEqual(
            [cell.strip() for cell in rows[1].split("|")[1:]], ["no", "yes", "yes", "yes"]
        )
        self.assertEqual(
            [cell.strip() for cell in rows[2].split("|")[1:]], ["no", "yes", "yes", "no"]
        )

    def test_both_sides_are_of_one_source(self):
        built, booted = [], []

        class Machine(FakeMachine):
            """Remembers the Xen it was given."""

            version = "4.20"

            def __init__(self, xen, name):
                super().__init__(**({"default": (True, False)} if name == "run-msitrap" else {}))
                booted.append((name, xen))

            def __enter__(self):
                return self

            def __exit__(self, *_error):
                pass

        def made(variant, source):
            built.append((variant, source))
            return self.folder / variant.name

        self.enterContext(
            mock.patch.multiple(compare, Machine=Machine, _go_on=lambda products: None)
        )
        for target, name, stub in (
            (compare.first, "check", lambda: None),
            (compare.first, "setup", lambda part: None),
            (compare.room, "check", lambda: None),
            (compare.emulator, "find", lambda archive: None),
            (compare.debian, "Archive", mock.Mock()),
            (guests, "build", lambda: self.images),
            (xen, "made", made),
            (xen, "_publish", lambda file, variant, kind: file),
            (xensource, "stock", lambda: "source"),
            (xensource, "patched", lambda: "source with the series"),
            (xensource, "describe", lambda: "it"),
            (xensource, "tell_newer", lambda: None),
        ):
            self.enterContext(mock.patch.object(target, name, stub))
        self.assertEqual(compare.main([]), 0)
        self.assertEqual(built, [(xen.RELEASE, "source with the series"), (xen.STOCK, "source")])
        self.assertFalse(xen.STOCK.msitrap)
        self.assertEqual(
            dict(booted),
            {
                "run-stock": self.folder / "stock/xen.gz",
                "run-msitrap": self.folder / "release/xen.gz",
            },
        )

    def test_each_odd_cell_is_named(self):
        cases = (
            (
                {"msitrap": FakeMachine(default=(False, False))},
                "MSI reaches the guest' is no with 'msitrap",
            ),
            (
                {"msitrap": FakeMachine(default=(True, True))},
                "unprogrammed device' is yes with 'msitrap",
            ),
            (
                {"stock": FakeMachine(default=(True, False))},
                "MSI reaches the guest' is yes with 'stock Xen, default",
            ),
            (
                {"stock": FakeMachine(permissive=(True, False))},
                "real registers' is 0 with 'stock Xen, permissive",
            ),
        )
        for machines, told in cases:
            with self.subTest(told), self.assertRaisesRegex(console.Failure, told):
                compare._demand(self.measure(**machines))

    def test_a_crash_is_no_answer(self):
        crashed = mock.Mock(run=lambda guest: Result("CRASH", "the machine went down"))
        with self.assertRaisesRegex(console.Failure, "cannot be measured.*went down"):
            self.measure(stock=crashed)

    def test_intx_is_another_matter(self):
        column = compare.STOCK[1]
        intx = [
            "Failure: after MSI was switched off: expected no interrupt, saw 1 of INTx on vCPU 0"
        ]
        self.assertTrue(compare._reaches(column, Result("FAILURE", "", console=intx)))
        for console_lines in ([], [*intx, "Failure: something else"]):
            with self.assertRaises(console.Failure):
                compare._reaches(column, Result("FAILURE", "", console=console_lines))

    def test_an_attempt_not_made_is_no_answer(self):
        def run(guest):
            return Result("SUCCESS", "", hook="error=no device" if guest.stubdom_hook else "")

        with self.assertRaisesRegex(console.Failure, "did not make its attempt .error=no device"):
            self.measure(stock=mock.Mock(run=run))

    def test_pcifront_tells_whose_the_interrupt_is(self):
        for owner, told in ((4, "domain 4, the stub domain"), (3, "domain 3, the guest")):
            outcome = Result(
                "SUCCESS",
                "",
                hook="bound=false control=0x0080",
                xen_log=["(XEN) HVM restore d3: CPU 0"],
            )
            outcome.dom0_log = [f"pciback 0000:00:04.0: xen map irq failed -19 for {owner} domain"]
            line = compare._pcifront(mock.Mock(run=lambda guest, seen=outcome: seen), self.images)
            self.assertIn(told, line)
            self.assertIn("ENODEV", line)
        failed = Result("SUCCESS", "", hook="error=no device")
        self.assertIn(
            "could not be measured",
            compare._pcifront(mock.Mock(run=lambda guest: failed), self.images),
        )
