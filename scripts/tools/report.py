# SPDX-License-Identifier: GPL-2.0-only
"""What tests found: shown while they run, and written for other programs."""

import json
import time
import xml.etree.ElementTree as xml
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from . import console, paths

PASS, FAIL, SKIP = "pass", "fail", "skip"
# Lines of a console that are shown with a failure.
_SHOWN = 12


@dataclass(frozen=True)
class Case:
    """One test's result."""

    suite: str
    name: str
    result: str  # PASS, FAIL or SKIP
    seconds: float
    reason: str = ""  # one sentence, '' when it passed
    output: tuple = ()  # what was printed that tells more, line by line


class Report:
    """Collects results; a failure is shown at once, with its reason."""

    def __init__(self):
        self.cases, self.stages, self.retries, self.devices = [], {}, {}, {}
        self.xen = ""  # the source of the Xen under test, in words
        self.carried = []  # parts that passed in an earlier run, as resume.Record has them
        self.ended = lambda stage, cases, seconds: None  # called at the end of each stage

    def add(self, case, quiet=False):
        """Takes a result; `quiet` leaves a passed one unshown."""
        self.cases.append(case)
        if case.result == PASS and quiet:
            return
        console.say(
            f"{case.result}  {case.suite}/{case.name} ({case.seconds:.1f}s)"
            + (f": {case.reason}" if case.reason else "")
        )
        if case.result == FAIL:
            for line in case.output[-_SHOWN:]:
                print(f"          | {line}", flush=True)

    def retried(self, name, count):
        """Counts runs repeated for the emulator's own fault."""
        if count:
            self.retries[name] = self.retries.get(name, 0) + count

    def saw(self, device, offer):
        """Takes what message interrupts a device offers, as one line for people."""
        self.devices[device] = offer

    @contextmanager
    def stage(self, name, suite):
        """A stage of the run, timed. A Failure in it becomes a failed test; the run goes on."""
        begin, before = time.monotonic(), len(self.cases)
        try:
            with console.sentences():
                yield
        except console.Failure as failure:
            self.add(failed(suite, name, failure, time.monotonic() - begin))
        finally:
            self.stages[name] = self.stages.get(name, 0) + time.monotonic() - begin
        self.ended(name, self.cases[before:], time.monotonic() - begin)

    def count(self, result):
        """How many tests ended so."""
        return sum(case.result == result for case in self.cases)

    def finish(self):
        """Prints the summary, writes out/report/test.json and test.xml; returns the exit status."""
        write_json("test", self.content())
        self._write_junit()
        print()
        for name, seconds in self.stages.items():
            print(f"  {seconds:7.1f}s  {name}")
        if self.retries:
            told = ", ".join(f"{name} {count}x" for name, count in self.retries.items())
            print(f"  run again for the emulator's own fault: {told}")
        for part in self.carried:
            print(
                f"  carried  {part['part']}: {part['passed']} passed on {part['date']}"
                f" at {part['commit']}, not run again"
            )
        if self.xen:
            print(f"  Xen {self.xen}")
        for case in self.cases:
            if case.result == FAIL:
                print(f"  fail  {case.suite}/{case.name}: {case.reason}")
        before = sum(part["passed"] for part in self.carried)
        more = (
            f"; {before} more passed in an earlier run with the same inputs" if self.carried else ""
        )
        print(
            f"{self.count(PASS)} passed, {self.count(FAIL)} failed,"
            f" {self.count(SKIP)} skipped{more}",
            flush=True,
        )
        return 1 if self.count(FAIL) or not self.count(PASS) + before else 0

    def _suites(self):
        found = {}
        for case in self.cases:
            found.setdefault(case.suite, []).append(case)
        return found

    def content(self):
        """All results, as test.json holds them."""
        return {
            "passed": self.count(PASS),
            "failed": self.count(FAIL),
            "skipped": self.count(SKIP),
            "xen": self.xen,
            "emulator_fault_retries": self.retries,
            "devices": self.devices,
            "stages": [
                {"name": name, "seconds": round(seconds, 1)}
                for name, seconds in self.stages.items()
            ],
            "suites": [
                {"name": name, "cases": [_entry(case) for case in cases]}
                for name, cases in self._suites().items()
            ],
            "carried": self.carried,
        }

    def _write_junit(self):
        top = xml.Element("testsuites")
        for name, cases in self._suites().items():
            suite = xml.SubElement(top, "testsuite", _totals(name, cases))
            for case in cases:
                entry = xml.SubElement(
                    suite,
                    "testcase",
                    classname=case.suite,
                    name=case.name,
                    time=f"{case.seconds:.3f}",
                )
                if case.result != PASS:
                    told = xml.SubElement(
                        entry,
                        "failure" if case.result == FAIL else "skipped",
                        message=_plain(case.reason),
                    )
                    told.text = _plain("\n".join(case.output))
        xml.indent(top)
        xml.ElementTree(top).write(
            paths.REPORT / "test.xml", encoding="utf-8", xml_declaration=True
        )


def _entry(case):
    """A result as test.json holds it: what was printed only where it was no pass."""
    entry = {**asdict(case), "seconds": round(case.seconds, 3)}
    if case.result == PASS:
        del entry["output"]
    return entry


def failed(suite, name, failure, seconds):
    """The result of a test that a console.Failure ended."""
    reason = f"{failure.what}. {failure.remedy}".strip()
    output = tuple(console.tail(failure.log).splitlines()) if failure.log else ()
    return Case(
        suite,
        name,
        FAIL,
        seconds,
        reason + (f" (log: {failure.log})" if failure.log else ""),
        output,
    )


def write_json(name, content):
    """Writes out/report/NAME.json."""
    paths.REPORT.mkdir(parents=True, exist_ok=True)
    (paths.REPORT / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")


def _totals(name, cases):
    return {
        "name": name,
        "tests": str(len(cases)),
        "failures": str(sum(case.result == FAIL for case in cases)),
        "skipped": str(sum(case.result == SKIP for case in cases)),
        "time": f"{sum(case.seconds for case in cases):.3f}",
    }


def _plain(text):
    """Text without the control characters that XML cannot hold."""
    return "".join(letter for letter in text if letter.isprintable() or letter in "\n\t")
