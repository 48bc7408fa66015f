# SPDX-License-Identifier: GPL-2.0-only
"""Runs the tests of the scripts themselves (tools/tests), each as a result of its own."""

import contextlib
import io
import time
import unittest

from .. import paths, report

_FOLDER = paths.TOP / "scripts/tools/tests"


def run(suite, into, wanted):
    """Runs the modules of tools/tests whose name `wanted` accepts, as results of `suite`."""
    for file in sorted(_FOLDER.glob("test_*.py")):
        if wanted(file.stem):
            module = unittest.defaultTestLoader.loadTestsFromName(f"tools.tests.{file.stem}")
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                found = _Collector(suite)
                module.run(found)
            for case in found.cases:
                into.add(case, quiet=True)


class _Collector(unittest.TestResult):
    """Turns what unittest says into results."""

    def __init__(self, suite):
        super().__init__()
        self.suite, self.cases, self.begin = suite, [], time.monotonic()

    def startTest(self, test):
        super().startTest(test)
        self.begin = time.monotonic()

    def addSuccess(self, test):
        self._add(test, report.PASS)

    def addError(self, test, err):
        self._failed(test, err)

    def addFailure(self, test, err):
        self._failed(test, err)

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self._failed(subtest, err)

    def addSkip(self, test, reason):
        self._add(test, report.SKIP, reason)

    def _failed(self, test, error):
        lines = tuple(self._exc_info_to_string(error, test).splitlines())
        self._add(test, report.FAIL, f"{error[0].__name__}: {error[1]}".splitlines()[0], lines)

    def _add(self, test, result, reason="", output=()):
        name = test.id().removeprefix("tools.tests.")
        self.cases.append(
            report.Case(self.suite, name, result, time.monotonic() - self.begin, reason, output)
        )
