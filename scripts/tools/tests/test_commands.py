# SPDX-License-Identifier: GPL-2.0-only
"""The commands as they are called: help without Python, wrong words told before any work."""

import os
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from tools import build, console, first, paths, report, resume, table, test
from tools.suites import drivers, host, object as objects, rig

SCRIPTS = paths.TOP / "scripts"
# What every Debian has.
BARE = ("bash", "sed", "env", "dirname")


def run(name, *words, path=None):
    """Runs a command; its status and what it printed."""
    environment = {**os.environ, "PATH": path or os.environ["PATH"]}
    done = subprocess.run(
        [SCRIPTS / name, *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, done.stdout + done.stderr


class HelpTest(unittest.TestCase):
    def test_help_without_python_and_compiler(self):
        with tempfile.TemporaryDirectory() as folder:
            for program in BARE:
                Path(folder, program).symlink_to(shutil.which(program))
            for name in ("build", "run", "test", "rig"):
                for word in ("--help", "-h"):
                    status, said = run(name, word, path=folder)
                    self.assertEqual(status, 0, said)
                    self.assertGreater(len(said.splitlines()), 5, said)
                    self.assertNotIn('"""', said)
            self.assertEqual(run("setup", "--help", path=folder)[0], 0)

    def test_a_python_that_is_too_old(self):
        with tempfile.TemporaryDirectory() as folder:
            for program in BARE:
                Path(folder, program).symlink_to(shutil.which(program))
            for program, text in (("python3", "exit 1"), ("dpkg-query", "echo installed")):
                Path(folder, program).write_text(f"#!/bin/sh\n{text}\n")
                Path(folder, program).chmod(0o755)
            status, said = run("build", path=folder)
        self.assertEqual(status, 1)
        self.assertIn("error: the python3 in PATH is older than 3.11", said)

    def test_help_names_each_part(self):
        status, said = run("test", "--help")
        self.assertEqual(status, 0)
        for part in test._PARTS:
            self.assertIn(f"scripts/test {part}", said)

    def test_wrong_words(self):
        for name, words in (
            ("build", ("objects",)),
            ("build", ("object", "--debug")),
            ("run", ("now",)),
            ("test", ("hots",)),
            ("test", ("host", "x")),
            ("test", ("host", "--resume")),
            ("rig", ("boott",)),
        ):
            status, said = run(name, *words)
            self.assertEqual(status, 2, said)
            self.assertIn("usage: ", said)
            self.assertNotIn("Traceback", said)

    def test_setup_knows_its_parts(self):
        status, said = run("setup", "hots")
        self.assertEqual(status, 1)
        self.assertIn("knows no part 'hots'", said)

    def test_setup_installs_what_the_tests_of_a_part_run(self):
        text = (SCRIPTS / "setup").read_text()
        self.assertRegex(text, r"tools=\(patch git\)")
        for part in ("host", "build", "rig"):
            self.assertRegex(text, rf'{part}\)\s+packages=\(.*"\$\{{tools\[@\]\}}"')


class EarlyTest(unittest.TestCase):
    """What is wrong is told before anything is installed or built."""

    def setUp(self):
        setup = self.enterContext(mock.patch.object(first, "setup"))
        self.addCleanup(setup.assert_not_called)
        os_environ = self.enterContext(mock.patch.dict(os.environ))
        for name in ("XEN_SRC", "QEMU"):
            os_environ.pop(name, None)

    def assert_told(self, command, words, told):
        with self.assertRaisesRegex(console.Failure, told):
            command(words)

    def test_names(self):
        self.assert_told(test.main, ["rig", "nonsense"], "no rig test 'nonsense'")
        self.assert_told(test.main, ["drivers", "nonsense"], "no drivers test 'nonsense'")
        self.assert_told(test.main, ["mutants", "nonsense"], "no guard 'nonsense'")
        self.assert_told(test.main, ["all", "--part", "host,nonsense"], "no part 'nonsense'")

    def test_a_source_that_is_not_there(self):
        os.environ["XEN_SRC"] = "/nowhere"
        for command, words in (
            (build.main, []),
            (build.main, ["xen"]),
            (test.main, []),
            (test.main, ["rig"]),
            (test.main, ["object"]),
        ):
            self.assert_told(command, words, "XEN_SRC is /nowhere, which does not exist")

    def test_an_emulator_that_is_none(self):
        for named in ("/nowhere/qemu", "/bin/true"):
            os.environ["QEMU"] = named
            self.assert_told(test.main, ["rig"], named)

    def test_places_that_cannot_be_written(self):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "file").touch()
            places = {
                "CACHE": folder / "cache",
                "LOGS": folder / "log",
                "REPORT": folder / "report",
            }
            for changed in places:
                for place in (folder / "file", folder / "file/below"):
                    with mock.patch.multiple(paths, **{**places, changed: place}):
                        with self.assertRaises(console.Failure) as caught, console.sentences():
                            first.places()
                        self.assertIn(str(folder / "file"), caught.exception.what)
            with mock.patch.multiple(paths, **places):
                first.places()
                with mock.patch.object(os, "access", return_value=False):
                    self.assert_told(lambda _: first.places(), [], "cannot be written by this user")

    def test_a_file_that_is_no_hypervisor(self):
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"no hypervisor")
            file.flush()
            self.assert_told(first.hypervisor, Path(file.name), "is no hypervisor for multiboot")


class AllTest(unittest.TestCase):
    """scripts/test all, with suites that take no time."""

    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        for name in ("CACHE", "REPORT", "OUT"):
            self.enterContext(mock.patch.object(paths, name, self.folder))
        parts = [
            resume.Part("host", "host"),
            resume.Part("object", "object"),
            resume.Part("rig-bare", "rig", "rig: bare", ("bare/edu/a", "bare/edu/b")),
            resume.Part("rig-amd-vi", "rig", "rig: amd-vi", ("amd-vi/edu/a",)),
            resume.Part("drivers-again", "drivers", "drivers: again", ("again/own",)),
        ]
        self.key, self.ran, self.failing = {}, [], set()
        for target, name, stub in (
            (resume, "parts", lambda: parts),
            (resume, "_key", lambda suite: self.key.get(suite, "k")),
            (first, "check", lambda: None),
            (first, "setup", lambda part: None),
            (test.room, "check", lambda: None),
            (test.xensource, "describe", lambda: "4.20.4 (xen.tar)"),
            (table, "write", mock.Mock()),
            (table, "origin", lambda: {"date": "2026-11-24", "commit": "abc", "changes": False}),
            (host, "run", lambda into: self.suite(into, "host")),
            (objects, "run", lambda into, everything: self.suite(into, "object")),
            (rig, "run", lambda into, names, everything: self.boots(into, "rig", names)),
            (drivers, "run", lambda into, names, everything: self.boots(into, "drivers", names)),
            (console, "say", lambda text: None),
        ):
            self.enterContext(mock.patch.object(target, name, stub))

    def case(self, into, suite, name):
        self.ran.append(name)
        into.add(
            report.Case(suite, name, report.FAIL if name in self.failing else report.PASS, 0.1),
            quiet=True,
        )

    def suite(self, into, name):
        with into.stage(f"{name}: all", name):
            self.case(into, name, f"{name}-test")

    def boots(self, into, suite, names):
        for part in resume.parts():
            tests = [name for name in part.tests if not names or name in names]
            if part.suite == suite and tests:
                with into.stage(part.stage, suite):
                    for name in tests:
                        into.saw("edu", "MSI 1")
                        self.case(into, suite, name)

    def all(self, *words):
        """One run: its status, and what of it was newly run; test.json is in self.written."""
        self.ran.clear()
        kept = []
        with mock.patch.object(
            report, "write_json", lambda name, content: kept.append(content)
        ), mock.patch("builtins.print"):
            with mock.patch.object(report.Report, "_write_junit"):
                status = test.main(["all", *words])
        self.written = kept[-1]
        return status, list(self.ran)

    def test_everything_runs_without_resume(self):
        for _ in range(2):
            status, ran = self.all()
            self.assertEqual((status, len(ran)), (0, 6))
            self.assertEqual((self.written["passed"], self.written["carried"]), (6, []))

    def test_parts_then_resume(self):
        self.assertEqual(
            self.all("--part", "host,rig-bare")[1], ["host-test", "bare/edu/a", "bare/edu/b"]
        )
        self.assertFalse(table.write.called)
        status, ran = self.all("--resume")
        self.assertEqual((status, ran), (0, ["object-test", "amd-vi/edu/a", "again/own"]))
        # What was carried is no newly passed test.
        self.assertEqual(self.written["passed"], 3)
        self.assertEqual(
            [(part["part"], part["passed"]) for part in self.written["carried"]],
            [("host", 1), ("rig-bare", 2)],
        )
        self.assertEqual(
            [suite["name"] for suite in self.written["suites"]], ["object", "rig", "drivers"]
        )
        made_of = table.write.call_args[0][0]
        self.assertEqual(sum(len(suite["cases"]) for suite in made_of["suites"]), 6)
        status, ran = self.all("--resume")
        self.assertEqual(
            (status, ran, self.written["passed"], len(self.written["carried"])), (0, [], 0, 5)
        )

    def test_other_inputs_run_again(self):
        self.all()
        self.key["rig"] = "changed"
        self.assertEqual(self.all("--resume")[1], ["bare/edu/a", "bare/edu/b", "amd-vi/edu/a"])

    def test_what_failed_runs_again(self):
        self.failing = {"bare/edu/b"}
        self.assertEqual(self.all()[0], 1)
        self.failing = set()
        self.assertEqual(self.all("--resume"), (0, ["bare/edu/a", "bare/edu/b"]))

    def test_a_stage_that_was_cut_short_is_not_recorded(self):
        def stopped(into, names, everything):
            with into.stage("rig: bare", "rig"):
                self.case(into, "rig", "bare/edu/a")
                raise KeyboardInterrupt

        with mock.patch.object(rig, "run", stopped), self.assertRaises(KeyboardInterrupt):
            self.all()
        self.assertEqual(
            self.all("--resume")[1], ["bare/edu/a", "bare/edu/b", "amd-vi/edu/a", "again/own"]
        )

    def test_skips_alone_are_not_recorded(self):
        def skipped(into):
            into.add(report.Case("host", "x", report.SKIP, 0.1, "why"), quiet=True)

        with mock.patch.object(host, "run", skipped):
            self.all()
        self.assertIn("host-test", self.all("--resume")[1])


class PartsTest(unittest.TestCase):
    """The real list of parts."""

    def test_each_test_of_the_rig_is_in_one_part(self):
        parts = resume.parts()
        self.assertEqual(len({part.name for part in parts}), len(parts))
        names = [name for part in parts if part.suite == "rig" for name in part.tests]
        self.assertEqual(len(names), len(set(names)))
        self.assertGreater(len(names), 100)

    def test_stages_are_those_of_the_suites(self):
        text = {
            suite: (SCRIPTS / f"tools/suites/{suite}.py").read_text()
            for suite in ("rig", "drivers")
        }
        for part in resume.parts():
            if part.stage == "rig: guests on plain hardware":
                self.assertIn(f'into.stage("{part.stage}"', text["rig"])
            elif part.stage:
                self.assertIn(f'into.stage(f"{part.suite}: {{boot.name}}"', text[part.suite])

    def test_pages_are_no_input_of_the_rig(self):
        files = {
            suite: {str(file.relative_to(paths.TOP)) for file in resume._files(suite)}
            for suite in ("host", "object", "rig")
        }
        self.assertLessEqual(
            {"README.md", "docs/xsa.md", "scripts/tools/test.py", "src/lib.rs"}, files["host"]
        )
        for name in ("README.md", "docs/xsa.md", "scripts/tools/tests/test_xen.py"):
            self.assertNotIn(name, files["rig"])
        for name in (
            "src/lib.rs",
            "scripts/tools/suites/rig.py",
            "xen-patches/4.20/series",
            "hvm-tests/Cargo.toml",
        ):
            self.assertIn(name, files["rig"])
        self.assertIn("scripts/tools/tests/test_xen.py", files["object"])

    def test_documented_names_exist(self):
        page = (paths.TOP / "docs/testing.md").read_text()
        named = {
            name for words in re.findall(r"--part ([\w,-]+)", page) for name in words.split(",")
        } - {"NAME"}
        self.assertTrue(named)
        self.assertEqual(named - {part.name for part in resume.parts()}, set())


if __name__ == "__main__":
    unittest.main()
