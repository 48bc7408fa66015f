# SPDX-License-Identifier: GPL-2.0-only
"""Xen's source: from Debian's archive, or from $XEN_SRC; checked, unpacked, with the series applied."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from . import cache, console, debian, paths, series

VERSION = "4.20"
PATCHES = paths.TOP / "xen-patches" / VERSION
_TRY = f"Set XEN_SRC to a folder or tarball of Xen {VERSION}."
# Links and built files of a used tree would make a build from it unlike one from the tarball.
_USED = ("xen/.config", "xen/include/generated", "xen/xen-syms")


def stock():
    """The folder of Xen's source as its authors published it."""
    return _unpacked(_given() or _from_debian())


def patched():
    """The folder of Xen's source with the series applied; any fault is a Failure in one sentence."""
    source = stock()
    inputs = [source.name, PATCHES, Path(series.__file__)]
    return cache.build("xen-patched", inputs, lambda into: _patch(source, into), "patching Xen")


def pinned():
    """Version and SHA-256 of the tarball that the series was tested on."""
    lines = (line.split("#")[0].split() for line in (PATCHES / "source").read_text().splitlines())
    values = dict(line for line in lines if line)
    return values["version"], values["sha256"]


def check_version(tree, origin):
    """Stops unless `tree` is the source of a Xen of VERSION; `origin` is what to call it."""
    try:
        text = (tree / "xen/Makefile").read_text()
        found = [re.search(rf"^export XEN_{part}\s*=\s*(\d+)", text, re.MULTILINE)[1] for part in ("VERSION", "SUBVERSION")]
    except (OSError, TypeError):
        raise console.Failure(f"{origin} is not the source of Xen", _TRY) from None
    if ".".join(found) != VERSION:
        raise console.Failure(f"{origin} is Xen {'.'.join(found)}, and the series is for {VERSION}", _TRY)


def _given():
    """The source that the user names in $XEN_SRC, if any."""
    if not (name := os.environ.get("XEN_SRC")):
        return None
    given = Path(name).resolve()
    if not given.exists():
        raise console.Failure(f"XEN_SRC is {given}, which does not exist", _TRY)
    if used := next((path for path in _USED if (given / path).exists()), None):
        raise console.Failure(f"the source in XEN_SRC was built in ({used} is there)", "Run 'make distclean' in it.")
    return given


def _from_debian():
    """The upstream tarball: the tested version while the archive has it, else the one in its index."""
    version, digest = pinned()
    name = f"xen_{version}.orig.tar.xz"
    try:
        folder = cache.build("xen-tarball", [digest], lambda into: _fetch_pinned(name, digest, into), "fetching Xen's source")
        return folder / name
    except console.Failure as failure:
        if not failure.log:
            raise
        console.say(f"the archive has no {name} any more, so its present version is taken, which may not be tested")
    archive = debian.Archive()
    archive.update()
    key = archive.candidate("xen-hypervisor-4.20-amd64")
    folder = cache.build("xen-tarball", [key], lambda into: _fetch_current(archive, into), "fetching Xen's source")
    return next(folder.iterdir())


def _fetch_pinned(name, digest, folder):
    debian.Archive().pool_file("xen", name, digest, folder)


def _fetch_current(archive, folder):
    try:
        archive.source_tarball("xen", folder)
    except console.Failure as failure:
        raise console.Failure("Debian's archive does not hand out Xen's source", _TRY, failure.log) from failure


def _unpacked(origin):
    return cache.build("xen-source", [_tree_of(origin)], lambda into: _unpack(origin, into), "unpacking Xen's source")


def _tree_of(origin):
    """What keys the unpacked source: the file or folder itself."""
    if origin.is_dir() and (origin / ".git").exists():
        raise console.Failure(
            "XEN_SRC is a git checkout, whose history is no part of a build",
            "Make a tarball of it: git archive --prefix=xen/ -o xen.tar.gz HEAD.",
        )
    return origin


def _unpack(origin, folder):
    if origin.is_dir():
        shutil.copytree(origin, folder, symlinks=True, dirs_exist_ok=True)
    else:
        done = subprocess.run(
            ["tar", "-xf", origin, "-C", folder, "--strip-components=1", "--no-same-owner"],
            capture_output=True, text=True, check=False,
        )
        if done.returncode != 0:
            raise console.Failure(f"{origin} is no tarball: {done.stderr.strip().splitlines()[-1]}", _TRY)
    check_version(folder, origin.name)


def _patch(source, folder):
    shutil.copytree(source, folder, symlinks=True, dirs_exist_ok=True)
    if faults := series.faults(PATCHES):
        raise console.Failure(faults[0], "Write it as 'git format-patch --signoff' does.")
    series.apply(PATCHES, folder)
