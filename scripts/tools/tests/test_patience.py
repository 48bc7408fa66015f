# SPDX-License-Identifier: GPL-2.0-only
"""The time that an emulated machine had, on a host that is busy."""

import unittest

from tools.rig import patience


class Had(unittest.TestCase):
    def test_the_thread_that_waited_longest_sets_the_pace(self):
        self.assertEqual(patience.had(10.0, {"1": 1.0, "2": 5.0}, {"1": 2.0, "2": 9.0}), 6.0)

    def test_a_thread_that_is_new_has_not_waited_yet(self):
        self.assertEqual(patience.had(10.0, {}, {"1": 7.0}), 10.0)

    def test_time_never_runs_backwards(self):
        self.assertEqual(patience.had(1.0, {"1": 0.0}, {"1": 3.0}), 0.0)

    def test_without_threads_it_is_the_hosts(self):
        self.assertEqual(patience.had(3.0, {"1": 1.0}, {}), 3.0)


class Clock(unittest.TestCase):
    def test_a_limit_is_over_only_when_the_machine_had_the_time(self):
        times, waits = iter([0.0, 1.0, 11.0, 22.5]), iter(
            [{"1": 0.0}, {"1": 0.0}, {"1": 9.0}, {"1": 10.0}]
        )
        limit = patience.Limit(patience.Clock(0, lambda: next(times), lambda: next(waits)), 10)
        # One second of the next ten, then eleven and a half less one.
        self.assertFalse(limit.over())
        self.assertTrue(limit.over())

    def test_this_process_has_threads(self):
        self.assertTrue(patience.waited("self"))
        self.assertEqual(patience.waited("0"), {})
