# SPDX-License-Identifier: GPL-2.0-only
"""The list of guards fits the code, the tests and the page."""

import re
import tempfile
import threading
import unittest
from pathlib import Path
from unittest import mock

from .. import console, mutants, paths

GUARD = mutants.Guard("edge", "nothing passes", 1, "src/lib.rs", "take()", ("a_test",), "leave()")


def sources():
    """All that holds tests of the module."""
    files = [file for folder in ("src", "tests") for file in (paths.TOP / folder).rglob("*.rs")]
    return "".join(file.read_text() for file in files)


class List(unittest.TestCase):
    """tests/guards.toml."""

    def setUp(self):
        self.guards = mutants.read()

    def test_names_are_unique(self):
        names = [guard.name for guard in self.guards]
        self.assertEqual(sorted(names), sorted(set(names)))

    def test_what_is_taken_out_is_there(self):
        for guard in self.guards:
            if not guard.xen:
                mutants.without(guard, (paths.TOP / guard.file).read_text())

    def test_the_modules_tests_exist(self):
        known = set(re.findall(r"fn (\w+)", sources()))
        named = {name for guard in self.guards if not guard.xen for name in guard.tests}
        self.assertEqual(named - known, set())

    def test_every_guard_names_a_test(self):
        self.assertEqual([guard.name for guard in self.guards if not guard.tests], [])

    def test_the_page_is_made_of_it(self):
        self.assertEqual(mutants.PAGE.read_text(), mutants.page(self.guards, mutants.untested()))


class TakingOut(unittest.TestCase):
    """What becomes of a text, and of what the tests say."""

    def test_replaces_what_stands_once(self):
        self.assertEqual(mutants.without(GUARD, "a take() b"), "a leave() b")

    def test_refuses_what_is_not_there_or_twice(self):
        for text in ("", "take() take()"):
            with self.assertRaises(console.Failure):
                mutants.without(GUARD, text)

    def test_a_failed_test_is_known_by_its_last_word(self):
        self.assertTrue(mutants.is_of("a_test", "core::msi::tests::a_test"))
        self.assertFalse(mutants.is_of("a_test", "core::msi::tests::another_a_test"))

    def test_a_second_run_waits_for_the_first(self):
        told, order = threading.Event(), []

        def second():
            with mutants._alone():
                order.append("second")

        with tempfile.TemporaryDirectory() as folder, mock.patch.object(
            paths, "CACHE", Path(folder)
        ), mock.patch.object(console, "say", lambda text: told.set()):
            with mutants._alone():
                waiting = threading.Thread(target=second)
                waiting.start()
                self.assertTrue(told.wait(10))
                order.append("first")
            waiting.join(10)
        self.assertEqual(order, ["first", "second"])

    def test_a_failed_guest_is_known_by_its_name(self):
        self.assertTrue(mutants.is_of("amd-vi/hostile/calls", "amd-vi/hostile/calls"))
        self.assertFalse(mutants.is_of("amd-vi/hostile/calls", "debug/hostile/calls"))


if __name__ == "__main__":
    unittest.main()
