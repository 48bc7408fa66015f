# SPDX-License-Identifier: GPL-2.0-only
"""Coverage of the core: which lines count, what is too little, and whose tools read the counts."""

import tempfile
import unittest
from pathlib import Path
from unittest import mock

from tools import console, coverage

SOURCE = """\
fn reached() {}
fn missed() {
    gone();
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    fn never() {}
}
"""
LCOV = """\
SF:{folder}/msi.rs
DA:1,7
DA:2,0
DA:3,0
DA:9,0
end_of_record
SF:{folder}/access.rs
DA:1,2
end_of_record
SF:/elsewhere/lib.rs
DA:1,0
end_of_record
"""


class Tools:
    """A compiler whose folder is empty."""

    rustc = Path("/nowhere/rustc")

    def __init__(self, folder):
        self.sysroot = Path(folder)

    def describe(self):
        """What the compiler says of itself."""
        return "rustc 9.9\nhost: x86_64-unknown-linux-gnu\nLLVM version: 999.1.8\n"


class CoverageTest(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        (self.folder / "msi.rs").write_text(SOURCE)
        (self.folder / "access.rs").write_text("fn only() {}\n")

    def read(self):
        return coverage.files(LCOV.format(folder=self.folder), self.folder)

    def test_lines_of_the_core_outside_its_tests_count(self):
        self.assertEqual(
            self.read(), [coverage.File("access.rs", 1), coverage.File("msi.rs", 3, (2, 3))]
        )
        self.assertEqual(coverage.percent(self.read()), 50)

    def test_too_little_is_a_finding_and_nothing_is_too_little(self):
        self.assertIn("50.0 %", coverage.findings(self.read())[0])
        self.assertTrue(coverage.findings([]))
        self.assertTrue(coverage.findings([coverage.File("a", 1000, tuple(range(51)))]))
        self.assertEqual(coverage.findings([coverage.File("a", 1000, tuple(range(50)))]), [])

    def test_the_table_names_each_file_and_the_lines_not_reached(self):
        lines = coverage.table(self.read())
        self.assertEqual(len(lines), 3)
        self.assertIn("not reached: 2-3", lines[1])
        self.assertIn("50.0 %  of    4 lines", lines[2])

    def test_runs_of_lines(self):
        self.assertEqual(coverage.ranges((3, 7, 8, 9, 11)), "3, 7-9, 11")
        self.assertEqual(coverage.ranges(()), "")

    def test_tools_of_another_version_do_not_serve(self):
        with self.assertRaises(console.Failure) as caught:
            coverage._tool(Tools(self.folder), "llvm-cov")
        self.assertIn("llvm-999", caught.exception.remedy)
        own = self.folder / "lib/rustlib/x86_64-unknown-linux-gnu/bin/llvm-cov"
        own.parent.mkdir(parents=True)
        own.touch()
        self.assertEqual(coverage._tool(Tools(self.folder), "llvm-cov"), own)

    def test_a_compiler_without_its_profiler_does_not_count(self):
        with mock.patch.object(coverage, "_FOLDER", self.folder / "counts"):
            self.assertEqual(coverage.instrumentation(Tools(self.folder)), ([], {}))


if __name__ == "__main__":
    unittest.main()
