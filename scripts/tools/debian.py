# SPDX-License-Identifier: GPL-2.0-only
"""Debian's archive through apt, in a private configuration: the user's own is only read."""

import re
import subprocess
import urllib.parse
from pathlib import Path

from . import console, paths

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
SUITE = "trixie"


def mirror():
    """The archive this machine already uses, taken from its own apt configuration."""
    output = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(ORIGIN)", "Created-By: Packages"],
        capture_output=True, text=True, check=False,
    ).stdout
    for line in output.splitlines():
        site, _release, origin = (line.split(" ", 2) + ["", ""])[:3]
        if origin == "Debian" and "security" not in site and "backports" not in site:
            return site.rstrip("/")
    raise console.Failure(
        "apt knows no Debian archive", "Add one to /etc/apt/sources.list.d and run 'apt-get update'."
    )


def security_mirror():
    """The security archive beside `mirror()`, if this machine uses one; else None."""
    output = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE) $(LABEL)", "Created-By: Packages"],
        capture_output=True, text=True, check=False,
    ).stdout
    for line in output.splitlines():
        site, label = (line.split(" ", 1) + [""])[:2]
        if label == "Debian-Security":
            return site.rstrip("/")
    return None


def sources(types="deb"):
    """The lines of a sources.list for SUITE, with its security updates where this machine has them."""
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
        (self.folder / "sources.list").write_text("\n".join(sources("deb") + sources("deb-src")) + "\n")

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
                "Check the network and the archive in /etc/apt.", failure.log,
            ) from failure

    def candidate(self, package):
        """The version of a binary package that SUITE offers."""
        text = subprocess.run(
            ["apt-cache", *self._options(), "policy", package], capture_output=True, text=True, check=True
        ).stdout
        found = re.search(r"Candidate: (\S+)", text)
        if not found or found[1] == "(none)":
            raise console.Failure(f"{SUITE} has no package {package}", "Is its index up to date?")
        return found[1]

    def download(self, package, folder):
        """Fetches one binary package, checked against the signed index; returns its path."""
        console.run(["apt-get", *self._options(), "download", package], "apt", cwd=folder)
        return next(Path(folder).glob(f"{package}_*.deb"))

    def source_tarball(self, source, folder):
        """Fetches the upstream tarball of the source version in the index; returns its path."""
        console.run(["apt-get", *self._options(), "source", "--tar-only", source], "apt", cwd=folder)
        return next(Path(folder).glob(f"{source}_*.orig.tar.*"))

    def pool_file(self, source, name, sha256, folder):
        """Fetches one file of a source's pool folder that may have left the index, by its digest."""
        uri = f"{mirror()}/pool/main/{source[0]}/{source}/{urllib.parse.quote(name, safe='')}"
        target = Path(folder) / name
        console.run(
            ["/usr/lib/apt/apt-helper", *self._options(), "download-file", uri, target, f"SHA256:{sha256}"], "apt"
        )
        return target
