# SPDX-License-Identifier: GPL-2.0-only
"""The module's object: its names, its landing pads, and the mitigations it follows."""

import subprocess
import tempfile
import unittest
from pathlib import Path

from tools import elf, gate, module, symbols

TWO_PADS = """
    .text
    .type called, @function
called: endbr64
    nop
    .type taken, @function
taken: endbr64
    call called
    .section .data.rel.ro, "aw"
    .quad taken
"""


class ModuleTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)

    def test_readable_names(self):
        access = "_RNvMNtNtCs2HAPM6DUlCn_7msitraps_4core6accessNtB2_11ByteEnables5merge"
        legacy = "_ZN7msitrap4core3msi8register17h0123456789abcdefE"
        found = module.readable([access, legacy])
        self.assertEqual(found[access], "msitrap.core.access.ByteEnables.merge")
        self.assertEqual(found[legacy], "msitrap.core.msi.register")

    def test_readable_names_are_short_and_differ(self):
        long = [f"_ZN300{'x' * 300}17h000000000000000{n}E" for n in range(3)]
        found = list(module.readable(long).values())
        self.assertEqual(len(set(found)), 3)
        self.assertTrue(all(len(name) <= module.LONGEST_NAME for name in found), found)

    def test_spare_landings_go(self):
        file = self.folder / "unit.o"
        subprocess.run(["as", "--64", "-o", file, "-"], input=TWO_PADS, text=True, check=True)
        file.write_bytes(module.without_spare_landings(elf.Object(file)))
        pads = [i.offset for i in elf.Object(file).instructions if i.mnemonic == "endbr64"]
        self.assertEqual(pads, [5])

    def test_every_set_of_mitigations_passes_the_gate(self):
        for on in (module.Mitigations(), module.Mitigations(False, False, False)):
            with self.subTest(on):
                demands = gate.Demands(symbols.read(), on)
                broken = {
                    r.rule: r.findings
                    for r in gate.check(module.build(on), demands)
                    if not r.passed
                }
                self.assertEqual(broken, {})


if __name__ == "__main__":
    unittest.main()
