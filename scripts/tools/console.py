# SPDX-License-Identifier: GPL-2.0-only
"""What a person sees: progress with elapsed time, and failures in one sentence."""

import errno
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


# What mends an error of the system, by its number.
_REMEDIES = {
    errno.ENOSPC: "Make room there, or set MSITRAP_CACHE to a folder elsewhere.",
    errno.EDQUOT: "Make room there, or set MSITRAP_CACHE to a folder elsewhere.",
    errno.EROFS: "Use a checkout that can be written, and set MSITRAP_CACHE to a folder that can.",
    errno.EACCES: "Run it as the owner of that file, or make the file this user's.",
    errno.EPERM: "Run it as the owner of that file, or make the file this user's.",
    errno.ENOTDIR: "A file is where a folder has to be: move it away.",
    errno.EEXIST: "A file is where a folder has to be: move it away.",
    errno.EMFILE: "Raise the limit of open files (ulimit -n).",
    errno.ENOMEM: "Free some memory.",
}


def failure_of(error):
    """An error of the system as a Failure: what, where, and how to mend it."""
    path = error.filename or error.filename2
    if isinstance(error, FileNotFoundError) and path and os.sep not in str(path):
        return Failure(
            f"the program {path} is missing", "Run scripts/setup, or install it by hand."
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT) and not path:
        path = f"{paths.CACHE} or {paths.OUT}"
    where = f"{path}: " if path else ""
    return Failure(
        f"{where}{error.strerror or error}",
        _REMEDIES.get(error.errno, "Is it there, and this user's?" if path else ""),
    )


@contextmanager
def sentences():
    """Makes a Failure of an error of the system, or of a program that failed."""
    try:
        yield
    except BrokenPipeError:
        # The reader of what is printed has gone.
        raise
    except OSError as error:
        raise failure_of(error) from error
    except subprocess.CalledProcessError as error:
        raise Failure(
            f"'{_name(error.cmd)}' failed with status {error.returncode}", _last_line(error.stderr)
        ) from error


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
            stdout=sink,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            check=False,
            **options,
        )
    if done.returncode != 0:
        raise Failure(f"'{_name(command)}' failed with status {done.returncode}", log=file)
    return file


def tail(file, lines=_TAIL):
    """The last lines of a log, as text."""
    try:
        text = Path(file).read_text(errors="replace")
    except OSError as error:
        return f"({error})"
    return "\n".join(text.splitlines()[-lines:])


def main(body):
    """Runs a command's body; a Failure or error of the system becomes one sentence and status 1."""
    try:
        with sentences():
            status = body()
    except Failure as failure:
        print(
            f"\nerror: {failure.what}." + (f" {failure.remedy}" if failure.remedy else ""),
            file=sys.stderr,
        )
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


def _name(command):
    """The name of a command's program."""
    return Path(str(command if isinstance(command, str) else command[0])).name


def _last_line(output):
    """The last line that a program said, from text or bytes."""
    text = output.decode(errors="replace") if isinstance(output, bytes) else output or ""
    return next(iter(text.strip().splitlines()[-1:]), "")
