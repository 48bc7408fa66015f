# SPDX-License-Identifier: GPL-2.0-only
"""How events in a device's life are judged."""

import unittest

from tools import observe
from tools.rig import Layout, Result, Write
from tools.rig.devices import Msi
from tools.suites import life

DEVICE = "00:04.0"
LAYOUT = Layout(Msi(0x40, True, False, 1), None)


def result(*writes):
    """What a device got: (time, register, value, cpu)."""
    made = [
        Write(time, DEVICE, register, value, cpu, "run") for time, register, value, cpu in writes
    ]
    return Result("SUCCESS", "", config_writes=made, layouts={DEVICE: LAYOUT})


class Life(unittest.TestCase):
    """The view from outside of an event."""

    def test_what_stays_on_is_told(self):
        on, off = (1.0, 0x42, 0x81, 1), (2.0, 0x42, 0x80, 1)
        self.assertEqual(life.left_on(result(on, off)), [])
        self.assertEqual(life.left_on(result(off, on)), ["MSI of 00:04.0 is still on"])

    def test_writes_of_xens_in_dom0s_time(self):
        seen = observe.as_xens(result((1.0, 0x42, 0x80, 0), (5.0, 0x42, 0x81, 0)), [(0.5, 1.5)])
        self.assertEqual([write.by_dom0 for write in seen.config_writes], [False, True])

    def test_what_comes_after_the_end_is_not_judged(self):
        kept = life.before(result((1.0, 0x42, 0x81, 1), (5.0, 0x42, 0x80, 0)), 2.0)
        self.assertEqual([write.time for write in kept.config_writes], [1.0])

    def test_a_device_that_was_told_nothing_again(self):
        missing = life.told_again(result((1.0, 0x42, 0x81, 1)), 2.0)
        self.assertEqual(len(missing), 2)


if __name__ == "__main__":
    unittest.main()
