# SPDX-License-Identifier: GPL-2.0-only
"""How long to wait for an emulated machine: by the time that it had, not by the host's clock."""

import time
from pathlib import Path


class Clock:
    """Seconds that the machine had: the host's clock, less the time that its threads waited for a
    processor.

    On a busy host a thread of QEMU's that could run waits; the kernel counts that for each thread.
    The thread that waited longest between two looks sets the pace, since every other one may be
    waiting for it.
    """

    def __init__(self, process, now=time.monotonic, delays=None):
        self.now, self.delays = now, delays or (lambda: waited(process))
        self.before, self.known, self.had = now(), self.delays(), 0.0

    def __call__(self):
        now, known = self.now(), self.delays()
        self.had += had(now - self.before, self.known, known)
        self.before, self.known = now, known
        return self.had


def had(elapsed, before, after):
    """What of `elapsed` seconds a machine had; `before` and `after` map threads to seconds they
    have waited so far.
    """
    longest = max(
        (waited_now - before.get(thread, waited_now) for thread, waited_now in after.items()),
        default=0.0,
    )
    return max(elapsed - longest, 0.0)


def waited(process):
    """The seconds that each thread of a process has waited for a processor; {} when the process is
    gone.
    """
    found = {}
    for folder in Path(f"/proc/{process}/task").glob("*"):
        try:
            found[folder.name] = (
                int((folder / "schedstat").read_text(encoding="ascii").split()[1]) / 1e9
            )
        except (OSError, IndexError, ValueError):
            continue
    return found


class Limit:
    """A number of seconds of a clock, from now on."""

    def __init__(self, clock, seconds):
        self.clock, self.end = clock, clock() + seconds

    def over(self):
        """True when the time is up."""
        return self.clock() > self.end
