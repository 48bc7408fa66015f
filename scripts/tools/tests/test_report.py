# SPDX-License-Identifier: GPL-2.0-only
"""The report: its counts, its status, its files; and the reading of what cargo prints."""

import contextlib
import io
import json
import tempfile
import unittest
import xml.etree.ElementTree as xml
from pathlib import Path
from unittest import mock

from tools import console, paths, report
from tools.suites import host

CARGO = """
running 3 tests
test core::msi::tests::layout ... ok <0.002s>
test random_guests ... FAILED <1.250s>
test slow_one ... ignored

failures:

---- random_guests stdout ----
thread 'random_guests' panicked at tests/invariants/main.rs:9:5:
enabled with nothing bound

failures:
    random_guests
"""


class ReportTest(unittest.TestCase):
    def setUp(self):
        folder = self.enterContext(tempfile.TemporaryDirectory())
        self.folder = Path(folder)
        self.enterContext(mock.patch.object(paths, "REPORT", self.folder))
        self.printed = io.StringIO()
        self.enterContext(contextlib.redirect_stdout(self.printed))

    def finish(self, *results):
        into = report.Report()
        for number, result in enumerate(results):
            into.add(
                report.Case(
                    "suite", f"test{number}", result, 1.5, "why\x1b" * (result != report.PASS)
                )
            )
        return into.finish()

    def last_line(self):
        return self.printed.getvalue().splitlines()[-1]

    def test_all_passed(self):
        self.assertEqual(self.finish(report.PASS, report.PASS), 0)
        self.assertEqual(self.last_line(), "2 passed, 0 failed, 0 skipped")

    def test_one_failed(self):
        self.assertEqual(self.finish(report.PASS, report.FAIL, report.SKIP), 1)
        self.assertEqual(self.last_line(), "1 passed, 1 failed, 1 skipped")

    def test_skips_alone_are_no_success(self):
        self.assertEqual(self.finish(report.SKIP), 1)
        self.assertEqual(self.finish(), 1)

    def test_files(self):
        self.finish(report.PASS, report.FAIL, report.SKIP)
        written = json.loads((self.folder / "test.json").read_text())
        self.assertEqual((written["passed"], written["failed"], written["skipped"]), (1, 1, 1))
        self.assertEqual(
            [case["result"] for case in written["suites"][0]["cases"]], ["pass", "fail", "skip"]
        )
        top = xml.parse(self.folder / "test.xml").getroot()
        self.assertEqual(top[0].get("failures"), "1")
        self.assertEqual(top[0][1][0].get("message"), "why")

    def test_failure_in_a_stage_is_a_failed_test(self):
        into = report.Report()
        with into.stage("a stage", "suite"):
            raise console.Failure("the disk is full", "Make room.")
        self.assertEqual(into.cases[0].result, report.FAIL)
        self.assertIn("Make room", into.cases[0].reason)

    def test_an_error_of_the_system_in_a_stage_is_a_failed_test(self):
        into = report.Report()
        with into.stage("a stage", "suite"):
            raise FileNotFoundError(2, "No such file or directory", "no-such-program")
        self.assertEqual(into.cases[0].result, report.FAIL)
        self.assertIn("no-such-program is missing", into.cases[0].reason)

    def test_a_stage_tells_its_end_and_its_cases(self):
        into, seen = report.Report(), []
        into.ended = lambda stage, cases, seconds: seen.append((stage, len(cases)))
        into.add(report.Case("suite", "before", report.PASS, 1))
        with into.stage("a stage", "suite"):
            into.add(report.Case("suite", "in it", report.PASS, 1))
        with self.assertRaises(KeyboardInterrupt), into.stage("cut short", "suite"):
            raise KeyboardInterrupt
        self.assertEqual(seen, [("a stage", 1)])

    def test_what_a_passed_test_printed_is_not_kept(self):
        into = report.Report()
        for result in (report.PASS, report.FAIL):
            into.add(report.Case("suite", result, result, 1, output=("a line",)))
        cases = into.content()["suites"][0]["cases"]
        self.assertEqual([case.get("output") for case in cases], [None, ("a line",)])

    def test_carried_parts_are_counted_apart(self):
        into = report.Report()
        into.carried = [{"part": "host", "date": "2026-11-24", "commit": "abc", "passed": 40}]
        into.xen = "4.20.4 (xen.tar)"
        into.add(report.Case("suite", "test", report.PASS, 1))
        self.assertEqual(into.finish(), 0)
        self.assertTrue(self.last_line().startswith("1 passed, 0 failed, 0 skipped; 40 more"))
        self.assertIn("carried  host: 40 passed on 2026-11-24 at abc", self.printed.getvalue())
        written = json.loads((self.folder / "test.json").read_text())
        self.assertEqual((written["passed"], written["xen"]), (1, "4.20.4 (xen.tar)"))
        self.assertEqual(written["carried"][0]["passed"], 40)
        top = xml.parse(self.folder / "test.xml").getroot()
        self.assertEqual([suite.get("tests") for suite in top], ["1"])

    def test_without_cargo_the_modules_tests_are_one_failure(self):
        into = report.Report()
        lost = console.Failure("the crates cannot be fetched", "Check the network.")
        with mock.patch.object(host, "cargo_tests", side_effect=lost):
            host.run_module(into)
        self.assertEqual([case.result for case in into.cases], [report.FAIL])

    def test_retries_are_told(self):
        into = report.Report()
        into.add(report.Case("suite", "test", report.PASS, 1))
        into.retried("suite/test", 2)
        into.finish()
        self.assertIn("suite/test 2x", self.printed.getvalue())

    def test_cargo_results(self):
        cases = host.parse_tests(CARGO)
        self.assertEqual([case.result for case in cases], [report.PASS, report.FAIL, report.SKIP])
        self.assertEqual(cases[1].seconds, 1.25)
        self.assertEqual(
            cases[1].reason, "tests/invariants/main.rs:9:5: enabled with nothing bound"
        )


class TreeTest(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.enterContext(mock.patch.object(paths, "TOP", self.folder))

    def write(self, name, text):
        file = self.folder / name
        file.write_text(text)
        return file

    def test_licence(self):
        good = self.write("good.py", "# SPDX-License-Identifier: " + "GPL-2.0-only\n")
        bad = self.write("bad.py", "print()\n")
        self.assertEqual(len(host.without_licence([good, bad, self.write("Cargo.lock", "x")])), 1)

    def test_names_of_this_machine(self):
        file = self.write("a.md", "section 7.7.1.2\nsee host.of.mine\nat 192.0" + ".2.7\n")
        self.assertEqual(len(host.naming([file], {"host.of.mine"})), 2)

    def test_shell_scripts(self):
        shell = self.write("a", "#!/usr/bin/env bash\n")
        self.assertEqual(
            host.shell_scripts(
                [shell, self.write("b", "#!/usr/bin/env python3\n"), self.write("c", "")]
            ),
            [shell],
        )
