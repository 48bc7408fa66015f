# SPDX-License-Identifier: GPL-2.0-only
"""Line coverage of the module's pure core by its own tests.

The compiler counts (`-C instrument-coverage`); LLVM's tools of the compiler's own version read what
was counted. Tests inside a file of the core are not lines of the core.
"""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import console, paths, report

CORE = paths.TOP / "src/core"
# In per cent of all lines of the core.
LEAST = 95.0
_FOLDER = paths.OUT / "coverage"
_TESTS_BEGIN = re.compile(r"^#\[cfg\(test\)\]\n(?:#\[.*\]\n)*mod ", re.MULTILINE)


@dataclass(frozen=True)
class File:
    """One file of the core: how many of its lines the compiler counts, and those that no test
    reached.
    """

    name: str
    lines: int
    missed: tuple = ()

    @property
    def told(self):
        """One line for people."""
        missed = f"  not reached: {ranges(self.missed)}" if self.missed else ""
        return f"{self.name:28} {percent([self]):6.1f} %  of {self.lines:4} lines{missed}"


def instrumentation(tools):
    """Words for cargo and environment that make it count in the module alone; none when the
    compiler cannot count.
    """
    shutil.rmtree(_FOLDER, ignore_errors=True)
    if not any(_host_folder(tools).glob("lib/libprofiler_builtins-*.rlib")):
        return [], {}
    setting = 'profile.test.package.msitrap.rustflags=["-Cinstrument-coverage"]'
    return ["-Zprofile-rustflags", "--config", setting], {
        "LLVM_PROFILE_FILE": str(_FOLDER / "%m.profraw")
    }


def measure(tools, programs):
    """What the test programs, which have run, reached of each file of the core.

    A Failure names the tool that is missing, or the log of one that failed.
    """
    profile, reader = (_tool(tools, name) for name in ("llvm-profdata", "llvm-cov"))
    counted = sorted(_FOLDER.glob("*.profraw"))
    if not counted or not programs:
        raise console.Failure(
            "the tests left no counts of lines",
            f"{tools.rustc} may lack its profiler runtime; take Debian's rustc or rustc-web.",
        )
    merged = _FOLDER / "merged.profdata"
    console.run([profile, "merge", "-o", merged, *counted], "coverage")
    objects = [word for program in programs for word in ("-object", program)]
    done = subprocess.run(
        [reader, "export", "-format=lcov", f"-instr-profile={merged}", *objects],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise console.Failure(
            "llvm-cov cannot read the counts:"
            f" {(done.stderr.splitlines() or ['it says nothing'])[0]}"
        )
    return files(done.stdout)


def files(lcov, folder=CORE):
    """The files of `folder` in a tracefile (lcov's form), each with its lines outside its own
    tests.
    """
    found = []
    for record in lcov.split("end_of_record"):
        source = re.search(r"^SF:(.*)$", record, re.MULTILINE)
        if source and Path(source[1]).is_relative_to(folder):
            file = Path(source[1])
            end = _tests_begin(file.read_text())
            counts = {
                int(line): int(count)
                for line, count in re.findall(r"^DA:(\d+),(\d+)", record, re.MULTILINE)
            }
            own = {line: count for line, count in counts.items() if line < end}
            missed = tuple(sorted(line for line, count in own.items() if count == 0))
            found.append(File(str(file.relative_to(folder)), len(own), missed))
    return sorted(found, key=lambda file: file.name)


def percent(measured):
    """The share of lines reached, in per cent; 0 where there are no lines."""
    lines = sum(file.lines for file in measured)
    return 100 * (lines - sum(len(file.missed) for file in measured)) / lines if lines else 0.0


def findings(measured):
    """What is wrong: too little is reached."""
    share = percent(measured)
    return (
        [f"the tests reach {share:.1f} % of the core's lines, less than {LEAST:.0f} %"]
        if share < LEAST
        else []
    )


def table(measured):
    """The lines of a table for people: each file, then all."""
    total = sum(file.lines for file in measured)
    whole = (
        f"{'all of src/core':28} {percent(measured):6.1f} %  of {total:4} lines,"
        f" at least {LEAST:.0f} % demanded"
    )
    return [*(file.told for file in measured), whole]


def write(measured):
    """Writes out/report/coverage.json."""
    report.write_json(
        "coverage",
        {
            "percent": round(percent(measured), 2),
            "demanded": LEAST,
            "files": [
                {"name": f.name, "lines": f.lines, "not_reached": list(f.missed)} for f in measured
            ],
        },
    )


def ranges(numbers):
    """Line numbers in order, runs joined: 3, 7-9."""
    runs = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def _tests_begin(text):
    """The line at which a file's own tests begin, past its end when it has none."""
    found = _TESTS_BEGIN.search(text)
    return text.count("\n", 0, found.start()) + 1 if found else text.count("\n") + 2


def _host_folder(tools):
    """The compiler's folder for the machine it runs on."""
    return (
        tools.sysroot
        / "lib/rustlib"
        / re.search(r"^host: (\S+)", tools.describe(), re.MULTILINE)[1]
    )


def _tool(tools, name):
    """One of LLVM's tools, of the version the compiler was made with: another cannot read what it
    counts.
    """
    version = re.search(r"^LLVM version: (\d+)", tools.describe(), re.MULTILINE)[1]
    for place in (_host_folder(tools) / "bin", Path(f"/usr/lib/llvm-{version}/bin")):
        if (place / name).is_file():
            return place / name
    raise console.Failure(
        f"there is no {name} of LLVM {version}",
        f"Install llvm-{version} (scripts/setup host does), or 'rustup component add llvm-tools'.",
    )
