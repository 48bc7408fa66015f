# SPDX-License-Identifier: GPL-2.0-only
"""Reads relocatable x86-64 ELF objects: sections, symbols, relocations and, through objdump,
instructions.
"""

import re
import struct
import subprocess
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from . import console

WRITE, ALLOC, EXEC, TLS = 0x1, 0x2, 0x4, 0x400
_SYMTAB, _RELA, _NOBITS = 2, 4, 8
_ET_REL, _EM_X86_64 = 1, 62
_UNDEFINED, _RESERVED = 0, 0xFF00
_TYPE_FUNCTION, _TYPE_SECTION, _TYPE_TLS = 2, 3, 6

RELOCATIONS = {
    1: "64",
    2: "PC32",
    3: "GOT32",
    4: "PLT32",
    9: "GOTPCREL",
    10: "32",
    11: "32S",
    12: "16",
    14: "8",
    17: "DTPOFF64",
    18: "TPOFF64",
    19: "TLSGD",
    20: "TLSLD",
    21: "DTPOFF32",
    22: "GOTTPOFF",
    23: "TPOFF32",
    24: "PC64",
    25: "GOTOFF64",
    26: "GOTPC32",
    27: "GOT64",
    28: "GOTPCREL64",
    29: "GOTPC64",
    31: "PLTOFF64",
    34: "GOTPC32_TLSDESC",
    35: "TLSDESC_CALL",
    36: "TLSDESC",
    41: "GOTPCRELX",
    42: "REX_GOTPCRELX",
}


@dataclass(frozen=True)
class Section:
    """One section; `offset` is its place in the file, `flags` are the SHF_ bits."""

    index: int
    name: str
    kind: int
    flags: int
    offset: int
    size: int

    @property
    def is_code(self):
        """Whether the section is loaded and executed."""
        return self.flags & (ALLOC | EXEC) == ALLOC | EXEC


@dataclass(frozen=True)
class Symbol:
    """One symbol; `section` is None when it is undefined or absolute."""

    name: str
    value: int
    binding: int
    kind: int
    section: int | None
    defined: bool

    @property
    def is_function(self):
        """Whether the symbol names code."""
        return self.kind == _TYPE_FUNCTION

    @property
    def is_section(self):
        """Whether the symbol stands for a whole section."""
        return self.kind == _TYPE_SECTION

    @property
    def is_thread_local(self):
        """Whether the symbol names thread-local storage."""
        return self.kind == _TYPE_TLS

    @property
    def is_global(self):
        """Whether other objects see the symbol."""
        return self.binding != 0


@dataclass(frozen=True)
class Relocation:
    """One relocation at `offset` in the section with index `section`."""

    section: int
    offset: int
    kind: str
    symbol: Symbol
    addend: int


@dataclass(frozen=True)
class Instruction:
    """One instruction as objdump prints it, with the relocations inside its bytes."""

    section: int
    offset: int
    size: int
    text: str
    relocations: tuple = field(default=())

    @property
    def mnemonic(self):
        """The operation, without prefixes."""
        words = [
            w
            for w in self.text.split()
            if w not in ("lock", "rep", "repz", "repnz", "notrack", "bnd", "data16")
        ]
        return words[0] if words else ""

    @property
    def is_branch(self):
        """Whether control goes elsewhere: calls and all jumps."""
        return self.mnemonic.startswith(("call", "j", "loop"))


class Object:
    """One relocatable object file."""

    def __init__(self, path):
        self.path = Path(path)
        self.data = self.path.read_bytes()
        if self.data[:6] != b"\x7fELF\x02\x01" or len(self.data) < 64:
            raise console.Failure(
                f"{self.path} is no 64-bit ELF file", "Build the object with scripts/build object."
            )
        kind, machine = struct.unpack_from("<HH", self.data, 16)
        if (kind, machine) != (_ET_REL, _EM_X86_64):
            raise console.Failure(
                f"{self.path} is no relocatable x86-64 object", "Name the .o file, not an image."
            )

    @cached_property
    def sections(self):
        """All sections, in the file's order."""
        table, entry, count, names = (
            struct.unpack_from("<Q", self.data, 40)[0],
            *struct.unpack_from("<HHH", self.data, 58),
        )
        rows = [
            struct.unpack_from("<IIQQQQIIQQ", self.data, table + i * entry) for i in range(count)
        ]
        self._links = [(row[6], row[7]) for row in rows]
        strings = rows[names][4]
        return [
            Section(i, self._string(strings, row[0]), row[1], row[2], row[4], row[5])
            for i, row in enumerate(rows)
        ]

    @cached_property
    def symbols(self):
        """The symbol table, index by index."""
        table = next((s for s in self.sections if s.kind == _SYMTAB), None)
        if table is None:
            return []
        strings = self.sections[self._links[table.index][0]].offset
        return [self._symbol(table.offset + at, strings) for at in range(0, table.size, 24)]

    @cached_property
    def relocations(self):
        """All relocations of loaded sections."""
        found = []
        for section in (s for s in self.sections if s.kind == _RELA):
            target = self._links[section.index][1]
            if not self.sections[target].flags & ALLOC:
                continue
            for at in range(section.offset, section.offset + section.size, 24):
                offset, info, addend = struct.unpack_from("<QQq", self.data, at)
                kind = RELOCATIONS.get(info & 0xFFFFFFFF, f"type-{info & 0xFFFFFFFF}")
                found.append(Relocation(target, offset, kind, self.symbols[info >> 32], addend))
        return found

    @cached_property
    def instructions(self):
        """The instructions of all code sections."""
        output = subprocess.run(
            ["objdump", "-d", "-w", "-z", "--no-show-raw-insn", str(self.path)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        found = []
        # The same name may stand for several sections, which objdump shows in the file's order.
        code = iter([s for s in self.sections if s.is_code and s.size])
        for block in output.split("Disassembly of section ")[1:]:
            section = next(code)
            rows = re.findall(r"^\s*([0-9a-f]+):\t(.*)$", block, re.MULTILINE)
            ends = [int(at, 16) for at, _ in rows[1:]] + [section.size]
            for (at, text), end in zip(rows, ends):
                found.append(self._instruction(section.index, int(at, 16), end, text.strip()))
        return found

    @cached_property
    def functions(self):
        """The defined functions, as a map from (section, offset) to name."""
        return {(s.section, s.value): s.name for s in self.symbols if s.is_function and s.defined}

    @cached_property
    def address_taken(self):
        """The functions, as (section, offset), whose address is used other than by a direct
        branch.
        """
        taken = set()
        branches = {
            (r.section, r.offset) for i in self.instructions if i.is_branch for r in i.relocations
        }
        for relocation in self.relocations:
            if (relocation.section, relocation.offset) not in branches:
                taken.add(self._place(relocation))
        for instruction in self.instructions:
            # A function that refers to itself needs no relocation.
            local = re.search(r"\(%rip\).*# ([0-9a-f]+)", instruction.text)
            if local and not instruction.relocations:
                taken.add((instruction.section, int(local[1], 16)))
        return taken & set(self.functions)

    def bytes_of(self, section):
        """The contents of a section; a section without bytes in the file is empty."""
        return (
            b""
            if section.kind == _NOBITS
            else self.data[section.offset : section.offset + section.size]
        )

    def function_at(self, section, offset):
        """The function, as (section, offset), that a place in code belongs to; None before the
        first one.
        """
        return max(
            (place for place in self.functions if place[0] == section and place[1] <= offset),
            default=None,
        )

    def where(self, section, offset):
        """A place for a person to read: function+offset where known, else section+offset."""
        if not (function := self.function_at(section, offset)):
            return f"{self.sections[section].name}+{offset:#x}"
        return f"{self.functions[function]}+{offset - function[1]:#x}"

    def _place(self, relocation):
        """Where a relocation points: the end of its field is what a PC-relative one counts from."""
        pc = 4 if relocation.kind.startswith(("PC32", "PLT32")) else 0
        return relocation.symbol.section, relocation.symbol.value + relocation.addend + pc

    def _symbol(self, at, strings):
        name, info, _other, index, value, _size = struct.unpack_from("<IBBHQQ", self.data, at)
        local = _UNDEFINED < index < _RESERVED
        return Symbol(
            self._string(strings, name),
            value,
            info >> 4,
            info & 15,
            index if local else None,
            index != _UNDEFINED,
        )

    def _instruction(self, section, start, end, text):
        inside = tuple(
            self._by_place[section, at]
            for at in range(start, end)
            if (section, at) in self._by_place
        )
        return Instruction(section, start, end - start, text, inside)

    @cached_property
    def _by_place(self):
        return {(r.section, r.offset): r for r in self.relocations}

    def _string(self, table, offset):
        start = table + offset
        return self.data[start : self.data.index(b"\0", start)].decode(errors="replace")
