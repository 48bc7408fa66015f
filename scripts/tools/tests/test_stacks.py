# SPDX-License-Identifier: GPL-2.0-only
"""Where the CPUs of a machine that hangs are, from what QEMU's monitor prints."""

import unittest

from tools.rig import stacks

SYMBOLS = stacks.Symbols("""\
ffff82d040200000 T _stext
ffff82d040200100 T pt_irq_create_bind
ffff82d040200200 t spin
ffff82d040200280 t .Llocal
ffff82d040200300 T _etext
ffff82d040400000 D some_data
""")
REGISTERS = """\

CPU#0
RAX=0 RSP=ffff83007ffc7e70
RIP=ffff82d040200150 RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=0
CPU#1
RSP=ffff83007ffc0000
RIP=ffff82d040200210 RFL=00000046 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1
CPU#2
ESP=00007000
EIP=00100010 EFL=00000202 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=0
"""
STACK = """\
ffff83007ffc7e70: 0xffff82d040200254 0x0000000000000000
ffff83007ffc7e80: 0xffff82d040200100 0xffff82d0402002c0
ffff83007ffc7e90: 0xffff82d040400000 0xffff82d040200110
"""


class Registers(unittest.TestCase):
    def test_each_cpu_is_told_with_its_place_and_state(self):
        first, second, third = stacks.cpus(REGISTERS)
        self.assertEqual(
            (first.rip, first.rsp, first.halted, first.interrupts),
            (0xFFFF82D040200150, 0xFFFF83007FFC7E70, False, True),
        )
        self.assertEqual((second.halted, second.interrupts), (True, False))
        self.assertEqual((third.rip, third.rsp), (0x100010, 0x7000))

    def test_half_a_cpu_is_none(self):
        self.assertEqual(stacks.cpus("CPU#0\nRAX=0\n"), [])


class Names(unittest.TestCase):
    def test_a_place_has_the_name_of_the_function_before_it(self):
        self.assertEqual(SYMBOLS.name(0xFFFF82D040200150), "pt_irq_create_bind+0x50")
        self.assertEqual(SYMBOLS.name(0xFFFF82D0402002C0), "spin+0xc0")

    def test_outside_of_the_code_is_no_name(self):
        self.assertIsNone(SYMBOLS.name(0xFFFF82D040400000))
        self.assertIsNone(SYMBOLS.name(0x1000))
        self.assertIsNone(stacks.Symbols.of(None).name(0xFFFF82D040200150))


class Stopped(unittest.TestCase):
    def look(self, rip=0xFFFF82D040200210, rsp=0x1000, halted=False):
        return [stacks.Cpu(3, rip, rsp, halted, True)]

    def test_a_cpu_that_stays_in_a_loop_of_xens_has_stopped(self):
        looks = [self.look(), self.look(0xFFFF82D040200214), self.look()]
        self.assertEqual(stacks.stopped(looks, SYMBOLS), {3: "spin+0x10"})

    def test_one_that_gets_on_halts_or_is_elsewhere_has_not(self):
        others = (self.look(rsp=0x2000), self.look(halted=True), self.look(rip=0x100010), [])
        for other in others:
            self.assertEqual(stacks.stopped([self.look(), other, self.look()], SYMBOLS), {})


class Stacks(unittest.TestCase):
    def test_a_stack_is_what_returns_to_functions(self):
        asked = []

        def monitor(command, cpu):
            asked.append((command, cpu))
            return REGISTERS if command.startswith("info") else STACK

        self.assertEqual(
            stacks.take(monitor, SYMBOLS),
            [
                "CPU 0: pt_irq_create_bind+0x50",
                "  spin+0x54",
                "  spin+0xc0",
                "  pt_irq_create_bind+0x10",
                "CPU 1: spin+0x10, halted, interrupts off",
                "  spin+0x54",
                "  spin+0xc0",
                "  pt_irq_create_bind+0x10",
                "CPU 2: outside of Xen at 0x100010",
            ],
        )
        # The memory is that of the CPU in question.
        self.assertEqual([cpu for _command, cpu in asked], [0, 0, 1])
