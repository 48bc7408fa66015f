# SPDX-License-Identifier: GPL-2.0-only
"""The judgement of what reached the device, on traces made by hand."""

import unittest

from tools import observe
from tools.rig import Layout, Result, TableWrite, Write
from tools.rig.devices import Msi, Msix

EDU = Layout(Msi(0x40, True, False, 1), None)
# A capability with everything: mask bits behind a 64-bit address, eight vectors.
WIDE = Layout(Msi(0x50, True, True, 8), None)
NARROW = Layout(Msi(0x50, False, True, 4), None)
BOTH = Layout(Msi(0xD0, True, False, 1), Msix(0xA0, 5, 0xFEB00000, 3, 0, 0xFEB02000, 3, 0x2000))
GOOD = (
    (0, 0x04, 0x103),
    (1, 0x42, 0x80),
    (1, 0x44, 0xFEE00000),
    (1, 0x48, 0),
    (1, 0x4C, 0x4000),
    (1, 0x04, 0x507),
    (1, 0x42, 0x81),
    (1, 0x42, 0x80),
    (1, 0x04, 0x107),
)
ON, MASKED_ON, OFF = (1, 0xA2, 0x8004), (1, 0xA2, 0xC004), (1, 0xA2, 4)
COMMAND = (1, 0x04, 0x506)


def entry(vector, data, mask=0):
    """The writes that set an entry up and, unless `mask` says otherwise, let it go."""
    values = ((0, 0xFEE00000), (4, 0), (8, data), (12, mask))
    return [(1, vector, register, value) for register, value in values]


MSIX = [COMMAND, MASKED_ON, *entry(0, 0x4000), *entry(3, 0x4001), ON, OFF]


def result(*steps, layout=EDU, phase="run", device="00:04.0", size=4):
    """A result with writes from (cpu, register, value), and to a table from (cpu, vector, register,
    value).
    """
    found = Result("SUCCESS", "", layouts={device: layout})
    for time, step in enumerate(steps):
        if len(step) == 3:
            cpu, register, value = step
            found.config_writes.append(Write(float(time), device, register, value, cpu, phase))
        else:
            cpu, vector, register, value = step
            found.table_writes.append(
                TableWrite(float(time), device, vector, register, value, size, cpu, phase)
            )
    return found


class Case(unittest.TestCase):
    layout = EDU

    def check(self, steps, *expected, iommu="amd-vi", enable_allowed=True, **options):
        found = observe.faults(result(*steps, layout=self.layout, **options), iommu, enable_allowed)
        self.assertEqual(len(found), len(expected), found)
        for text, part in zip(found, expected):
            self.assertIn(part, text)


class MsiTest(Case):
    def test_right_order(self):
        self.check(GOOD)

    def test_enable_never(self):
        self.check(GOOD, "MSI was switched on (0x42", enable_allowed=False)

    def test_enable_first(self):
        self.check(((1, 0x04, 0x400), (1, 0x42, 0x81)), "before its message was complete")

    def test_half_a_message(self):
        self.check(
            ((1, 0x04, 0x400), (1, 0x44, 0xFEE00000), (1, 0x48, 0), (1, 0x42, 0x81)),
            "before its message",
        )

    def test_intx_still_on(self):
        self.check([step for step in GOOD if step != (1, 0x04, 0x507)], "while INTx was allowed")

    def test_intx_back_too_soon(self):
        self.check([*GOOD[:7], GOOD[8], GOOD[7]], "INTx was allowed while MSI was on")

    def test_intx_back_by_the_upper_byte(self):
        self.check([*GOOD[:7], (1, 0x05, 0x01)], "INTx was allowed while MSI was on")
        self.check([(0, 0x05, 0x05), *GOOD[1:5], GOOD[6]])

    def test_message_of_the_guest(self):
        for data in (0x41, 0x4001, 0x4041, 0x14000):
            self.check(((1, 0x4C, data),), f"data {data:#x}")
        for address in (0xFEE01000, 0xFEE00020, 0xFED00000):
            self.check(((1, 0x44, address),), f"address {address:#x}")
        self.check(((1, 0x48, 1),), "address 0x1")

    def test_plain_form_without_remapping(self):
        self.check(((1, 0x44, 0xFEEFF00C), (1, 0x4C, 0x4021)), iommu="none")
        for data in (0x21, 0x4011, 0x40FF, 0x4121, 0xC021):
            self.check(((1, 0x4C, data),), f"data {data:#x}", iommu="none")
        for address in (0xFEE00010, 0xFEE00800, 0xFED00000):
            self.check(((1, 0x44, address),), f"address {address:#x}", iommu="none")

    def test_form_follows_iommu(self):
        self.check(((1, 0x44, 0xFEE00158), (1, 0x4C, 0)), iommu="vt-d")
        self.check(((1, 0x44, 0xFEE00000), (1, 0x4C, 0x41)), "address", "data", iommu="vt-d")

    def test_dom0_writes_count(self):
        seen = result(
            (0, 0x42, 0x80),
            (1, 0x42, 0x80),
            (0, 0x40, 0x7005),
            (0, 0x40, 0x817005),
            (0, 0x0D, 0x40),
            (0, 0x4E, 1),
        )
        self.assertEqual([w.register for w in observe.by_dom0(seen)], [0x42, 0x40])
        self.assertEqual(len(observe.enables(seen)), 1)
        self.check(((0, 0x42, 0x80),), "dom0 wrote 0x42 <- 0x80")

    def test_assignment_switches_off(self):
        seen = result((0, 0x42, 0), (0, 0x42, 0x81), (0, 0x44, 0), phase="assign")
        self.assertEqual(
            [(w.register, w.value) for w in observe.by_dom0(seen)], [(0x42, 0x81), (0x44, 0)]
        )

    def test_order_is_told(self):
        seen = result((1, 0x42, 0x80), (1, 0x42, 0x80), (0, 0x0D, 0x40), (0, 0x04, 0x507))
        self.assertEqual(observe.order(seen), ["0x42 <- 0x80", "COMMAND <- 0x507"])
        self.assertEqual(observe.order(seen, "assign"), [])


class ManyVectorsTest(Case):
    layout = WIDE

    def steps(self, control, data=0x4000):
        return (
            (1, 0x04, 0x400),
            (1, 0x54, 0xFEE00000),
            (1, 0x58, 0),
            (1, 0x5C, data),
            (1, 0x60, 0xFF),
            (1, 0x52, control),
            (1, 0x60, 0),
        )

    def test_a_block_of_vectors_with_mask_bits(self):
        self.check(self.steps(0x1A1 | 2 << 4))

    def test_a_block_begins_at_a_multiple_of_its_size(self):
        self.check(self.steps(0x181 | 1 << 4, 0x4006))
        self.check(self.steps(0x181 | 2 << 4, 0x4002), "no multiple")

    def test_no_more_vectors_than_there_are(self):
        self.check(self.steps(0x181 | 4 << 4), "16 vectors were switched on, of 8")
        self.check(self.steps(0x181, 0x4008), "data 0x4008")

    def test_dom0_keeps_off_mask_bits(self):
        self.check(((0, 0x60, 0),), "dom0 wrote 0x60")
        self.check(((0, 0x66, 0),))


class NarrowTest(Case):
    layout = NARROW

    def test_a_32_bit_capability_has_its_data_earlier(self):
        steps = ((1, 0x04, 0x400), (1, 0x54, 0xFEE00000), (1, 0x58, 0x4000), (1, 0x52, 0x101))
        self.check(steps)
        self.check([*steps[:2], steps[3]], "before its message")
        self.check(((1, 0x58, 0x41),), "data 0x41")
        self.check(((1, 0x5C, 0xF),))
        self.check(((0, 0x5C, 0xF),), "dom0 wrote 0x5c")


class MsixTest(Case):
    layout = BOTH

    def test_linux_way(self):
        self.check(MSIX)

    def test_enable_never(self):
        self.check([COMMAND, MASKED_ON], "MSI-X was switched on (0xa2", enable_allowed=False)

    def test_enabled_with_all_masked(self):
        self.check([COMMAND, ON, OFF])
        self.check([COMMAND, *entry(0, 0x4000, 1)[3:], ON])

    def test_let_go_before_the_message_is_complete(self):
        for missing in range(3):
            some = [step for step in entry(2, 0x4000) if step[2] != 4 * missing]
            self.check([COMMAND, MASKED_ON, *some, ON], "entry 2 was let go before")
            self.check([COMMAND, *some, ON], "entry 2 was let go before")
            self.check([COMMAND, ON, *some], "entry 2 was let go before")

    def test_message_of_the_guest(self):
        self.check([COMMAND, (1, 1, 8, 0x41)], "entry 1 0x8: data 0x41")
        self.check([COMMAND, (1, 1, 8, 0x4005)], "data 0x4005")
        self.check([COMMAND, (1, 1, 0, 0xFEE00020)], "address 0xfee00020")
        self.check([COMMAND, (1, 1, 4, 7)], "address 0x7")

    def test_eight_bytes_are_two_registers(self):
        self.check([COMMAND, (1, 1, 0, 0x1_FEE00000)], "address 0x1", size=8)
        self.check([COMMAND, ON, (1, 1, 0, 0xFEE00000), (1, 1, 8, 0x4000)], size=8)
        self.check([COMMAND, ON, (1, 1, 8, 0x4000)], "let go before", size=8)

    def test_an_unmasked_entry_stays_as_it_is(self):
        self.check([*MSIX[:-1], (1, 0, 8, 0x4002)], "entry 0 0x8 was changed while")
        self.check([*MSIX[:-1], MASKED_ON, (1, 0, 8, 0x4002), ON])

    def test_two_entries_do_not_share_a_message(self):
        self.check(
            [COMMAND, ON, *entry(0, 0x4000), *entry(3, 0x4000)],
            "entries 0 and 3 have the same message",
        )

    def test_memory_decoding_off(self):
        self.check(
            [(1, 0x04, 0x504), *entry(0, 0x4000)[:1]],
            "entry 0 0x0 was written while memory decoding was off",
        )

    def test_a_virtual_function_has_no_memory_decoding(self):
        self.check([(1, 0x04, 0x504), *entry(0, 0x4000)[:1]], device="00:17.0")

    def test_pending_bits_are_nobodys(self):
        self.check([COMMAND, (1, None, 0, 1)], "pending bits were written")

    def test_dom0_keeps_off_the_table(self):
        self.check([COMMAND, (0, 0, 12, 1)], "dom0 wrote entry 0 0xc")
        self.check([COMMAND, (0, 0xA2, 4)], "dom0 wrote 0xa2")

    def test_intx(self):
        self.check([(1, 0x04, 0x106), ON], "MSI-X was switched on while INTx")
        self.check([COMMAND, ON, (1, 0x04, 0x106)], "INTx was allowed while MSI-X was on")

    def test_one_capability_at_a_time(self):
        msi = [(1, 0xD4, 0xFEE00000), (1, 0xD8, 0), (1, 0xDC, 0x4000), (1, 0xD2, 0x81)]
        self.check([COMMAND, *msi])
        self.check([COMMAND, ON, *msi], "MSI was switched on while the other")
        self.check([COMMAND, *msi, ON], "MSI-X was switched on while the other")
        self.check([COMMAND, ON, OFF, *msi])

    def test_functions_are_followed_apart(self):
        both = result(COMMAND, ON, layout=BOTH)
        other = result(*GOOD, device="00:05.0")
        both.layouts |= other.layouts
        both.config_writes += other.config_writes
        self.assertEqual(observe.faults(both, "amd-vi"), [])
        self.assertEqual(len(observe.enables(both)), 2)


if __name__ == "__main__":
    unittest.main()
