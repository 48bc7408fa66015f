# SPDX-License-Identifier: GPL-2.0-only
"""The link gate: what must hold of the object before Xen may link it, rule by rule.

Each rule is one function over the object; it yields its findings, and none when it holds.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from . import console, elf, module, paths, symbols

REPORT = paths.REPORT / "object.json"
_INDIRECT_THUNK, _RETURN_THUNK = "__x86_indirect_thunk_", "__x86_return_thunk"
# What a compiler may call of its own accord; whether it does depends on its version, so these need
# not be used.
_COMPILER = frozenset({"memcpy", "memmove", "memset", "memcmp"})
# Xen's linker script places these and no others.
_SECTIONS = frozenset({".text", ".rodata", ".data.rel.ro", ".data", ".bss", ".note.GNU-stack"})
_TABLE = "_GLOBAL_OFFSET_TABLE_"
_CONSTRUCTORS = re.compile(r"\.(init|fini|preinit)(_array)?\b|\.[cd]tors\b")
# The most stack one function may take, in bytes. Xen's stack has no guard that would say what
# happened.
_FRAME = 1024
# Findings shown of a rule that fails; the report has all.
_SHOWN = 3


@dataclass(frozen=True)
class Demands:
    """What the object is held to: its symbol list and the mitigations it must follow."""

    symbols: symbols.Symbols
    mitigations: module.Mitigations = module.Mitigations()


@dataclass(frozen=True)
class Result:
    """A rule by its name, what it demands, and each place that breaks it."""

    rule: str
    demands: str
    findings: tuple

    @property
    def passed(self):
        """Whether the object keeps the rule."""
        return not self.findings


def no_panic(unit, _demands):
    """no path to a panic: none of its symbols, messages or source places, no trap instruction"""
    for symbol in unit.symbols:
        if re.search(
            r"panic|rust_begin_unwind|unwrap_failed|expect_failed|_fail\b|index_fail", symbol.name
        ):
            yield f"symbol {symbol.name}"
    for section in (s for s in unit.sections if s.flags & elf.ALLOC and not s.is_code):
        for found in re.finditer(
            rb"[\w./-]+\.rs\b|panicked|index out of bounds|called `[^`]*`", unit.bytes_of(section)
        ):
            yield f"text '{found[0].decode()}' in {section.name}"
    for instruction in unit.instructions:
        if instruction.mnemonic in ("ud2", "int3", "hlt"):
            yield _at(unit, instruction)


def no_vector_registers(unit, _demands):
    """no vector, MMX or x87 register or instruction: Xen does not save them for itself"""
    operation = re.compile(
        r"(f(?!s$)[a-z0-9]+|emms|ldmxcsr|stmxcsr|xsave\w*|xrstor\w*|vzero\w+|vldmxcsr|vstmxcsr)$"
    )
    for instruction in unit.instructions:
        if re.search(r"%(?:[xyz]?mm\d|st\b|k[0-7]\b|tmm\d)", instruction.text) or operation.match(
            instruction.mnemonic
        ):
            yield _at(unit, instruction)


def no_red_zone(unit, _demands):
    """nothing kept below the stack pointer, where an interrupt in Xen writes its frame"""
    framed = {
        unit.function_at(i.section, i.offset)
        for i in unit.instructions
        if i.mnemonic == "push" or (i.mnemonic in ("sub", "lea") and i.text.endswith(",%rsp"))
    }
    for instruction in unit.instructions:
        below = re.search(r"-0x[0-9a-f]+\(%rsp(,)?", instruction.text)
        if not below or (instruction.mnemonic == "lea" and instruction.text.endswith(",%rsp")):
            continue
        # With an index it may be an element of an array that lies in the function's own frame.
        if not below[1] or unit.function_at(instruction.section, instruction.offset) not in framed:
            yield _at(unit, instruction)


def text_is_relative(unit, _demands):
    """only PC-relative 32-bit references in code: Xen's addresses are not in the top 2 GiB"""
    for relocation in unit.relocations:
        if (
            unit.sections[relocation.section].is_code
            and relocation.kind not in ("PC32", "PLT32")
            and not _is_got(relocation)
        ):
            yield _reference(unit, relocation)


def data_is_plain(unit, _demands):
    """only plain 64-bit or PC-relative references in data"""
    for relocation in unit.relocations:
        if (
            not unit.sections[relocation.section].is_code
            and relocation.kind not in ("64", "PC32", "PC64")
            and not _is_got(relocation)
        ):
            yield _reference(unit, relocation)


def no_got(unit, _demands):
    """no global offset table: Xen's linker script asserts that it is empty"""
    for relocation in unit.relocations:
        if _is_got(relocation):
            yield _reference(unit, relocation)
    for symbol in unit.symbols:
        if symbol.name == _TABLE:
            yield f"symbol {symbol.name}"


def landing_pads(unit, demands):
    """endbr64 exactly where a function's address is taken, and its bytes nowhere else"""
    wanted = unit.address_taken if demands.mitigations.ibt else set()
    pads = {(i.section, i.offset) for i in unit.instructions if i.mnemonic == "endbr64"}
    for place in sorted(wanted - pads):
        yield f"{unit.where(*place)} has its address taken and begins without endbr64"
    for place in sorted(pads - wanted):
        yield f"{unit.where(*place)} is endbr64 and no address is taken of it"
    for section in (s for s in unit.sections if s.is_code):
        # endbr64, endbr32, and the no-operation that Xen puts in place of a pad it withdraws.
        for found in re.finditer(
            rb"\xf3\x0f\x1e[\xfa\xfb]|\x66\x0f\x1f\x01", unit.bytes_of(section)
        ):
            if (section.index, found.start()) not in pads:
                yield (
                    f"{unit.where(section.index, found.start())} has the bytes"
                    f" {found[0].hex(' ')}"
                )


def indirect_thunks(unit, demands):
    """indirect calls and jumps only through Xen's thunks"""
    for instruction in unit.instructions:
        if instruction.is_branch and "*" in instruction.text and demands.mitigations.indirect_thunk:
            yield _at(unit, instruction)


def return_thunks(unit, demands):
    """returns only through Xen's thunk"""
    for instruction in unit.instructions:
        near = instruction.mnemonic in ("ret", "retq")
        if (near and demands.mitigations.return_thunk) or re.match(
            r"(l|i|sys)ret", instruction.mnemonic
        ):
            yield _at(unit, instruction)


def imports(unit, demands):
    """undefined symbols are exactly the listed imports and the thunks in use"""
    listed = demands.symbols.imports
    found = {s.name for s in unit.symbols if not s.defined and s.name} - {_TABLE}
    for name in sorted(found - listed):
        if not _is_thunk(name, demands.mitigations):
            yield f"{name} is undefined and not a listed import"
    for name in sorted(listed - found - _COMPILER):
        yield f"{name} is a listed import and not used"


def exports(unit, demands):
    """symbols seen from outside are exactly the listed exports"""
    found = {s.name for s in unit.symbols if s.defined and s.is_global}
    for name in sorted(found - demands.symbols.exports):
        yield f"{name} is seen from outside and not a listed export"
    for name in sorted(demands.symbols.exports - found):
        yield f"{name} is a listed export and missing"


def no_writable_code(unit, _demands):
    """no section is both writable and executed, nor the stack"""
    for section in unit.sections:
        stack = section.name == ".note.GNU-stack" and section.flags & elf.EXEC
        if stack or (section.is_code and section.flags & elf.WRITE):
            yield f"section {section.name}"


def no_constructors(unit, _demands):
    """no code that would have to run at start-up"""
    for section in unit.sections:
        if _CONSTRUCTORS.match(section.name):
            yield f"section {section.name}"


def no_thread_local(unit, _demands):
    """no thread-local storage and no segment register"""
    for section in unit.sections:
        if section.flags & elf.TLS:
            yield f"section {section.name}"
    for symbol in unit.symbols:
        if symbol.is_thread_local:
            yield f"symbol {symbol.name}"
    for instruction in unit.instructions:
        if re.search(r"%[fg]s\b", instruction.text):
            yield _at(unit, instruction)


def known_sections(unit, _demands):
    """only sections that Xen's linker script places"""
    for section in unit.sections:
        has_its_own_rule = section.flags & elf.TLS or _CONSTRUCTORS.match(section.name)
        if section.flags & elf.ALLOC and section.name not in _SECTIONS and not has_its_own_rule:
            yield f"section {section.name}"


def short_names(unit, _demands):
    """no symbol name longer than Xen's buffer for one"""
    for symbol in unit.symbols:
        if len(symbol.name) > module.LONGEST_NAME:
            yield f"symbol {symbol.name[:40]}... has {len(symbol.name)} bytes"


def small_frames(unit, _demands):
    """no function takes more stack at once than Xen's eight pages can spare"""
    for instruction in unit.instructions:
        taken = re.search(
            r"^(?:sub\w?\s+\$0x([0-9a-f]+),%rsp|lea\w?\s+-0x([0-9a-f]+)\(%rsp\),%rsp)$",
            instruction.text,
        )
        if taken and int(taken[1] or taken[2], 16) > _FRAME:
            yield _at(unit, instruction)


RULES = (
    no_panic,
    no_vector_registers,
    no_red_zone,
    text_is_relative,
    data_is_plain,
    no_got,
    landing_pads,
    indirect_thunks,
    return_thunks,
    imports,
    exports,
    no_writable_code,
    no_constructors,
    no_thread_local,
    known_sections,
    short_names,
    small_frames,
)


def check(path, demands=None):
    """Holds the object at `path` to every rule; returns a Result for each."""
    unit = elf.Object(path)
    demands = demands or Demands(symbols.read())
    return [
        Result(
            rule.__name__.replace("_", "-"), rule.__doc__, tuple(dict.fromkeys(rule(unit, demands)))
        )
        for rule in RULES
    ]


def demand(results):
    """A Failure in one sentence when a rule is broken, with its first findings."""
    broken = [result for result in results if not result.passed]
    if not broken:
        return
    told = "; ".join(
        f"{r.rule} ({', '.join(r.findings[:_SHOWN])}"
        f"{f' and {len(r.findings) - _SHOWN} more' if len(r.findings) > _SHOWN else ''})"
        for r in broken
    )
    raise console.Failure(
        f"the object breaks the link gate: {told}", f"All findings are in {REPORT}."
    )


def report(path, results):
    """Writes out/report/object.json: sizes, symbols, rules; returns its path."""
    unit = elf.Object(path)
    content = {
        "object": Path(path).name,
        "sizes": {s.name: s.size for s in unit.sections if s.flags & elf.ALLOC and s.size},
        "undefined": sorted(s.name for s in unit.symbols if not s.defined and s.name),
        "exports": sorted(s.name for s in unit.symbols if s.defined and s.is_global),
        "rules": [
            {
                "rule": r.rule,
                "demands": r.demands,
                "result": "pass" if r.passed else "fail",
                "findings": list(r.findings),
            }
            for r in results
        ],
    }
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps(content, indent=2) + "\n")
    return REPORT


def _is_got(relocation):
    return "GOT" in relocation.kind


def _is_thunk(name, mitigations):
    indirect = mitigations.indirect_thunk and re.fullmatch(rf"{_INDIRECT_THUNK}r\w\w?", name)
    return bool(indirect) or (mitigations.return_thunk and name == _RETURN_THUNK)


def _at(unit, instruction):
    return (
        f"{unit.where(instruction.section, instruction.offset)}:"
        f" {' '.join(instruction.text.split())}"
    )


def _reference(unit, relocation):
    name = relocation.symbol.name or "a section"
    return (
        f"{unit.where(relocation.section, relocation.offset)}: R_X86_64_{relocation.kind} to {name}"
    )
