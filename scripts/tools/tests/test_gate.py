# SPDX-License-Identifier: GPL-2.0-only
"""The link gate rejects an object that breaks one rule, by that rule's name and no other."""

import subprocess
import tempfile
import unittest
from pathlib import Path

from tools import console, gate, module, symbols

# Keeps every rule; a case adds to it what breaks one.
GOOD = """
    .section .note.GNU-stack, "", @progbits
    .text
    .globl msitrap_entry
    .type msitrap_entry, @function
msitrap_entry:
    lea -0x20(%rsp), %rsp
    mov %edi, 0x8(%rsp)
    movzbl -0x1(%rsp,%rcx,2), %ecx
    mov callback(%rip), %r11
    call __x86_indirect_thunk_r11
    call msitrap_xen_service
    call memcpy
    movzbl datum(%rip), %eax
    lea 0x20(%rsp), %rsp
    jmp __x86_return_thunk
    .type taken, @function
taken:
    endbr64
    jmp __x86_return_thunk
    .section .rodata, "a"
datum: .ascii "a message for the log"
    .section .data.rel.ro, "aw"
callback: .quad taken
    .text
"""
LISTED = symbols.Symbols(
    frozenset({"msitrap_entry"}), frozenset({"msitrap_xen_service", "memcpy", "memset"})
)

# rule -> pieces of assembly, each of which breaks that rule alone.
BREAKERS = {
    "no-panic": (
        "core.panicking.panic_fmt: nop",
        "_ZN4core6option13unwrap_failed17h0123456789abcdefE: nop",
        '.section .rodata\n .ascii "src/core/device.rs"',
        '.section .rodata\n .ascii "index out of bounds: the len is "',
        "ud2",
    ),
    "no-vector-registers": (
        "movups (%rdi), %xmm0",
        "vpaddd %ymm1, %ymm2, %ymm3",
        "movq %mm0, %rax",
        "fldz",
        "fninit",
        "emms",
        "ldmxcsr (%rdi)",
        "vzeroupper",
        "xsave (%rdi)",
    ),
    "no-red-zone": (
        "mov %eax, -0x8(%rsp)",
        "mov -0x10(%rsp,%rax,8), %rdx",
        "lea -0x18(%rsp), %rdi",
    ),
    "text-is-relative": (
        "movabs $datum, %rax",
        "mov $datum, %edi",
        "mov $datum, %rdi",
        "mov datum(,%rax,8), %rdi",
    ),
    "data-is-plain": (".section .data\n .long datum", ".section .rodata\n .word datum"),
    "no-got": (
        "mov datum@GOTPCREL(%rip), %rax",
        "cmpq $0, datum@GOTPCREL(%rip)",
        ".section .data\n .quad datum@GOT",
    ),
    "landing-pads": (
        ".type bare, @function\nbare: nop\n .section .data.rel.ro\n .quad bare",
        ".type bare, @function\nbare: nop\n lea bare(%rip), %rdi",
        ".type lonely, @function\nlonely: endbr64",
        ".type called, @function\ncalled: endbr64\n call called",
        "mov $0xfa1e0ff3, %eax",
        "endbr32",
        ".byte 0x66, 0x0f, 0x1f, 0x01",
    ),
    "indirect-thunks": (
        "call *%rax",
        "jmp *0x8(%rdi)",
        "notrack jmp *%rcx",
        "call *callback(%rip)",
    ),
    "return-thunks": ("ret", "ret $8", "rep ret", "iretq", "lretq"),
    "imports": ("call msitrap_xen_other", "jmp __x86_indirect_thunk_array", "call memchr"),
    "exports": (
        ".globl seen\nseen: nop",
        ".weak seen\nseen: nop",
        ".globl seen\n .hidden seen\nseen: nop",
    ),
    "no-writable-code": (),
    "no-constructors": (
        '.section .init_array, "aw"\n .quad taken',
        '.section .ctors, "aw"\n .quad taken',
    ),
    "no-thread-local": (
        '.section .tbss, "awT", @nobits\n .zero 8',
        "mov %fs:0, %rax",
        "mov %gs:(%rdi), %rax",
    ),
    "known-sections": ('.section .other, "a"\n .byte 1', '.section .text.late, "ax"\n nop'),
    "small-frames": ("sub $0x408, %rsp", "lea -0x1000(%rsp), %rsp"),
    "short-names": ("x" * (module.LONGEST_NAME + 1) + ": nop",),
}


class GateTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)

    def assemble(self, source):
        target = self.folder / "unit.o"
        subprocess.run(
            ["as", "--64", "-o", target, "-"], input=f"{source}\n", text=True, check=True
        )
        return target

    def broken(self, unit, listed=LISTED, mitigations=module.Mitigations()):
        results = gate.check(unit, gate.Demands(listed, mitigations))
        return {r.rule: r.findings for r in results if not r.passed}

    def assert_only(self, rule, findings):
        self.assertEqual(list(findings), [rule], findings)

    def test_good_object_passes(self):
        self.assertEqual(self.broken(self.assemble(GOOD)), {})

    def test_each_rule_has_a_breaker(self):
        self.assertEqual(
            sorted(BREAKERS), sorted(rule.__name__.replace("_", "-") for rule in gate.RULES)
        )

    def test_executable_stack(self):
        unit = self.assemble(GOOD.replace('GNU-stack, ""', 'GNU-stack, "x"'))
        self.assert_only("no-writable-code", self.broken(unit))

    def test_writable_code(self):
        unit = self.assemble(GOOD)
        subprocess.run(
            ["objcopy", "--set-section-flags", ".text=alloc,load,code", unit], check=True
        )
        self.assert_only("no-writable-code", self.broken(unit))

    def test_unused_import(self):
        wider = symbols.Symbols(LISTED.exports, LISTED.imports | {"msitrap_xen_other"})
        self.assert_only("imports", self.broken(self.assemble(GOOD), wider))

    def test_missing_export(self):
        wider = symbols.Symbols(LISTED.exports | {"msitrap_other"}, LISTED.imports)
        self.assert_only("exports", self.broken(self.assemble(GOOD), wider))

    def test_unhardened_xen(self):
        off = module.Mitigations(ibt=False, return_thunk=False, indirect_thunk=False)
        plain = GOOD.replace("    endbr64\n", "").replace("jmp __x86_return_thunk", "ret")
        plain = plain.replace("call __x86_indirect_thunk_r11", "call *%r11")
        self.assertEqual(self.broken(self.assemble(plain), mitigations=off), {})
        self.assertEqual(
            list(self.broken(self.assemble(GOOD), mitigations=off)), ["landing-pads", "imports"]
        )

    def test_all_findings_are_named(self):
        findings = self.broken(self.assemble(GOOD + "ret\n nop\n ret"))
        self.assertEqual(len(findings["return-thunks"]), 2, findings)

    def test_failure_names_rule_and_place(self):
        results = gate.check(self.assemble(GOOD + "ret"), gate.Demands(LISTED))
        with self.assertRaisesRegex(console.Failure, r"return-thunks \(taken\+0x9: ret\)"):
            gate.demand(results)

    def test_no_object(self):
        file = self.folder / "text.o"
        file.write_text("no object at all")
        with self.assertRaisesRegex(console.Failure, "no 64-bit ELF file"):
            gate.check(file, gate.Demands(LISTED))


def _breaker(rule, piece):
    def test(self):
        self.assert_only(rule, self.broken(self.assemble(f"{GOOD}\n{piece}")))

    return test


for _rule, _pieces in BREAKERS.items():
    for _number, _piece in enumerate(_pieces, 1):
        setattr(GateTest, f"test_{_rule.replace('-', '_')}_{_number}", _breaker(_rule, _piece))


if __name__ == "__main__":
    unittest.main()
