# SPDX-License-Identifier: GPL-2.0-only
"""Where the CPUs of a machine that hangs are: QEMU's registers and memory, with names from Xen's
symbols.
"""

import bisect
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

# QEMU's `info registers`: RIP=... and RSP=... of each CPU after a line CPU#N.
_CPU = re.compile(r"^CPU#(\d+)", re.MULTILINE)
_REGISTER = re.compile(r"\b(RIP|RSP|EIP|ESP)=([0-9a-f]+)")
_INTERRUPTS = re.compile(r"\b[RE]FL=([0-9a-f]+)")
_HALTED = re.compile(r"\bHLT=1")
_WORD = re.compile(r"\b0x([0-9a-f]{16})\b")
_INTERRUPT_FLAG = 0x200
# Words of a stack that are looked at: Xen's stack is 32 KiB, and the newest frames tell most.
WORDS = 200
# Names of a stack that are shown.
_DEEPEST = 12


@dataclass(frozen=True)
class Cpu:
    """One CPU's registers, as far as they tell where it is."""

    number: int
    rip: int
    rsp: int
    halted: bool
    interrupts: bool  # it takes interrupts


class Symbols:
    """The functions of a program with symbols, by address."""

    def __init__(self, table):
        """`table` is what `nm -n` prints."""
        found = [line.split() for line in table.splitlines()]
        found = [(int(words[0], 16), words[2], words[1]) for words in found if len(words) == 3]
        self.ends = [address for address, name, _kind in found if name in ("_etext", "_einittext")]
        functions = [
            (address, name)
            for address, name, kind in found
            if kind in "tT" and not name.startswith(".L")
        ]
        self.starts, self.names = [address for address, _name in functions], [
            name for _address, name in functions
        ]

    @classmethod
    def of(cls, file):
        """Of a file with symbols; without the file nothing has a name."""
        if file is None or not Path(file).is_file():
            return cls("")
        return cls(
            subprocess.run(["nm", "-n", file], capture_output=True, text=True, check=False).stdout
        )

    def name(self, address):
        """FUNCTION+OFFSET, or None outside of the program's code."""
        place = bisect.bisect_right(self.starts, address) - 1
        if place < 0 or not self.ends or address >= max(self.ends):
            return None
        return f"{self.names[place]}+{address - self.starts[place]:#x}"

    def address(self, name):
        """Where a function begins, or None."""
        return self.starts[self.names.index(name)] if name in self.names else None


def cpus(text):
    """The CPUs in what `info registers -a` prints."""
    marks = list(_CPU.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return [
        cpu for mark, end in zip(marks, ends) if (cpu := _cpu(int(mark[1]), text[mark.end() : end]))
    ]


def _cpu(number, text):
    values = {name[1:]: int(value, 16) for name, value in reversed(_REGISTER.findall(text))}
    if not {"IP", "SP"} <= values.keys():
        return None
    flags = _INTERRUPTS.search(text)
    takes = bool(flags and int(flags[1], 16) & _INTERRUPT_FLAG)
    return Cpu(number, values["IP"], values["SP"], bool(_HALTED.search(text)), takes)


def words(text):
    """The 64-bit words in what QEMU's `x /Ngx` prints."""
    return [
        int(word, 16)
        for line in text.splitlines()
        for word in _WORD.findall(line.partition(":")[2])
    ]


def told(cpu, stack, symbols):
    """A CPU as lines for people: where it is, and what stands on its stack of names of functions,
    newest first.
    """
    state = ", halted" if cpu.halted else ""
    state += "" if cpu.interrupts else ", interrupts off"
    here = symbols.name(cpu.rip)
    if here is None:
        return [f"CPU {cpu.number}: outside of Xen at {cpu.rip:#x}{state}"]
    names = [name for word in stack if (name := symbols.name(word))]
    # A name without offset is a pointer to a function, not a place to return to.
    names = [name for name in names if not name.endswith("+0x0")]
    return [f"CPU {cpu.number}: {here}{state}", *(f"  {name}" for name in names[:_DEEPEST])]


def stopped(looks, symbols):
    """The CPUs that are in Xen at the same depth of the same stack in each of several looks.

    Each look is a list of Cpu. By number, with the place of the last look. One that halts waits.
    """
    found = {}
    for cpu in looks[-1]:
        same = [other for look in looks for other in look if other.number == cpu.number]
        at_work = all(symbols.name(each.rip) and not each.halted for each in same)
        if at_work and len({each.rsp for each in same}) == 1 and len(same) == len(looks):
            found[cpu.number] = symbols.name(cpu.rip)
    return found


def take(monitor, symbols):
    """The stacks of all CPUs, as lines; `monitor(command, cpu)` asks QEMU's monitor for people."""
    lines = []
    for cpu in cpus(monitor("info registers -a", 0)):
        stack = []
        if symbols.name(cpu.rip):
            stack = words(monitor(f"x /{WORDS}gx {cpu.rsp:#x}", cpu.number))
        lines += told(cpu, stack, symbols)
    return lines
