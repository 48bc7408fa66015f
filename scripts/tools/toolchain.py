# SPDX-License-Identifier: GPL-2.0-only
"""A Rust compiler that has the source of its core library, and what that compiler understands.

Xen needs a core library built for its own environment: a compiler without that source cannot serve.
"""

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from . import console

# The oldest compiler the module is meant for: Debian 13's.
OLDEST = (1, 85)
# The target whose description the compiler itself gives, and which ours is a variation of.
BASE_TARGET = "x86_64-unknown-none"
_REMEDY = (
    "Run scripts/setup build, or install Debian's rustc-web, cargo-web and rust-web-src"
    " (elsewhere rustc, cargo and rust-src), or 'rustup component add rust-src'."
)
# Settings of the caller's own cargo that would change what is built.
_FOREIGN = (
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTUP_TOOLCHAIN",
)


@dataclass(frozen=True)
class Toolchain:
    """One compiler: the paths of its programs and its version as (major, minor)."""

    cargo: Path
    rustc: Path
    sysroot: Path
    version: tuple

    def environment(self):
        """The environment for its programs, with the unstable options that building core needs."""
        clean = {
            name: value
            for name, value in os.environ.items()
            if name not in _FOREIGN
            and not name.startswith(("CARGO_BUILD_", "CARGO_PROFILE_", "CARGO_TARGET_"))
        }
        return {
            **clean,
            "PATH": f"{self.rustc.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "RUSTC": str(self.rustc),
            "RUSTC_BOOTSTRAP": "1",
        }

    @property
    def library(self):
        """The source of the compiler's own libraries."""
        return self.sysroot / "lib/rustlib/src/rust/library"

    def describe(self):
        """The compiler's full version, which also keys what it built."""
        return self._ask(self.rustc, "-vV")

    def options(self):
        """The names of the compiler's -Z and -C options and of cargo's -Z options: three sets."""
        return (
            option_names(self._ask(self.rustc, "-Zhelp")),
            option_names(self._ask(self.rustc, "-Chelp")),
            option_names(self._ask(self.cargo, "-Zhelp")),
        )

    def base_target(self):
        """The compiler's description of BASE_TARGET."""
        return json.loads(
            self._ask(
                self.rustc,
                "-Zunstable-options",
                "--print",
                "target-spec-json",
                "--target",
                BASE_TARGET,
            )
        )

    def _ask(self, program, *words):
        done = subprocess.run(
            [program, *words], capture_output=True, text=True, check=False, env=self.environment()
        )
        if done.returncode != 0:
            raise console.Failure(
                f"'{program} {' '.join(words)}' failed: {_first_line(done.stderr)}", _REMEDY
            )
        return done.stdout


def option_names(text):
    """The option names in what `-Zhelp` or `-Chelp` prints, of the compiler or of cargo."""
    return set(re.findall(r"^\s+-[ZC]\s+([a-z0-9-]+)", text, re.MULTILINE))


@cache
def find():
    """The first fit compiler: $RUSTC, else the one in PATH, else Debian's in /usr/bin."""
    if named := os.environ.get("RUSTC"):
        return _examine(Path(named))
    reasons = []
    for candidate in dict.fromkeys(filter(None, (shutil.which("rustc"), "/usr/bin/rustc"))):
        try:
            return _examine(Path(candidate))
        except console.Failure as failure:
            reasons.append(failure.what)
    raise console.Failure("; ".join(reasons) or "there is no Rust compiler", _REMEDY)


def _examine(rustc):
    """The toolchain of one compiler, or a Failure that says what it lacks."""
    found = re.match(r"rustc (\d+)\.(\d+)", _answer(rustc, "--version"))
    if not found:
        raise console.Failure(f"{rustc} is no working Rust compiler", _REMEDY)
    version = int(found[1]), int(found[2])
    if version < OLDEST:
        raise console.Failure(
            f"{rustc} is version {version[0]}.{version[1]}, older than 1.{OLDEST[1]}", _REMEDY
        )
    sysroot = Path(_answer(rustc, "--print", "sysroot").strip())
    if not (sysroot / "lib/rustlib/src/rust/library/core/src/lib.rs").is_file():
        raise console.Failure(f"{rustc} has no source of its core library", _REMEDY)
    # Behind a chooser such as rustup the programs themselves are in the sysroot.
    real = sysroot / "bin/rustc"
    rustc = real if real.is_file() else rustc
    return Toolchain(_cargo(rustc), rustc, sysroot, version)


def _answer(rustc, *words):
    """What the compiler prints; empty when it fails, as a chooser without a toolchain does."""
    try:
        return subprocess.run([rustc, *words], capture_output=True, text=True, check=False).stdout
    except OSError as error:
        raise console.Failure(f"{rustc} cannot be run ({error.strerror})", _REMEDY) from error


def _cargo(rustc):
    named = os.environ.get("CARGO")
    if named and not Path(named).is_file():
        raise console.Failure(f"there is no {named}, which CARGO names", "Unset it, or mend it.")
    for candidate in (named, rustc.with_name("cargo"), shutil.which("cargo")):
        if candidate and Path(candidate).is_file():
            return Path(candidate)
    raise console.Failure(f"{rustc} has no cargo beside it", _REMEDY)


def _first_line(text):
    return next(iter(text.strip().splitlines()), "no message")
