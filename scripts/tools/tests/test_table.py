# SPDX-License-Identifier: GPL-2.0-only
"""The table of devices: every cell comes from results, and README.md holds what a program put
there.
"""

import contextlib
import io
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from tools import console, paths, table
from tools.rig import Layout
from tools.rig.devices import Msi, Msix

RESULTS = {
    "bare/nvme/msix-deliver": "fail",
    "bare/nvme/outside": "fail",
    "amd-vi/nvme/msix-deliver": "pass",
    "amd-vi/nvme/msix-pba": "fail",
    "amd-vi/nvme/msix-odd": "skip",
    "amd-vi/nvme/ran": "pass",
    "amd-vi/nvme/outside": "pass",
    "amd-vi/nvme/learned": "pass",
    "debug/nvme/msix-deliver": "fail",
    "amd-vi/edu/msi-deliver": "pass",
    "amd-vi/edu/outside": "pass",
    "vt-d/edu/outside": "fail",
    "amd-vi/edu/msi-enable-unprogrammed": "pass",
    "amd-vi/edu/msi-enable-unprogrammed/outside": "pass",
    "linux/nvme/stock-driver": "pass",
    "linux/nvme/affinity": "fail",
    "linux/nvme/reboot": "skip",
}
PAGE = "before\n<!-- table of devices: begin -->\n<!-- table of devices: end, none -->\nafter\n"


def content(**changed):
    """What test.json holds, with RESULTS."""
    cases = [{"name": name, "result": result} for name, result in RESULTS.items()]
    made = {
        "date": "2026-01-02",
        "commit": "0123456789ab",
        "changes": False,
        "devices": {"nvme": "MSI-X 600", "edu": "MSI 1"},
    }
    return {**made, "suites": [{"name": "rig", "cases": cases}], **changed}


class TableTest(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.enterContext(mock.patch.object(paths, "REPORT", self.folder))
        self.enterContext(mock.patch.object(table, "MADE", self.folder / "devices.md"))
        self.enterContext(contextlib.redirect_stdout(io.StringIO()))
        self.page = self.folder / "README.md"
        self.page.write_text(PAGE)

    def put(self):
        table.write(content())
        table.put(self.page)
        return self.page.read_text()

    def test_cells_are_results(self):
        self.assertEqual(
            table.rows(content()),
            [
                ["edu", "MSI 1", "2 of 2", "no", "–", "–", "–", "–", "–"],
                ["nvme", "MSI-X 600", "1 of 3", "yes", "yes", "no", "–", "no", "–"],
            ],
        )

    def test_what_a_device_offers(self):
        msi, masked = Msi(0x40, True, False, 4), Msi(0x50, True, True, 1)
        msix = Msix(0xA0, 5, 0, 3, 0, 0, 3, 0x2000)
        offered = table.interrupts([Layout(msi, msix), Layout(masked, None), Layout(None, None)])
        self.assertEqual(offered, "MSI 4, MSI-X 5 + MSI 1 with masks + none")

    def test_the_page_gets_the_table_and_its_origin(self):
        page = self.put()
        self.assertEqual(table.faults(page), [])
        self.assertTrue(page.startswith("before\n") and page.endswith("after\n"))
        self.assertIn("on 2026-01-02 from commit 0123456789ab.", page)
        table.write(content(changes=True))
        table.put(self.page)
        self.assertIn("with changes.", self.page.read_text())

    def test_a_hand_is_noticed(self):
        page = self.put()
        self.assertIn("by hand", table.faults(page.replace("1 of 3", "3 of 3"))[0])
        self.assertIn("'fine' is no result", table.faults(page.replace("| no |", "| fine |"))[1])
        self.assertTrue(table.faults(page.replace("guest tests", "tests")))
        self.assertTrue(table.faults(PAGE))
        self.assertTrue(table.faults("no marks"))

    def test_nothing_to_put_and_no_place(self):
        with self.assertRaisesRegex(console.Failure, "no table of devices yet"):
            table.put(self.page)
        table.write(content())
        self.page.write_text("no marks")
        with self.assertRaisesRegex(console.Failure, "no place"):
            table.put(self.page)

    def test_readme(self):
        self.assertEqual(table.faults(table.README.read_text()), [])


if __name__ == "__main__":
    unittest.main()
