# SPDX-License-Identifier: GPL-2.0-only
"""The list of symbols that cross the boundary between the module and Xen (src/symbols.txt)."""

from dataclasses import dataclass

from . import console, paths

LIST = paths.TOP / "src/symbols.txt"


@dataclass(frozen=True)
class Symbols:
    """What the object offers to Xen and what it asks of Xen."""

    exports: frozenset
    imports: frozenset


def read(file=LIST):
    """Reads lines `export NAME` and `import NAME`; `#` starts a comment."""
    names = {"export": set(), "import": set()}
    for number, line in enumerate(file.read_text().splitlines(), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or words[0] not in names:
            raise console.Failure(
                f"{file.name} line {number} is '{line.strip()}'",
                "Write 'export NAME' or 'import NAME'.",
            )
        names[words[0]].add(words[1])
    return Symbols(frozenset(names["export"]), frozenset(names["import"]))
