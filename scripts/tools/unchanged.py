# SPDX-License-Identifier: GPL-2.0-only
"""Whether Xen with the series and its option off is, instruction by instruction, Xen without them.

The first patches of the series mend faults of Xen's own. They are no part of the option, and both
sides have them.
"""

import difflib
import shutil
import subprocess
from pathlib import Path

from . import cache, console, series, xen, xensource

# Holds the .config itself, which names the option.
_CONFIG_OBJECT = "common/config_data.o"


def compare():
    """Builds both sides; how many objects were compared, and the names of those that differ."""
    source = xensource.mended()
    stock, off = objects(xen.STOCK, source), objects(
        xen.OFF, _numbered(source, xensource.patched())
    )
    differing = sorted(
        name for name in stock.keys() | off.keys() if stock.get(name) != off.get(name)
    )
    return len(stock), [name for name in differing if name != _CONFIG_OBJECT]


def objects(variant, source):
    """The digest of each object of a variant, without debugging information, by its path."""
    tree = xen.Tree(variant, source)
    inputs = [source.name, tree.config(), *xen.compiler_versions(), Path(__file__)]
    folder = cache.build(
        f"xen-objects-{variant.name}",
        inputs,
        lambda into: _list(tree, into),
        f"building Xen ({variant.name}, to compare)",
    )
    lines = (folder / "objects").read_text().splitlines()
    return dict(line.split() for line in lines)


def compiled(tree):
    """The objects that a build compiled from one source file each, as paths below `tree`."""
    return sorted(
        str(file.relative_to(tree))
        for file in tree.rglob("*.o")
        if any(file.with_suffix(kind).exists() for kind in (".c", ".S"))
        and file.relative_to(tree).parts[0] != "tools"
    )


def with_old_lines(old, new):
    """The text `new`, with `#line` wherever a change ends: what is in both has its line in `old`.

    Xen's code records line numbers (BUG, ASSERT), and a patch moves all that stands below it.
    """
    before, after = old.splitlines(True), new.splitlines(True)
    found, changed = [], False
    for kind, start, _end, first, last in difflib.SequenceMatcher(
        None, before, after, False
    ).get_opcodes():
        changed = changed or kind != "equal"
        for at in range(first, last):
            if changed and kind == "equal" and not (found and found[-1].endswith("\\\n")):
                found.append(f"#line {start + at - first + 1}\n")
                changed = False
            found.append(after[at])
    return "".join(found)


def _numbered(stock, patched):
    """The patched source with the line numbers of the stock one."""
    inputs = [stock.name, patched.name, Path(__file__)]
    return cache.build(
        "xen-numbered", inputs, lambda into: _number(stock, patched, into), "numbering Xen's lines"
    )


def _number(stock, patched, into):
    shutil.copytree(patched, into, symlinks=True, dirs_exist_ok=True)
    for name in series.touched(xensource.PATCHES):
        if name.endswith((".c", ".h")) and (stock / name).exists():
            (into / name).write_text(
                with_old_lines((stock / name).read_text(), (patched / name).read_text())
            )


def _list(tree, into):
    xen.check_disk()
    config = tree.config()
    with tree.held() as folder:
        tree.build(config)
        files = compiled(folder / "xen")
        if not files:
            raise console.Failure(
                "Xen's build left no objects to compare", "Has its Makefile changed?"
            )
        (into / "objects").write_text(
            "".join(f"{name} {_digest(folder / 'xen' / name, into)}\n" for name in files)
        )


def _digest(file, folder):
    bare = folder / "bare.o"
    subprocess.run(["objcopy", "--strip-debug", "--strip-unneeded", file, bare], check=True)
    digest = cache.key(bare)
    bare.unlink()
    return digest
