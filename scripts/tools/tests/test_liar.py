# SPDX-License-Identifier: GPL-2.0-only
"""A device that lies: what its guest may have seen, and what an assignment that failed has to say.
"""

import struct
import unittest
from unittest import mock

from tools.rig import Result
from tools.suites import liar

SECRET = struct.pack("<1024I", *range(0x51000000, 0x51000400))
PLACE = liar.Place(0x7FFF4000, 0xFE000000, {0x7FFF4000: SECRET, 0xFE000000: b"\x77" * 4096})
REFUSED = "(XEN) msitrap: d1 0000:00:0a.0: not assigned, MSI-X table in RAM"


def guest(*lines, status="SUCCESS"):
    return Result(status, "", console=[*lines, "Beside: 2026 dwords read, 1 printed"])


class Seen(unittest.TestCase):
    def test_a_guest_sees_what_is_its_devices(self):
        self.assertEqual(liar.faults_of_guest(guest("Beside 0x50: 0x00000001"), PLACE), [])

    def test_a_word_of_either_page_is_not_its_devices(self):
        for word in (0x51000050, 0x77777777):
            found = liar.faults_of_guest(guest(f"Beside 0x50: {word:#010x}"), PLACE)
            self.assertIn(f"{word:#010x} beside the table at 0x50", found[0])

    def test_a_guest_that_did_not_look_shows_nothing(self):
        self.assertIn("looked at nothing", liar.faults_of_guest(Result("CRASH", "why"), PLACE)[0])
        self.assertEqual(
            liar.faults_of_guest(Result("SUCCESS", "", console=["Beside: none"]), PLACE), []
        )

    def test_a_word_that_changed_is_told(self):
        machine = mock.Mock()
        pages = {0x7FFF4000: SECRET[:12] + b"\xff" * 4 + SECRET[16:], 0xFE000000: b"\x77" * 4096}
        machine.forge.memory = lambda address, size: pages[address]
        self.assertEqual(
            liar.changed(machine, PLACE), ["1 words at 0x7fff4000 were changed, the first at 0xc"]
        )


class Refused(unittest.TestCase):
    def test_an_assignment_that_fails_says_why_once(self):
        self.assertEqual(liar.faults_of_refusal([REFUSED, "(XEN) d1: something else"]), [])
        self.assertTrue(liar.faults_of_refusal([]))
        self.assertTrue(liar.faults_of_refusal([REFUSED, REFUSED]))

    def test_a_guest_that_failed_otherwise_is_no_refusal(self):
        run = liar.Run(liar.LIES[0])
        self.assertEqual(
            run.judge(None, Result("CRASH", "xl could not create it: why", xen_log=[REFUSED])),
            {"": []},
        )
        self.assertTrue(
            run.judge(None, Result("CRASH", "the machine went down", xen_log=[REFUSED]))[""]
        )


class Assignments(unittest.TestCase):
    LINE = "assign tried=8 assigned={} stuck={} errors="

    def judged(self, assigned, stuck, *lines):
        return liar.faults_of_assignments([("name", self.LINE.format(assigned, stuck), lines)])

    def test_each_is_made_and_taken_back_or_refused_with_a_reason(self):
        self.assertEqual(self.judged(8, 0), [])
        self.assertEqual(self.judged(0, 0, REFUSED), [])
        self.assertTrue(self.judged(0, 0))
        self.assertTrue(self.judged(8, 1))
        self.assertTrue(liar.faults_of_assignments([("name", "", [])]))

    def test_what_msitrap_says_of_a_device_it_accepts_is_no_reason(self):
        for said in ("managed", "released; messages refused: 0"):
            self.assertIsNone(liar._REFUSED.search(f"(XEN) msitrap: d1 0000:00:0a.0: {said}"))
        self.assertTrue(liar._REFUSED.search(REFUSED))
        self.assertTrue(liar._REFUSED.search("(XEN) d5: assign (0000:00:0a.0) failed (-16)"))


class Lies(unittest.TestCase):
    def test_each_has_a_name_of_its_own(self):
        for lies in (liar.LIES, (*liar.SHOWN, *liar.SHOWN_LONG)):
            names = [lie.name for lie in lies]
            self.assertEqual(len(names), len(set(names)))

    def test_every_lie_is_shown_to_a_guest_at_some_time(self):
        self.assertLessEqual(
            {lie.name for lie in liar.LIES}, {lie.name for lie in (*liar.SHOWN, *liar.SHOWN_LONG)}
        )

    def test_pages_have_no_word_that_is_zero(self):
        self.assertNotIn(0, liar.Place(content={0: liar._page()}).words)
