# SPDX-License-Identifier: GPL-2.0-only
"""Builds the module: one relocatable object that Xen links, the same bytes in every folder."""

import json
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from . import cache, console, elf, paths, symbols, toolchain

OBJECT = paths.OUT / "msitrap.o"
OVERRIDES = paths.TOP / "scripts/x86_64-xen.json"
# Cargo's own cache of compiled crates, shared by all builds.
_TARGET = paths.CACHE / "cargo"
_TARGET_NAME = "x86_64-xen"
_SOURCES = [
    paths.TOP / name for name in ("Cargo.toml", "Cargo.lock", "src", "scripts/x86_64-xen.json")
]
_ENDBR64 = b"\xf3\x0f\x1e\xfa"
_NOP4 = b"\x0f\x1f\x40\x00"

# Xen keeps a symbol's name in a buffer of 127 bytes, and fills it without looking.
LONGEST_NAME = 127
# What is left of a longer name at either end.
_HEAD, _TAIL = 40, 60

# One section of each kind, under the names that Xen's own linker script places.
_LAYOUT = """
SECTIONS {
    .text : { *(.text .text.*) }
    .rodata : { *(.rodata .rodata.*) }
    .data.rel.ro : { *(.data.rel.ro .data.rel.ro.*) }
    .data : { *(.data .data.*) }
    .bss : { *(.bss .bss.*) }
}
"""
_DROPPED = (
    ".comment",
    ".note.gnu.property",
    ".eh_frame",
    ".rela.eh_frame",
    ".gcc_except_table",
    ".debug*",
)


@dataclass(frozen=True)
class Mitigations:
    """Which of Xen's hardening options the object follows; each is a line of Xen's .config."""

    ibt: bool = True
    return_thunk: bool = True
    indirect_thunk: bool = True

    @classmethod
    def of_config(cls, config):
        """The mitigations that a Xen .config (its text) has on."""
        on = set(re.findall(r"^CONFIG_(\w+)=y$", config, re.MULTILINE))
        return cls("XEN_IBT" in on, "RETURN_THUNK" in on, "INDIRECT_THUNK" in on)


def build(mitigations=Mitigations()):
    """Builds the object, or takes it from the cache; returns its path there.

    The one for a Xen with all mitigations, as its own defaults are, is also put in out/.
    """
    tools = toolchain.find()
    inputs = [*_SOURCES, Path(__file__), tools.describe(), json.dumps(asdict(mitigations))]
    folder = cache.build(
        "object", inputs, lambda into: _make(tools, mitigations, into), "building the module"
    )
    if mitigations == Mitigations():
        OBJECT.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / OBJECT.name, OBJECT)
    return folder / OBJECT.name


def flags(mitigations, rustc_z, rustc_c):
    """The compiler's flags for these mitigations, given the -Z and -C options that it knows."""
    found = ["-Cforce-unwind-tables=no"]
    found.append("-Cjump-tables=no" if "jump-tables" in rustc_c else "-Zno-jump-tables")
    if mitigations.ibt:
        found.append("-Zcf-protection=branch")
    if mitigations.return_thunk:
        found.append("-Zfunction-return=thunk-extern")
    if mitigations.indirect_thunk and "retpoline-external-thunk" in rustc_z:
        found.append("-Zretpoline-external-thunk")
    return found


def target(base, overrides, mitigations, rustc_z):
    """The description of the target: the compiler's own for `base`, with our overrides."""
    spec = {**base, **overrides}
    spec.pop("is-builtin", None)
    if mitigations.indirect_thunk and "retpoline-external-thunk" not in rustc_z:
        thunks = "+retpoline-external-thunk,+retpoline-indirect-branches,+retpoline-indirect-calls"
        spec["features"] = ",".join(filter(None, (spec.get("features"), thunks)))
    return spec


def _make(tools, mitigations, folder):
    archive = _compile(tools, mitigations, folder)
    wanted = symbols.read().exports
    linked = _trim(_link(archive, wanted, folder), wanted, folder)
    (folder / OBJECT.name).write_bytes(without_spare_landings(elf.Object(linked)))
    for scratch in folder.iterdir():
        if scratch.name != OBJECT.name:
            scratch.unlink()


def _compile(tools, mitigations, folder):
    """Runs cargo; returns the static library."""
    rustc_z, rustc_c, cargo_z = tools.options()
    spec = target(tools.base_target(), json.loads(OVERRIDES.read_text()), mitigations, rustc_z)
    description = folder / f"{_TARGET_NAME}.json"
    description.write_text(json.dumps(spec, indent=2, sort_keys=True))
    words = [*flags(mitigations, rustc_z, rustc_c), *_remaps(tools)]
    console.run(
        [
            tools.cargo,
            "rustc",
            "--locked",
            "--lib",
            "--release",
            "--crate-type",
            "staticlib",
            "--manifest-path",
            paths.TOP / "Cargo.toml",
            "--target",
            description,
            "--target-dir",
            _TARGET,
            "-Zbuild-std=core",
            *(["-Zjson-target-spec"] if "json-target-spec" in cargo_z else []),
        ],
        "object",
        env={**tools.environment(), "CARGO_ENCODED_RUSTFLAGS": "\x1f".join(words)},
        cwd=folder,
    )
    return _TARGET / _TARGET_NAME / "release/libmsitrap.a"


def _remaps(tools):
    """Flags that keep this machine's folders out of the object."""
    return [
        f"--remap-path-prefix={paths.TOP}=/msitrap",
        f"--remap-path-prefix={paths.CACHE}=/cache",
        f"--remap-path-prefix={tools.library}=/rust",
        f"--remap-path-prefix={Path.home()}=/home",
    ]


def _link(archive, wanted, folder):
    """Joins what the exports need of the library into one object."""
    (folder / "layout.lds").write_text(_LAYOUT)
    linked = folder / "linked.o"
    undefined = [word for name in sorted(wanted) for word in ("-u", name)]
    console.run(
        [
            "ld",
            "-r",
            "--gc-sections",
            *undefined,
            "-T",
            folder / "layout.lds",
            "--build-id=none",
            "-o",
            linked,
            archive,
        ],
        "object",
    )
    return linked


def _trim(linked, wanted, folder):
    """Hides all symbols but the exports, names the others readably, keeps only code and data."""
    (folder / "exports").write_text("".join(f"{name}\n" for name in sorted(wanted)))
    local = [s.name for s in elf.Object(linked).symbols if s.defined and s.name.startswith("_")]
    (folder / "names").write_text("".join(f"{old} {new}\n" for old, new in readable(local).items()))
    trimmed = folder / "trimmed.o"
    console.run(
        [
            "objcopy",
            f"--keep-global-symbols={folder / 'exports'}",
            f"--redefine-syms={folder / 'names'}",
            "--discard-locals",
            *[f"--remove-section={name}" for name in _DROPPED],
            linked,
            trimmed,
        ],
        "object",
    )
    return trimmed


def readable(names):
    """A name for each mangled one, to be read in Xen's own traces: dots between the parts."""
    plain = subprocess.run(
        ["c++filt", "--format=rust"],
        input="\n".join(names),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    found, seen = {}, Counter()
    for name, text in zip(names, plain):
        text = re.sub(r"\[[0-9a-f]+\]|::h[0-9a-f]{16}$", "", text)
        short = re.sub(r"[^A-Za-z0-9_]+", ".", text).strip(".")
        if len(short) > _HEAD + _TAIL:
            short = f"{short[:_HEAD]}..{short[-_TAIL:]}"
        found[name] = f"{short}.{seen[short]}" if seen[short] else short
        seen[short] += 1
    return found


def without_spare_landings(unit):
    """The object's bytes, in which endbr64 stands only where a function's address is taken.

    The compiler also marks every function that was global before the link; a landing pad that
    nobody needs is one more target for an attacker.
    """
    data = bytearray(unit.data)
    for section, offset in set(unit.functions) - unit.address_taken:
        at = unit.sections[section].offset + offset
        if data[at : at + 4] == _ENDBR64:
            data[at : at + 4] = _NOP4
    return bytes(data)
