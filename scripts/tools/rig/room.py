# SPDX-License-Identifier: GPL-2.0-only
"""Whether this machine has room for the emulated one."""

import shutil
from pathlib import Path

from .. import console, paths

# A full build of kernel and images, and memory for the machine beside it.
DISK_GIB, MEMORY_GIB = 15, 4


def check():
    """A Failure when there is too little disk or memory."""
    paths.CACHE.mkdir(parents=True, exist_ok=True)
    # Room is needed for building; a finished cache needs none to speak of.
    disk = shutil.disk_usage(paths.CACHE).free >> 30
    if disk < DISK_GIB and not any(paths.CACHE.glob("stubdom-*")):
        raise console.Failure(
            f"only {disk} GiB are free at {paths.CACHE}",
            f"Free {DISK_GIB} GiB, or set MSITRAP_CACHE to a roomier place.",
        )
    memory = _free_memory() >> 20
    if memory < MEMORY_GIB:
        raise console.Failure(
            f"only {memory} GiB of memory are free", f"The machine needs {MEMORY_GIB} GiB."
        )


def _free_memory():
    """KiB of memory that programs can still have."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1])
    return 0
