# SPDX-License-Identifier: GPL-2.0-only
"""The suite of Linux drivers: what a guest's lines, Xen's lists and the view from outside are taken
for.
"""

import unittest

from tools import console
from tools.rig import DEVICES, Break, Layout, Result, Write
from tools.suites import drivers

NVME = DEVICES["nvme"].address
LINES = [
    "Test: nvme/stock-driver",
    "Failure: no interrupt came",
    "Result of nvme/stock-driver: FAILURE",
]


def write(when, device=NVME):
    return Write(when, device, 4, 0, 1, "run")


class Findings(unittest.TestCase):
    def _of(self, step, lines, status="SUCCESS", left=()):
        scenario = next(s for s in drivers.SCENARIOS if step in s.shows)
        return drivers.findings(
            scenario, "nvme", step, Result(status, "why", console=lines), list(left)
        )

    def test_a_step_passes_by_its_own_word_only(self):
        self.assertEqual(self._of("stock-driver", ["Result of nvme/stock-driver: SUCCESS"]), [])
        self.assertEqual(self._of("stock-driver", LINES), ["Failure: no interrupt came"])
        self.assertTrue(self._of("stock-driver", ["Result of ahci/stock-driver: SUCCESS"]))
        self.assertTrue(self._of("stock-driver", []))

    def test_a_reboot_needs_both_lives(self):
        word = "Result of nvme/stock-driver: SUCCESS"
        self.assertTrue(self._of("reboot", [word]))
        self.assertEqual(self._of("reboot", [word, word]), [])

    def test_a_destroyed_guest_leaves_nothing(self):
        self.assertEqual(self._of("destroy", []), [])
        self.assertEqual(
            self._of("destroy", [], left=["left behind: MSI 30"]), ["left behind: MSI 30"]
        )
        self.assertTrue(self._of("destroy", [], status="FAILURE"))


class Outside(unittest.TestCase):
    def _result(self, *breaks):
        writes, layouts = [write(1), write(2), write(3)], {NVME: Layout(None, None)}
        return Result("SUCCESS", "", config_writes=writes, layouts=layouts, breaks=list(breaks))

    def _times(self, result):
        return [[w.time for w in held.config_writes] for held in drivers.holdings(result)]

    def test_a_break_parts_what_is_judged(self):
        self.assertEqual(self._times(self._result()), [[1, 2, 3]])
        self.assertEqual(self._times(self._result(Break((NVME,), 1.5, 2.5))), [[1], [3]])
        self.assertEqual(self._times(self._result(Break((NVME,), 1.5))), [[1]])

    def test_a_break_of_another_device_does_not(self):
        self.assertEqual(self._times(self._result(Break(("00:0a.0",), 1.5, 2.5))), [[1, 2, 3]])

    def test_a_silent_trace_is_a_finding(self):
        self.assertTrue(drivers.outside(self._result(), "amd-vi"))

    def test_one_device_at_a_time(self):
        result = self._result()
        result.config_writes.append(write(4, "00:0a.0"))
        self.assertEqual(len(drivers.only(result, NVME).config_writes), 3)


class Names(unittest.TestCase):
    def _chosen(self, *names):
        return [
            (boot.name, *(s.name for s in boot.scenarios))
            for boot in drivers.select(drivers.plan(True), names)
        ]

    def test_a_scenario_is_asked_for_on_one_machine_or_all(self):
        self.assertEqual(self._chosen("debug/unplug"), [("debug", "unplug")])
        self.assertEqual(self._chosen("vt-d"), [("vt-d", *(s.name for s in drivers.SCENARIOS))])
        self.assertEqual(len(self._chosen("own")), len(drivers.plan(True)))

    def test_an_unknown_name_is_refused(self):
        with self.assertRaises(console.Failure):
            self._chosen("nothing")
