# SPDX-License-Identifier: GPL-2.0-only
"""What a command does before long work: checks what the user named, installs what it needs."""

import os
import subprocess
import sys
import tempfile

from . import console, paths, xensource
from .rig import emulator


def check():
    """Stops when XEN_SRC or QEMU names what cannot serve."""
    xensource.check()
    if os.environ.get("QEMU"):
        # No archive is needed for a QEMU that was named.
        emulator.find(None)


def places():
    """Stops when what is built and found cannot be written."""
    remedies = {
        paths.CACHE: "Set MSITRAP_CACHE to a folder that can.",
        paths.LOGS: "Use a checkout of this user's.",
        paths.REPORT: "Use a checkout of this user's.",
    }
    for folder, remedy in remedies.items():
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise console.Failure(f"{folder} cannot be written by this user", remedy)


def setup(part):
    """Installs what a part needs; ends the command when scripts/setup fails, which has said why."""
    places()
    status = subprocess.run([paths.TOP / "scripts/setup", part], check=False).returncode
    if status:
        sys.exit(status)


def hypervisor(file):
    """Stops when a file is no hypervisor that the emulated machine can boot; returns the file."""
    with tempfile.TemporaryDirectory() as folder:
        emulator.unpacked_xen(file, folder)
    return file
