# SPDX-License-Identifier: GPL-2.0-only
"""What a person sees: progress with elapsed time, and failures in one sentence."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from . import paths

_START = time.monotonic()
# Lines of a log worth showing when its command failed.
_TAIL = 15


class Failure(Exception):
    """A reason to stop: what is wrong, how to mend it, and the log that tells more."""

    def __init__(self, what, remedy="", log=None):
        super().__init__(what)
        self.what, self.remedy, self.log = what, remedy, log


def say(text):
    """One line of progress, with the seconds since the command began."""
    print(f"[{time.monotonic() - _START:6.1f}s] {text}", flush=True)


@contextmanager
def step(text):
    """Announces a piece of work and says how long it took."""
    begin = time.monotonic()
    say(f"{text} ...")
    yield
    say(f"{text}: done in {time.monotonic() - begin:.1f}s")


def run(command, log, **options):
    """Runs a command with its output in out/log/LOG.log; a failure names that log.

    Returns the path of the log. `options` go to subprocess.run.
    """
    file = paths.LOGS / f"{log}.log"
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "ab") as sink:
        sink.write(f"$ {' '.join(map(str, command))}\n".encode())
        sink.flush()
        done = subprocess.run(
            [str(word) for word in command],
            stdout=sink, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            check=False, **options,
        )
    if done.returncode != 0:
        raise Failure(f"'{Path(str(command[0])).name}' failed with status {done.returncode}", log=file)
    return file


def tail(file, lines=_TAIL):
    """The last lines of a log, as text."""
    try:
        text = Path(file).read_text(errors="replace")
    except OSError as error:
        return f"({error})"
    return "\n".join(text.splitlines()[-lines:])


def main(body):
    """Runs a command's body; a Failure becomes one sentence, its log and status 1."""
    try:
        status = body()
    except Failure as failure:
        print(f"\nerror: {failure.what}." + (f" {failure.remedy}" if failure.remedy else ""), file=sys.stderr)
        if failure.log:
            print(f"--- the end of {failure.log}\n{tail(failure.log)}", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        print("\nstopped.", file=sys.stderr)
        status = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status or 0)
