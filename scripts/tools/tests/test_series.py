# SPDX-License-Identifier: GPL-2.0-only
"""The form of a series, and what is said of one that does not apply."""

import re
import tempfile
import unittest
from pathlib import Path

from tools import console, paths, series, xensource

GOOD = """\
From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001
From: An Author <author@example.org>
Date: Mon, 23 Nov 2026 12:00:00 +0000
Subject: [PATCH 1/1] x86: change a line

Why it is changed.

Signed-off-by: An Author <author@example.org>
---
 one.c | 2 +-

diff --git a/one.c b/one.c
--- a/one.c
+++ b/one.c
@@ -1,3 +1,3 @@
 first
-second
+2nd
 third
@@ -11,3 +11,3 @@
 eleventh
-twelfth
+12th
 thirteenth
"""
ONE = "first\nsecond\nthird\n4\n5\n6\n7\n8\n9\n10\neleventh\ntwelfth\nthirteenth\n"


class SeriesTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name, "4.20")
        self.tree = Path(scratch.name, "tree")
        self.folder.mkdir()
        self.tree.mkdir()
        self.put(GOOD)

    def put(self, text):
        (self.folder / "series").write_text("# the only one\n0001-x86.patch\n")
        (self.folder / "0001-x86.patch").write_text(text)

    def test_applies(self):
        (self.tree / "one.c").write_text(ONE)
        series.apply(self.folder, self.tree)
        self.assertIn("2nd", (self.tree / "one.c").read_text())
        self.assertEqual([f.name for f in self.tree.iterdir()], ["one.c"])
        self.assertEqual(series.touched(self.folder), ["one.c"])

    def assert_refused(self, text, reason):
        if text is not None:
            (self.tree / "one.c").write_text(text)
        with self.assertRaisesRegex(console.Failure, f"0001-x86.patch does not apply: {reason}"):
            series.apply(self.folder, self.tree)

    def test_names_patch_file_and_hunk(self):
        self.assert_refused(ONE.replace("twelfth", "other"), "hunk #2 of one.c, at line 11,")

    def test_no_fuzz(self):
        self.assert_refused(ONE.replace("thirteenth", "other"), "hunk #2 of one.c")

    def test_missing_file(self):
        self.assert_refused(None, "hunk #1 finds no file one.c")

    def test_applied_twice(self):
        (self.tree / "one.c").write_text(ONE)
        series.apply(self.folder, self.tree)
        self.assert_refused(None, "hunk #1 of one.c")

    def test_missing_patch(self):
        (self.folder / "0001-x86.patch").unlink()
        with self.assertRaisesRegex(console.Failure, "names 0001-x86.patch, which is missing"):
            series.patches(self.folder)

    def test_form(self):
        self.assertEqual(series.faults(self.folder), [])
        for line in (
            "From 0000",
            "From: An",
            "Date: ",
            "Subject: ",
            "Why it is",
            "Signed-off-by: ",
        ):
            self.put("".join(f"{row}\n" for row in GOOD.splitlines() if not row.startswith(line)))
            self.assertTrue(series.faults(self.folder), f"without {line}")

    def test_unlisted_patch(self):
        (self.folder / "0002-more.patch").write_text(GOOD)
        self.assertEqual(series.faults(self.folder), ["0002-more.patch is not in the series"])

    def test_fixes_come_before_the_option(self):
        option = GOOD.replace("+2nd", "+config MSITRAP").replace("one.c", "Kconfig")
        for number, text in enumerate((GOOD, GOOD, option, GOOD), 1):
            (self.folder / f"000{number}-x.patch").write_text(text)
        (self.folder / "series").write_text("".join(f"000{n}-x.patch\n" for n in range(1, 5)))
        found = [patch.name for patch in series.fixes(self.folder)]
        self.assertEqual(found, ["0001-x.patch", "0002-x.patch"])

    def test_each_patch_is_in_the_docs(self):
        page = (paths.TOP / "docs/upstream.md").read_text()
        rows = re.findall(r"^\| (\d+) \| (.+?) \| (.+) \|$", page, re.MULTILINE)
        listed = series.patches(xensource.PATCHES)
        self.assertEqual([int(number) for number, _, _ in rows], list(range(1, len(listed) + 1)))
        for patch, (_, touches, _) in zip(listed, rows):
            named = set(re.findall(r"`([^`]+)`", touches))
            files = re.findall(r"^\+\+\+ b/(\S+)", patch.read_text(), re.MULTILINE)
            self.assertEqual(named, {Path(file).name for file in files}, patch.name)
        fixes = [number for number, _, what in rows if what.startswith("a fault of Xen's")]
        self.assertEqual(len(fixes), len(series.fixes(xensource.PATCHES)))
        self.assertIn(f"Patches 1 to {len(fixes)} mend faults of Xen's own", page)

    def test_the_real_series(self):
        self.assertTrue(series.patches(xensource.PATCHES))
        self.assertEqual(series.faults(xensource.PATCHES), [])


if __name__ == "__main__":
    unittest.main()
