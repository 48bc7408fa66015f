# SPDX-License-Identifier: GPL-2.0-only
"""The suite rig: who is chosen, and how a guest's life is judged."""

import unittest
from pathlib import Path

from tools import console, guests, report
from tools.rig import Result, Write
from tools.suites import rig

NAMES = ("msi-deliver", "msi-rewrite", "msi-widths", "msi-bad-address", "msi-enable-unprogrammed")
IMAGES = {
    name: guests.Test(name, Path(name), "", "functional", 1, "yes", "never" if "unprogrammed" in name else "sometimes", 60)
    for name in NAMES
}
IMAGES["idle"] = guests.Test("idle", Path("idle"), "", "utility", 1, "yes", "never", 60)
LEARNED = ["(XEN) msitrap: d1 0000:00:04.0: learned as the guest's function: 0x18"]
GOOD = ((0x04, 0x503), (0x44, 0xFEE00000), (0x48, 0), (0x4C, 0x4000), (0x42, 1), (0x42, 0))
BOOT = rig.Boot("amd-vi", ())


def result(status="SUCCESS", writes=GOOD, **more):
    """A guest's result with writes of a running guest's CPU."""
    seen = [Write(0.0, "00:04.0", register, value, 1, "run") for register, value in writes]
    return Result(status, "" if status == "SUCCESS" else "why", config_writes=seen, **{"xen_log": LEARNED, **more})


def judged(name, outcome):
    """The parts of a functional test that failed."""
    findings = rig._functional(IMAGES[name]).judge(BOOT, outcome)
    return [part for part, found in findings.items() if found]


class SelectTest(unittest.TestCase):
    def setUp(self):
        self.boots = rig.plan(IMAGES, False)

    def test_no_name_is_all(self):
        self.assertEqual(rig.select(self.boots, IMAGES, ()), set(rig.names_of(self.boots, IMAGES)))

    def test_by_machine_by_test_and_in_full(self):
        self.assertEqual(rig.select(self.boots, IMAGES, ["vt-d/msi-deliver"]), {"vt-d/msi-deliver"})
        self.assertIn("debug/stubdom-map-pirq", rig.select(self.boots, IMAGES, ["debug"]))
        by_test = rig.select(self.boots, IMAGES, ["msi-deliver"])
        self.assertLessEqual({"bare/msi-deliver", "amd-vi/msi-deliver", "off/msi-deliver"}, by_test)

    def test_unknown_names_get_near_ones(self):
        with self.assertRaises(console.Failure) as caught:
            rig.select(self.boots, IMAGES, ["msi-delivr"])
        self.assertIn("msi-deliver", caught.exception.remedy)

    def test_everything_adds_boots(self):
        more = {boot.name for boot in rig.plan(IMAGES, True)} - {boot.name for boot in self.boots}
        self.assertLessEqual({"stock-kernel", "debug-rest", "vt-d-rest"}, more)


class JudgeTest(unittest.TestCase):
    def test_good(self):
        self.assertEqual(judged("msi-deliver", result()), [])

    def test_guest_says_no(self):
        for status in ("FAILURE", "ERROR", "CRASH", "TIMEOUT"):
            self.assertEqual(judged("msi-deliver", result(status)), [""])

    def test_outside_disagrees(self):
        self.assertEqual(judged("msi-deliver", result(writes=((0x42, 1),))), ["/outside"])

    def test_an_empty_trace_proves_nothing(self):
        self.assertEqual(judged("msi-deliver", result(writes=())), ["/outside"])

    def test_enable_that_must_never_be_seen(self):
        self.assertEqual(judged("msi-enable-unprogrammed", result()), ["/outside"])

    def test_not_learned(self):
        self.assertEqual(judged("msi-deliver", result(xen_log=[])), ["/learned"])

    def test_guard_demands_eperm(self):
        self.assertEqual(rig._refused(BOOT, Result("SUCCESS", "", hook="map_pirq=1 pirq=-1 bind_pt_irq=1")), [])
        for hook in ("map_pirq=0 pirq=55 bind_pt_irq=1", "map_pirq=1 pirq=-1 bind_pt_irq=22", "error=privcmd", ""):
            self.assertTrue(rig._refused(BOOT, Result("SUCCESS", "", hook=hook)), hook)

    def test_attempt_must_be_made_and_fail(self):
        good = result(writes=(), hook="register=0x42 wrote=0x0081 after=0x0080")
        self.assertEqual(rig._not_reached(BOOT, good), [])
        self.assertTrue(rig._not_reached(BOOT, result(writes=(), hook="")))
        self.assertTrue(rig._not_reached(BOOT, result(writes=((0x42, 0x81),), hook="wrote=0x0081")))

    def test_off_means_the_old_bug(self):
        judge = rig._missing("msi-deliver").judge
        silent = result("FAILURE", ((0x42, 0x80),), console=["Failure: expected 10 of vector 0x51 on vCPU 0, saw nothing"])
        self.assertFalse(any(judge(BOOT, silent).values()))
        self.assertTrue(any(judge(BOOT, result()).values()))
        self.assertTrue(any(judge(BOOT, result("CRASH")).values()))

    def test_what_is_left_behind(self):
        self.assertEqual(rig._left(["a"], ["a", "b"]), ["left behind: b"])
        self.assertEqual(rig._left(["a", "b"], ["a"]), [])
        self.assertTrue(rig._left([], []))

    def test_lists_of_two_moments_compare(self):
        lines = (
            "(XEN)  MSI-X   26 vec=d8  fixed  edge   assert phys    cpu dest=00000000 mask=1/  /0",
            "(XEN)  MSI-X   26 vec=31  fixed  edge   assert phys    cpu dest=00000001 mask=0/ G/0",
            "(XEN)    IRQ:  26 vec:d8 PCI-MSI/-X      status=010 aff:{0}/{0} in-flight=0 d0:230(---)",
            "(XEN)    IRQ:  26 vec:31 PCI-MSI/-X      status=030 aff:{0-1}/{0} in-flight=1 d0:230(---)",
        )
        self.assertEqual([rig.interrupt(line) for line in lines], ["MSI-X 26"] * 2 + ["IRQ 26 of d0"] * 2)
        self.assertIsNone(rig.interrupt("(XEN) MSI information:"))
        unbound = "(XEN)    IRQ:  {} vec:b8 {}   status=002 aff:{{0}}/{{0}} mapped, unbound"
        self.assertEqual(rig.interrupt(unbound.format(31, "PCI-MSI")), "IRQ 31 of nobody")
        # dom0's own for INTx of the device, which it keeps.
        self.assertIsNone(rig.interrupt(unbound.format(20, "IO-APIC-level")))

    def test_alarms_count_once_xen_has_started(self):
        known, new = "(XEN) Xen WARN at arch/x86/xstate.c:769", "(XEN) Assertion 'x' failed at y.c:1"
        self.assertEqual(rig.alarms([known, "up", "fine"], ["fine"]), [])
        self.assertEqual(rig.alarms([known, "up", known, new], [known, new]), [new])

    def test_skip_is_no_pass(self):
        into = report.Report()
        machine = type("M", (), {"run": lambda self, guest: Result("SKIP", "no device")})()
        rig._run_probe(into, BOOT, machine, rig._functional(IMAGES["msi-deliver"]), IMAGES)
        self.assertEqual([case.result for case in into.cases], [report.SKIP])
