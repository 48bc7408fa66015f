# SPDX-License-Identifier: GPL-2.0-only
"""Xen's source, from Debian's archive or from $XEN_SRC: checked, unpacked, the series applied."""

import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

from . import cache, console, debian, paths, series

VERSION = "4.20"
PATCHES = paths.TOP / "xen-patches" / VERSION
HYPERVISOR = f"xen-hypervisor-{VERSION}-amd64"
_TRY = f"Set XEN_SRC to a folder or tarball of Xen {VERSION}."
_MAKEFILE = "xen/Makefile"
# Links and built files of a used tree would make a build from it unlike one from the tarball.
_USED = ("xen/.config", "xen/include/generated", "xen/xen-syms")
# Seconds after which the archive is asked again for a tarball that it did not hand out.
_ASK_AGAIN = 3600
_notices = set()


@dataclass(frozen=True)
class Tarball:
    """One upstream tarball of Debian's source package."""

    version: str
    sha256: str

    @property
    def name(self):
        """The file's name in the archive."""
        return f"xen_{self.version}.orig.tar.xz"


@dataclass(frozen=True)
class Pins:
    """What xen-patches/VERSION/source says."""

    preferred: Tarball
    fallback: Tarball
    without: int  # N of the last release VERSION.N that lacks the fixes of `advisories`
    advisories: tuple  # such as 'XSA-509': fixed in `preferred` and not in `fallback`

    @property
    def listed(self):
        """The advisories in a sentence: 'XSA-509, 510'."""
        return ", ".join(self.advisories).replace(", XSA-", ", ")


def pins():
    """The versions that the series is for."""
    values = {}
    for line in (PATCHES / "source").read_text().splitlines():
        key, _, value = line.partition(" ")
        if value and key != "#":
            values.setdefault(key, []).append(value.split())
    return Pins(
        Tarball(*values["preferred"][0]),
        Tarball(*values["fallback"][0]),
        int(values["without"][0][0].rpartition(".")[2]),
        tuple(words[0] for words in values["open"]),
    )


def stock():
    """The folder of Xen's source as its authors published it."""
    return _unpacked(_given() or _from_debian())


def patched():
    """The folder of Xen's source with the series applied; a fault is a Failure in one sentence."""
    return _with_patches("xen-patched", series.patches(PATCHES))


def mended():
    """The folder of Xen's source with the patches that mend faults of its own, and no others."""
    return _with_patches("xen-mended", series.fixes(PATCHES))


def _with_patches(name, chosen):
    source = stock()
    inputs = [source.name, *chosen, Path(series.__file__)]
    return cache.build(name, inputs, lambda into: _patch(source, chosen, into), "patching Xen")


def describe():
    """The source in words: its own version, and the file or folder that it is of."""
    return f"{_release(_makefile(stock()))} ({(_given() or _from_debian()).name})"


def check():
    """Stops when $XEN_SRC cannot serve, before any work; warns of one known to lack fixes."""
    if not (given := _given()):
        return
    known = pins()
    text = _makefile(given) if given.is_dir() else _makefile_in(given)
    _check_version(text, f"XEN_SRC, {given},")
    if given.is_file() and _sha256(given) == known.preferred.sha256:
        return
    number, early = _point(text)
    if number < known.without or (number == known.without and early):
        _notice(
            f"warning: XEN_SRC is Xen {_release(text)}, which lacks the fixes of {known.listed}"
            f" and of whatever else came before {VERSION}.{known.without}"
        )
    elif number == known.without:
        _notice(
            f"warning: XEN_SRC is Xen {_release(text)}, which lacks the fixes of {known.listed}"
        )
    elif number == known.without + 1 and early:
        _notice(
            f"XEN_SRC is Xen {_release(text)}: whether it has the fixes of {known.listed}"
            " its version does not say"
        )


def tell_newer():
    """Says in one line that Debian's archive offers a newer Xen than the series is for, if so."""
    if _given():
        return
    known = pins().preferred.version
    try:
        offered = debian.Archive().ready().candidate(HYPERVISOR).rpartition("-")[0]
    except (console.Failure, OSError, subprocess.CalledProcessError):
        return
    if (
        subprocess.run(["dpkg", "--compare-versions", offered, "gt", known], check=False).returncode
        == 0
    ):
        _notice(
            f"Debian's archive offers Xen {offered}, newer than the {known} that the series is for"
        )


def check_version(tree, origin):
    """Stops unless `tree` is the source of a Xen of VERSION; `origin` is what to call it."""
    _check_version(_makefile(tree), origin)


def _makefile(tree):
    """The text of the Makefile that has the version; empty when there is none."""
    try:
        return (tree / _MAKEFILE).read_text(errors="replace")
    except OSError:
        return ""


def _makefile_in(tarball):
    """The same from a tarball, without unpacking the rest."""
    try:
        with tarfile.open(tarball) as packed:
            for member in packed:
                if member.name.partition("/")[2] == _MAKEFILE and member.isfile():
                    return packed.extractfile(member).read().decode(errors="replace")
    except (OSError, tarfile.TarError, EOFError, ValueError) as error:
        raise console.Failure(
            f"{tarball} is no tarball: {str(error).splitlines()[0]}", _TRY
        ) from None
    return ""


def _value(text, name):
    found = re.search(rf"^export XEN_{name}\s*\??=\s*([\w.-]*)", text, re.MULTILINE)
    return found[1] if found else ""


def _release(text):
    """The version that a Makefile names, such as 4.20.4-pre."""
    return f"{_value(text, 'VERSION')}.{_value(text, 'SUBVERSION')}{_value(text, 'EXTRAVERSION')}"


def _point(text):
    """N of the release 4.20.N that a Makefile names, and whether it is from before it."""
    found = re.match(r"\.(\d+)", _value(text, "EXTRAVERSION"))
    return int(found[1]) if found else 0, not found or "-" in _value(text, "EXTRAVERSION")


def _check_version(text, origin):
    found = f"{_value(text, 'VERSION')}.{_value(text, 'SUBVERSION')}"
    if not re.fullmatch(r"\d+\.\d+", found):
        raise console.Failure(f"{origin} is not the source of Xen", _TRY)
    if found != VERSION:
        raise console.Failure(f"{origin} is Xen {found}, and the series is for {VERSION}", _TRY)


def _sha256(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _notice(text):
    """Says something once in a run of a command."""
    if text not in _notices:
        _notices.add(text)
        console.say(text)


def _given():
    """The source that the user names in $XEN_SRC, if any."""
    if not (name := os.environ.get("XEN_SRC")):
        return None
    given = Path(name).resolve()
    if not given.exists():
        raise console.Failure(f"XEN_SRC is {given}, which does not exist", _TRY)
    if (given / ".git").exists():
        raise console.Failure(
            "XEN_SRC is a git checkout, whose history is no part of a build",
            "Make a tarball of it: git archive --prefix=xen/ -o xen.tar.gz HEAD.",
        )
    if used := next((path for path in _USED if (given / path).exists()), None):
        raise console.Failure(
            f"the source in XEN_SRC was built in ({used} is there)", "Run 'make distclean' in it."
        )
    return given


def _from_debian():
    """The first of the tarballs that is in the cache or that the archive hands out."""
    known = pins()
    refused = paths.CACHE / f"xen-tarball-refused-{known.preferred.sha256[:16]}"
    asked = refused.exists() and time.time() - refused.stat().st_mtime < _ASK_AGAIN
    if not asked and (file := _tarball(known.preferred)):
        return file
    if not (file := _tarball(known.fallback)):
        raise console.Failure(
            f"Debian's archive hands out neither {known.preferred.name} nor {known.fallback.name}",
            f"Check the network. {_TRY}",
            paths.LOGS / "apt.log",
        )
    if not asked:
        refused.touch()
    _notice(
        f"warning: Debian's archive does not hand out Xen {known.preferred.version};"
        f" {known.fallback.version} is built,"
        f" which leaves {known.listed} open. Set XEN_SRC to a newer source of Xen {VERSION}"
    )
    return file


def _tarball(wanted):
    """A tarball in the cache, fetched when need be; None when the archive does not hand it out."""
    try:
        folder = cache.build(
            "xen-tarball",
            [wanted.sha256],
            lambda into: _fetch(wanted, into),
            "fetching Xen's source",
        )
    except console.Failure as failure:
        if not failure.log:
            raise
        return None
    return folder / wanted.name


def _fetch(wanted, folder):
    debian.Archive().pool_file("xen", wanted.name, wanted.sha256, folder)


def _unpacked(origin):
    return cache.build(
        "xen-source", [origin], lambda into: _unpack(origin, into), "unpacking Xen's source"
    )


def _unpack(origin, folder):
    if origin.is_dir():
        shutil.copytree(origin, folder, symlinks=True, dirs_exist_ok=True)
    else:
        done = subprocess.run(
            ["tar", "-xf", origin, "-C", folder, "--strip-components=1", "--no-same-owner"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise console.Failure(
                f"{origin} is no tarball: {done.stderr.strip().splitlines()[-1]}", _TRY
            )
    check_version(folder, origin.name)


def _patch(source, chosen, folder):
    if faults := series.faults(PATCHES):
        raise console.Failure(faults[0], "Write it as 'git format-patch --signoff' does.")
    shutil.copytree(source, folder, symlinks=True, dirs_exist_ok=True)
    series.apply(PATCHES, folder, chosen)
