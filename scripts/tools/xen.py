# SPDX-License-Identifier: GPL-2.0-only
"""Builds the hypervisor: only xen/ of Xen's source, with the series and the module."""

import fcntl
import os
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import cache, console, module, paths, xensource

# What one build needs at most, in bytes: two work trees and their debugging information.
_DISK = 2 << 30
_PRODUCTS = {"gz": "xen.gz", "efi": "xen.efi", "syms": "xen-syms"}
# Nothing of the machine or the moment goes into the image.
_ORIGIN = {
    "XEN_WHOAMI": "msitrap",
    "XEN_DOMAIN": "",
    "XEN_BUILD_HOST": "msitrap",
    "SOURCE_DATE_EPOCH": "0",
    "LC_ALL": "C",
}
_RELEASE = "# CONFIG_DEBUG is not set"


@dataclass(frozen=True)
class Variant:
    """One way to build Xen: lines for its .config and further compiler flags."""

    name: str
    config: tuple
    flags: tuple = ()
    vendor: str = "+msitrap"  # follows the version in what Xen calls itself
    policy: Path | None = None  # a module added to those of Xen's FLASK policy

    @property
    def msitrap(self):
        """Whether it has the module in it."""
        return "CONFIG_MSITRAP=y" in self.config


RELEASE = Variant("release", (_RELEASE, "CONFIG_MSITRAP=y"))
DEBUG = Variant("debug", ("CONFIG_DEBUG=y", "CONFIG_MSITRAP=y"))
# Of the source without the series. Debugging information changes no instruction; none is wanted.
STOCK = Variant("stock", (_RELEASE,), ("-g0",), "")
OFF = Variant("off", (_RELEASE, "# CONFIG_MSITRAP is not set"), ("-g0",), "")
# With the policy of Xen's source built in.
XSM = Variant(
    "xsm",
    (
        _RELEASE,
        "CONFIG_MSITRAP=y",
        "CONFIG_XSM=y",
        "CONFIG_XSM_FLASK=y",
        "CONFIG_XSM_FLASK_POLICY=y",
    ),
    ("-g0",),
    policy=paths.TOP / "rig/flask/stubdom_passthrough.te",
)
_NAMES = {
    RELEASE: "xen-4.20",
    DEBUG: "xen-4.20-debug",
    STOCK: "xen-4.20-stock",
    XSM: "xen-4.20-xsm",
}
_POLICY_MODULES = "tools/flask/policy/modules"


def build(variant=RELEASE):
    """Builds one variant, or takes it from the cache; its files in out/ by kind (gz, efi, syms)."""
    folder = made(variant, xensource.stock() if variant == STOCK else xensource.patched())
    return {kind: _publish(folder / file, variant, kind) for kind, file in _PRODUCTS.items()}


def made(variant, source):
    """The folder of the cache with a variant of the Xen in the folder `source`."""
    if variant.policy and not shutil.which("checkpolicy"):
        raise console.Failure("checkpolicy is missing", "Run scripts/setup rig.")
    tree = Tree(variant, source)
    config = tree.config()
    unit = module.build(module.Mitigations.of_config(config)) if variant.msitrap else None
    inputs = [tree.source.name, config, unit, *compiler_versions(), Path(__file__)]
    return cache.build(
        f"xen-{variant.name}",
        inputs + ([variant.policy] if variant.policy else []),
        lambda into: _make(tree, config, unit, into),
        f"building Xen ({variant.name})",
    )


class Tree:
    """The work tree of one variant, kept: a changed file rebuilds only what depends on it."""

    def __init__(self, variant, source):
        self.variant = variant
        self.source = source
        self.folder = paths.CACHE / f"xen-tree-{variant.name}"

    def config(self):
        """The complete .config of the variant, as text."""
        inputs = [self.source.name, *self.variant.config, *compiler_versions()]
        folder = cache.build(
            "xen-config", inputs, self._configure, f"configuring Xen ({self.variant.name})"
        )
        return (folder / "config").read_text()

    @contextmanager
    def held(self):
        """The tree, up to date with its source, and this process's alone."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / ".lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            synchronise(self.source, self.folder)
            yield self.folder

    def make(self, *words):
        """Runs make in the tree's xen/; the caller holds the tree."""
        settings = [
            f"-j{os.cpu_count() or 1}",
            f"EXTRA_CFLAGS_XEN_CORE={' '.join(self.variant.flags)}",
        ]
        console.run(
            ["make", *settings, "-C", self.folder / "xen", *words],
            f"xen-{self.variant.name}",
            env=_environment(self.variant),
            umask=0o022,
        )

    def build(self, config, *words):
        """Builds the tree with `config` as .config and `words` for make; the caller holds it."""
        file = self.folder / "xen/.config"
        if not file.exists() or file.read_text() != config:
            file.write_text(config)
        self.make(*words)

    def _configure(self, into):
        wanted = "".join(f"{line}\n" for line in self.variant.config)
        with self.held() as folder:
            (folder / "xen/.config").write_text(wanted)
            self.make("olddefconfig")
            text = (folder / "xen/.config").read_text()
        for line in self.variant.config:
            if line not in text.splitlines():
                raise console.Failure(
                    f"Xen's configuration does not take '{line}'", "Does the series fit this Xen?"
                )
        (into / "config").write_text(text)


def synchronise(source, tree):
    """Makes `tree` hold the files of `source`; equal files keep their age, built files stay."""
    listing = tree / ".from-source"
    before = set(listing.read_text().splitlines()) if listing.exists() else set()
    now = {
        str(file.relative_to(source))
        for file in source.rglob("*")
        if file.is_symlink() or not file.is_dir()
    }
    for name in before - now:
        (tree / name).unlink(missing_ok=True)
    for name in sorted(now):
        if not _same(source / name, tree / name):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).unlink(missing_ok=True)
            shutil.copy(source / name, tree / name, follow_symlinks=False)
    listing.write_text("".join(f"{name}\n" for name in sorted(now)))


def compiler_versions():
    """The first version lines of the C compiler and the linker, which key what they build."""
    found = []
    for program in ("gcc", "ld"):
        try:
            done = subprocess.run(
                [program, "--version"], capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            raise console.Failure(f"{program} is missing", "Run scripts/setup build.") from None
        found.append(done.stdout.splitlines()[0])
    return found


def _make(tree, config, unit, into):
    check_disk()
    with tree.held() as folder:
        if tree.variant.policy:
            add_policy(tree.variant.policy, folder)
        tree.build(config, *([_place(unit, folder)] if unit else []))
        for file in _PRODUCTS.values():
            if not (folder / "xen" / file).is_file():
                raise console.Failure(
                    f"Xen's build made no {file}",
                    "Does the linker (binutils) support the format i386pep?",
                    paths.LOGS / f"xen-{tree.variant.name}.log",
                )
            shutil.copy(folder / "xen" / file, into / file)


def add_policy(file, tree):
    """Adds a module to the FLASK policy in a tree that is up to date with its source."""
    modules = tree / _POLICY_MODULES
    shutil.copy(file, modules)
    with open(modules / "modules.conf", "a", encoding="ascii") as listing:
        listing.write(f"\n{file.stem} = on\n")


def _place(unit, folder):
    """Puts the module's object where the tree's build finds it; returns the word for make."""
    placed = folder / "msitrap.o"
    if not _same(unit, placed):
        shutil.copyfile(unit, placed)
    return f"MSITRAP_OBJECT={placed}"


def _same(one, other):
    if one.is_symlink() or other.is_symlink():
        return one.is_symlink() and other.is_symlink() and os.readlink(one) == os.readlink(other)
    try:
        first, second = one.stat(), other.stat()
    except FileNotFoundError:
        return False
    return (first.st_size, first.st_mode) == (
        second.st_size,
        second.st_mode,
    ) and one.read_bytes() == other.read_bytes()


def _publish(file, variant, kind):
    """Copies a product to out/, under the name by which the README calls it."""
    target = paths.OUT / f"{_NAMES[variant]}{'-syms' if kind == 'syms' else '.' + kind}"
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists() or not _same(file, target):
        shutil.copy(file, target)
    return target


def _environment(variant):
    """The caller's environment without what would steer make or the compiler."""
    kept = {n: v for n, v in os.environ.items() if n in ("PATH", "HOME", "TMPDIR", "USER")}
    return {**kept, **_ORIGIN, "XEN_VENDORVERSION": variant.vendor}


def check_disk():
    """Stops when there is too little room for a build."""
    free = shutil.disk_usage(paths.CACHE).free
    if free < _DISK:
        raise console.Failure(
            f"{paths.CACHE} has {free >> 20} MiB free, and building Xen takes {_DISK >> 20}",
            "Make room, or set MSITRAP_CACHE to a folder elsewhere.",
        )
