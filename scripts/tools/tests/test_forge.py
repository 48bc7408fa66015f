# SPDX-License-Identifier: GPL-2.0-only
"""A device that lies: where its registers are, and how its answers change."""

import os
import tempfile
import threading
import time
import unittest
from unittest import mock

from tools.rig import forge

MAPS = """\
55558f884000-5555a27e4000 rw-p 00000000 00:00 0                          [heap]
7f314be00000-7f31cbe00000 rw-p 00000000 00:00 0\x20
7f3224570000-7f3224571000 r--p 00000000 00:00 0\x20
7f3224571000-7f3224572000 rw-p 00001000 fe:00 1234                       /usr/lib/x.so
7f3226681000-7f3226682000 rw-p 00000000 00:00 0\x20
"""


class Places(unittest.TestCase):
    def test_a_device_has_a_page_of_the_window(self):
        self.assertEqual(forge.window("00:0a.0"), 0xB0050000)
        self.assertEqual(forge.window("00:0e.1"), 0xB0071000)
        self.assertEqual(forge.window("01:00.0"), 0xB0100000)

    def test_objects_are_in_anonymous_memory_that_is_not_the_machines(self):
        self.assertEqual(
            forge.mappings(0, MAPS),
            [(0x55558F884000, 0x5555A27E4000), (0x7F3226681000, 0x7F3226682000)],
        )
        self.assertEqual(forge.ram(0, MAPS), [(0x7F314BE00000, 0x7F31CBE00000)])

    def test_bytes_are_found_across_the_ends_of_slices(self):
        with tempfile.NamedTemporaryFile() as file, mock.patch.object(forge, "_SLICE", 16):
            file.write(b"." * 14 + b"MARK" + b"." * 14 + b"MARK")
            file.flush()
            with forge._Memory.__new__(forge._Memory) as memory:
                memory.file = os.open(file.name, os.O_RDWR)
                self.assertEqual(memory.places(0, 36, b"MARK"), [14, 32])


class Answers(unittest.TestCase):
    def setUp(self):
        self.file = tempfile.NamedTemporaryFile()
        self.addCleanup(self.file.close)
        self.file.write(b"true" * 4)
        self.file.flush()
        self.memory = forge._Memory.__new__(forge._Memory)
        self.memory.file = os.open(self.file.name, os.O_RDWR)
        self.addCleanup(lambda: os.close(self.memory.file))

    def _during(self, how, look):
        over = threading.Event()
        thread = threading.Thread(
            target=how, args=(self.memory, 0, {4: b"true"}, {4: b"lie!"}, over)
        )
        thread.start()
        end, seen = time.monotonic() + 10, False
        while not seen and time.monotonic() < end:
            seen = look()
        over.set()
        thread.join()
        return seen

    def test_a_lie_that_insists_comes_back_when_the_truth_is_written(self):
        self.assertTrue(self._during(forge._insist, lambda: self.memory.read(4, 4) == b"lie!"))
        self.memory.write(4, b"true")
        self.assertTrue(self._during(forge._insist, lambda: self.memory.read(4, 4) == b"lie!"))

    def test_the_size_of_a_bar_is_answered(self):
        self.memory.write(4, b"size")
        looks = iter(range(100))
        # True ends the looking: it is over when the answer was changed, or after all looks.
        changed = self._during(
            forge._insist,
            lambda: time.sleep(0.001)
            or self.memory.read(4, 4) != b"size"
            or next(looks, None) is None,
        )
        self.assertTrue(changed)
        self.assertEqual(self.memory.read(0, 16), b"truesizetruetrue")

    def test_a_lie_that_flips_is_both(self):
        for said in (b"lie!", b"true"):
            self.assertTrue(
                self._during(forge._flip, lambda said=said: self.memory.read(4, 4) == said)
            )
