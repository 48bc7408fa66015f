# SPDX-License-Identifier: GPL-2.0-only
"""Reading objects: what objdump and readelf say of the same file is what the reader says."""

import re
import subprocess
import tempfile
import unittest
from pathlib import Path

from tools import console, elf

SOURCE = """
    .text
    .globl first
    .type first, @function
first: call second
    lea second(%rip), %rax
    lea first(%rip), %rdi
    movq $1, %fs:8
    .zero 32
    .section .text.other, "ax"
    .type second, @function
second: nop
    .type third, @function
third: jmp first
    .data
    .quad third, outside
"""


class ElfTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.file = Path(scratch.name, "unit.o")
        subprocess.run(["as", "--64", "-o", self.file, "-"], input=SOURCE, text=True, check=True)
        self.unit = elf.Object(self.file)

    def named(self, places):
        return {self.unit.functions[place] for place in places}

    def test_symbols(self):
        self.assertEqual(self.named(self.unit.functions), {"first", "second", "third"})
        self.assertEqual({s.name for s in self.unit.symbols if s.is_global}, {"first", "outside"})
        self.assertEqual(
            {s.name for s in self.unit.symbols if not s.defined and s.name}, {"outside"}
        )

    def test_relocations_are_readelfs(self):
        text = subprocess.run(
            ["readelf", "-rW", self.file], capture_output=True, text=True, check=True
        ).stdout
        told = [
            (int(at, 16), kind)
            for at, kind in re.findall(
                r"^([0-9a-f]{16})\s+\S+\s+R_X86_64_(\w+)", text, re.MULTILINE
            )
        ]
        self.assertEqual(sorted(told), sorted((r.offset, r.kind) for r in self.unit.relocations))

    def test_instructions_cover_all_code(self):
        for section in (s for s in self.unit.sections if s.is_code):
            size = sum(i.size for i in self.unit.instructions if i.section == section.index)
            self.assertEqual(size, section.size, section.name)

    def test_address_taken(self):
        # `second` by lea, `third` by data; `first` by itself; and a call alone takes none.
        self.assertEqual(self.named(self.unit.address_taken), {"first", "second", "third"})
        calls = self.file.with_name("calls.o")
        plain = SOURCE.replace("lea second(%rip)", "lea 8(%rsp)").replace(
            "lea first(%rip)", "lea 8(%rsp)"
        )
        plain = plain.replace(".quad third, outside", "")
        subprocess.run(["as", "--64", "-o", calls, "-"], input=plain, text=True, check=True)
        self.assertEqual(elf.Object(calls).address_taken, set())

    def test_refuses_what_is_no_object(self):
        image = self.file.with_name("image")
        subprocess.run(
            ["ld", "-e", "first", "--unresolved-symbols=ignore-all", "-o", image, self.file],
            check=True,
        )
        with self.assertRaisesRegex(console.Failure, "no relocatable x86-64 object"):
            elf.Object(image)


if __name__ == "__main__":
    unittest.main()
