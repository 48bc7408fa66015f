# SPDX-License-Identifier: GPL-2.0-only
"""The HVM tests as the scripts see them: plans, batches, and what is read from an image's words."""

import unittest
from pathlib import Path

from tools import console, guests
from tools.rig import DEVICES

PROGRAM = b"before" + guests._PLAN_MARK + bytes(guests._PLAN_ROOM) + b"after"
BATCH = guests.Test(
    "batch-edu", Path("x"), "", "batch", 1, "yes", "sometimes", 60, tests=("one", "two", "three")
)


def described():
    """All images, as if built."""
    return guests._described(Path("nowhere"))


def statuses(lines):
    return [part.status for part in guests.parts(BATCH, lines)]


class Plans(unittest.TestCase):
    def test_plan_stands_where_the_program_looks(self):
        image = guests.planned(PROGRAM, ("edu",), ("one", "two"))
        self.assertEqual(len(image), len(PROGRAM))
        self.assertIn(guests._PLAN_MARK + b"devices edu\ntests one two\n\0", image)
        self.assertTrue(image.endswith(b"\0after"))

    def test_later_plan_replaces_the_earlier(self):
        image = guests.planned(
            guests.planned(PROGRAM, ("edu",), ("one", "two")), ("nvme",), ("three",)
        )
        self.assertEqual(image, guests.planned(PROGRAM, ("nvme",), ("three",)))

    def test_program_without_a_place_is_refused(self):
        with self.assertRaises(console.Failure):
            guests.planned(b"before after", ("edu",), ("one",))

    def test_plan_that_does_not_fit_is_refused(self):
        with self.assertRaises(console.Failure):
            guests.planned(PROGRAM, ("edu",), ["a" * 100] * 50)


class Metadata(unittest.TestCase):
    def test_kinds_exist(self):
        named = {kind for test in described().values() for devices in test.on for kind in devices}
        self.assertEqual(named - DEVICES.keys(), set())

    def test_every_pair_of_test_and_devices_is_in_one_image(self):
        tests = described()
        wanted = {(name, on) for name, test in tests.items() if test.shared for on in test.on}
        batched = [
            (name, batch.devices) for batch in tests.values() if batch.batch for name in batch.tests
        ]
        self.assertEqual(sorted(batched), sorted(wanted))

    def test_device_that_must_stay_off_shares_no_image(self):
        tests = described()
        shared = {name for batch in tests.values() if batch.batch for name in batch.tests}
        self.assertEqual([name for name in shared if tests[name].enables == "never"], [])

    def test_what_needs_a_configuration_shares_no_image(self):
        tests = described()
        shared = {name for batch in tests.values() if batch.batch for name in batch.tests}
        self.assertEqual([name for name in shared if tests[name].config], [])

    def test_nothing_runs_after_what_ends_the_guest(self):
        tests = described()
        for batch in (test for test in tests.values() if test.batch):
            self.assertEqual(
                [name for name in batch.tests[:-1] if tests[name].ends], [], batch.name
            )

    def test_only_the_last_configuration_line_is_the_tests(self):
        test = guests.Test(
            "x", Path("x"), "", "functional", 1, "no", "sometimes", 60, config="hvm_pirq=1"
        )
        self.assertEqual(guests.configuration(test, "/image").splitlines()[-1], "hvm_pirq=1")

    def test_batch_has_the_cpus_of_its_tests(self):
        tests = described()
        for batch in (test for test in tests.values() if test.batch):
            self.assertEqual(batch.vcpus, max(tests[name].vcpus for name in batch.tests))

    def test_known_words(self):
        for test in described().values():
            self.assertIn(test.bare, ("yes", "part", "no"), test.name)
            self.assertIn(test.enables, ("never", "sometimes"), test.name)


class Parts(unittest.TestCase):
    def test_all_ended(self):
        lines = [
            "Test: one",
            "Result of one: SUCCESS",
            "Test: two",
            "Failure: x",
            "Result of two: FAILURE",
            "Test: three",
            "Result of three: SKIP",
            "Test result: FAILURE",
        ]
        self.assertEqual(statuses(lines), ["SUCCESS", "FAILURE", "SKIP"])
        self.assertEqual(guests.parts(BATCH, lines)[1].reason, "Failure: x")

    def test_death_in_the_middle(self):
        lines = ["Test: one", "Result of one: SUCCESS", "Test: two", "last words"]
        self.assertEqual(statuses(lines), ["SUCCESS", "CRASH", "MISSING"])
        self.assertIn("last words", guests.parts(BATCH, lines)[1].reason)

    def test_silence(self):
        self.assertEqual(statuses([]), ["MISSING"] * 3)

    def test_image_that_never_ended_does_not_succeed(self):
        outcome = guests._judge(BATCH, "Test: one\nResult of one: SUCCESS\n", True, 1.0)
        self.assertEqual(outcome.status, "TIMEOUT")


if __name__ == "__main__":
    unittest.main()
