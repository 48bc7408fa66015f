# SPDX-License-Identifier: GPL-2.0-only
"""The judgement of what reached the device."""

import unittest

from tools import observe
from tools.rig import Write

GOOD = (
    (0, 0x04, 0x103), (1, 0x42, 0x80), (1, 0x44, 0xFEE00000), (1, 0x48, 0), (1, 0x4C, 0x4000), (1, 0x04, 0x507), (1, 0x42, 0x81),
    (1, 0x42, 0x80), (1, 0x04, 0x107),
)


def writes(*steps, phase="run"):
    """Writes from (cpu, register, value)."""
    return [Write(float(n), "00:04.0", register, value, cpu, phase) for n, (cpu, register, value) in enumerate(steps)]


class ObserveTest(unittest.TestCase):
    def check(self, steps, *expected, iommu="amd-vi", **options):
        found = observe.faults(writes(*steps), iommu, **options)
        self.assertEqual(len(found), len(expected), found)
        for text, part in zip(found, expected):
            self.assertIn(part, text)

    def test_right_order(self):
        self.check(GOOD)

    def test_enable_never(self):
        self.check(GOOD, "was switched on (0x42", enable_allowed=False)

    def test_enable_first(self):
        self.check(((1, 0x04, 0x400), (1, 0x42, 0x81)), "before its message was complete")

    def test_half_a_message(self):
        self.check(((1, 0x04, 0x400), (1, 0x44, 0xFEE00000), (1, 0x48, 0), (1, 0x42, 0x81)), "before its message")

    def test_intx_still_on(self):
        self.check([step for step in GOOD if step != (1, 0x04, 0x507)], "while INTx was allowed")

    def test_intx_back_too_soon(self):
        self.check([*GOOD[:7], GOOD[8], GOOD[7]], "INTx was allowed while MSI was on")

    def test_message_of_the_guest(self):
        self.check(((1, 0x4C, 0x41),), "data 0x41")
        self.check(((1, 0x44, 0xFEE00020),), "address 0xfee00020")
        self.check(((1, 0x44, 0xFED00000),), "address 0xfed00000")
        self.check(((1, 0x48, 1),), "address 0x1")

    def test_form_follows_iommu(self):
        self.check(((1, 0x44, 0xFEE00158), (1, 0x4C, 0)), iommu="vt-d")
        self.check(((1, 0x44, 0xFEE00000),), "address", iommu="vt-d")

    def test_dom0_writes_count(self):
        seen = writes((0, 0x42, 0x80), (1, 0x42, 0x80), (0, 0x40, 0x7005), (0, 0x40, 0x817005), (0, 0x0D, 0x40), (0, 0x4E, 1))
        self.assertEqual([w.register for w in observe.by_dom0(seen)], [0x42, 0x40])
        self.assertEqual(len(observe.enables(seen)), 1)
        self.check(((0, 0x42, 0x80),), "dom0 wrote 0x42 <- 0x80")

    def test_assignment_switches_off(self):
        seen = writes((0, 0x42, 0), (0, 0x42, 0x81), (0, 0x44, 0), phase="assign")
        self.assertEqual([(w.register, w.value) for w in observe.by_dom0(seen)], [(0x42, 0x81), (0x44, 0)])

    def test_order_is_told(self):
        self.assertEqual(
            observe.order(writes((1, 0x42, 0x80), (1, 0x42, 0x80), (0, 0x0D, 0x40), (1, 0x04, 0x507))),
            ["0x42 <- 0x80", "COMMAND <- 0x507"],
        )
