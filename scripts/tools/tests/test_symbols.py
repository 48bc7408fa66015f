# SPDX-License-Identifier: GPL-2.0-only
"""Reading the list of symbols."""

import tempfile
import unittest
from pathlib import Path

from tools import console, symbols


class SymbolsTest(unittest.TestCase):
    def read(self, text):
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write(text)
            file.flush()
            return symbols.read(Path(file.name))

    def test_both_kinds(self):
        found = self.read("# a comment\nexport one # why\n\nimport two\nimport three\n")
        self.assertEqual((found.exports, found.imports), ({"one"}, {"two", "three"}))

    def test_bad_line_is_named(self):
        for line in ("exprot one", "export", "export one two"):
            with self.assertRaisesRegex(console.Failure, f"line 2 is '{line}'"):
                self.read(f"export good\n{line}\n")

    def test_the_real_list(self):
        found = symbols.read()
        self.assertTrue(found.exports and found.imports)
        self.assertFalse(found.exports & found.imports)


if __name__ == "__main__":
    unittest.main()
