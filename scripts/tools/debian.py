# SPDX-License-Identifier: GPL-2.0-only
"""Debian's archive through apt, in a private configuration: the user's own is only read."""

import fcntl
import re
import subprocess
import time
import urllib.parse
from contextlib import contextmanager
from pathlib import Path

from . import console, paths

# An index read less than this many seconds ago is taken as it is.
INDEX_LIFE = 24 * 3600
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
SUITE = "trixie"


def mirror():
    """The archive this machine already uses, taken from its own apt configuration."""
    output = subprocess.run(
        [
            "apt-get",
            "indextargets",
            "--format",
            "$(SITE) $(RELEASE) $(ORIGIN)",
            "Created-By: Packages",
        ],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    for line in output.splitlines():
        site, _release, origin = (line.split(" ", 2) + ["", ""])[:3]
        if origin == "Debian" and "security" not in site and "backports" not in site:
            return site.rstrip("/")
    raise console.Failure(
        "apt knows no Debian archive",
        "Add one to /etc/apt/sources.list.d and run 'apt-get update'.",
    )


def security_mirror():
    """The security archive beside `mirror()`, if this machine uses one; else None."""
    output = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE) $(LABEL)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    for line in output.splitlines():
        site, label = (line.split(" ", 1) + [""])[:2]
        if label == "Debian-Security":
            return site.rstrip("/")
    return None


def sources(types="deb"):
    """The lines of a sources.list for SUITE, with its security updates if this machine has them."""
    lines = [f"{types} [signed-by={KEYRING}] {mirror()} {SUITE} main"]
    if security := security_mirror():
        lines.append(f"{types} [signed-by={KEYRING}] {security} {SUITE}-security main")
    return lines


class Archive:
    """SUITE of Debian's archive, seen through a private apt configuration."""

    def __init__(self):
        self.folder = paths.CACHE / "apt"
        for part in ("lists/partial", "cache/archives/partial"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        (self.folder / "sources.list").write_text(
            "\n".join(sources("deb") + sources("deb-src")) + "\n"
        )

    def _options(self):
        folder = self.folder
        settings = {
            "Dir::Etc::sourcelist": folder / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State::lists": folder / "lists",
            "Dir::Cache": folder / "cache",
            "APT::Sandbox::User": "root",
        }
        return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]

    def update(self):
        """Reads the archive's index; says so plainly when there is no network."""
        try:
            console.run(["apt-get", *self._options(), "--error-on=any", "update"], "apt")
        except console.Failure as failure:
            raise console.Failure(
                f"Debian's archive cannot be read ({SUITE})",
                "Check the network and the archive in /etc/apt.",
                failure.log,
            ) from failure

    def ready(self):
        """Reads the archive's index unless that was done within INDEX_LIFE; returns self."""
        stamp = self.folder / "index-read"
        with self._lock():
            if not stamp.exists() or time.time() - stamp.stat().st_mtime > INDEX_LIFE:
                with console.step("reading the index of Debian's archive"):
                    self.update()
                stamp.touch()
        return self

    @contextmanager
    def _lock(self):
        """Keeps two commands from downloading into this folder at once."""
        with open(self.folder / "lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def candidate(self, package):
        """The version of a binary package that SUITE offers."""
        return self.candidates([package])[0]

    def candidates(self, packages):
        """The versions of binary packages that SUITE offers, in order."""
        text = subprocess.run(
            ["apt-cache", *self._options(), "policy", *packages],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        found = dict(re.findall(r"^(\S+):\n.*\n  Candidate: (\S+)", text, re.MULTILINE))
        for package in packages:
            if found.get(package, "(none)") == "(none)":
                raise console.Failure(
                    f"{SUITE} has no package {package}", "Is its index up to date?"
                )
        return [found[package] for package in packages]

    def depends(self, package, pattern):
        """The first dependency of a package whose whole name matches a regular expression."""
        text = subprocess.run(
            ["apt-cache", *self._options(), "depends", package],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        found = re.search(rf"Depends: ({pattern})$", text, re.MULTILINE)
        if not found:
            raise console.Failure(
                f"{SUITE}'s {package} depends on no package like {pattern}",
                "Is its index up to date?",
            )
        return found[1]

    def download(self, package, folder):
        """Fetches one binary package, checked against the signed index; returns its path."""
        console.run(["apt-get", *self._options(), "download", package], "apt", cwd=folder)
        return next(Path(folder).glob(f"{package}_*.deb"))

    def tree(self, packages, folder):
        """Unpacks packages and all they depend on into a folder, without running their scripts.

        The result does not rest on what the machine itself has installed: apt is shown an empty
        status file. base-files goes first, because it makes /lib and the like links into /usr.
        """
        empty = self.folder / "no-status"
        empty.touch()
        plan = [
            "apt-get",
            *self._options(),
            "-o",
            f"Dir::State::status={empty}",
            "-o",
            "APT::Install-Recommends=false",
            "-y",
            "--download-only",
            "install",
            "base-files",
            *packages,
        ]
        with self._lock():
            console.run(plan, "apt")
        # apt names only what it would still have to fetch, so it is asked with an empty folder.
        nothing = self.folder / "nothing"
        (nothing / "partial").mkdir(parents=True, exist_ok=True)
        uris = subprocess.run(
            [*plan, "--print-uris", "-o", f"Dir::Cache::archives={nothing}"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        names = re.findall(r"^'[^']+' (\S+\.deb) ", uris, re.MULTILINE)
        archives = [self.folder / "cache" / "archives" / name for name in names]
        for archive in sorted(archives, key=lambda file: not file.name.startswith("base-files_")):
            subprocess.run(["dpkg-deb", "--extract", archive, folder], check=True)

    def pool_file(self, source, name, sha256, folder):
        """Fetches one file of a source's pool folder by its digest; it may have left the index."""
        place, target = (
            f"main/{source[0]}/{source}/{urllib.parse.quote(name, safe='')}",
            Path(folder) / name,
        )
        pools = [f"{mirror()}/pool/{place}"]
        if security := security_mirror():
            pools.append(f"{security}/pool/updates/{place}")
        fetch = ["/usr/lib/apt/apt-helper", *self._options(), "download-file"]
        for pool in pools:
            try:
                console.run([*fetch, pool, target, f"SHA256:{sha256}"], "apt")
                break
            except console.Failure:
                if pool == pools[-1]:
                    raise
        return target
