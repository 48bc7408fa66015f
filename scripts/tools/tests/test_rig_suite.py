# SPDX-License-Identifier: GPL-2.0-only
"""The suite rig: who is chosen, and how a guest's life is judged."""

import contextlib
import io
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from tools import console, guests, paths, report
from tools.rig import Layout, Result, Write
from tools.rig.devices import Msi
from tools.suites import rig

PLAN = guests._PLAN_MARK + bytes(guests._PLAN_ROOM)
LEARNED = ["(XEN) msitrap: d1 0000:00:04.0: learned as the guest's function: 0x18"]
GOOD = ((0x04, 0x503), (0x44, 0xFEE00000), (0x48, 0), (0x4C, 0x4000), (0x42, 1), (0x42, 0))
BOOT = rig.Boot("amd-vi", ())
SAID = [
    "Test: msi-deliver",
    "Result of msi-deliver: SUCCESS",
    "Test: msi-widths",
    "Result of msi-widths: SUCCESS",
    "Test result: SUCCESS",
]


def image(name, category="functional", enables="sometimes", bare="yes", **more):
    """An image as guests.build describes it."""
    return guests.Test(
        name, Path(name), "", category, 1, bare, enables, 60, **{"tests": (name,), **more}
    )


BATCH = image("batch-edu", "batch", tests=("msi-deliver", "msi-widths", "msi-bad-address"))
NEVER = image("msi-enable-unprogrammed", enables="never")
TESTS = (
    BATCH,
    NEVER,
    *map(image, ("msi-deliver", "msi-widths")),
    image("msi-bad-address", bare="no"),
    image("batch-e1000e", "batch", on=(("e1000e",),), tests=("msi-deliver",)),
    image("idle", "utility", enables="never"),
    image("msix-doorbell", "utility", on=(("ivshmem",),)),
    image("log-flood-million", "utility", on=(("e1000e",),)),
    image("beat-msi", "utility", on=(("igb",),)),
    image("beat-msix", "utility", on=(("e1000e",),)),
)
IMAGES = {test.name: test for test in TESTS}


def result(status="SUCCESS", writes=GOOD, **more):
    """A guest's result with writes of a running guest's CPU."""
    seen = [
        Write(float(n), "00:04.0", register, value, 1, "run")
        for n, (register, value) in enumerate(writes)
    ]
    layouts = {"00:04.0": Layout(Msi(0x40, True, False, 1), None)}
    more = {"xen_log": LEARNED, "layouts": layouts, "console": SAID, **more}
    return Result(status, "" if status == "SUCCESS" else "why", config_writes=seen, **more)


def judged(test, outcome):
    """The parts of a functional probe that failed."""
    findings = rig._functional(test).judge(BOOT, outcome)
    return [part for part, found in findings.items() if found]


def cases(test, outcome):
    """The results that a functional probe puts into a report, by name."""
    into = report.Report()
    machine = mock.Mock(run=lambda guest, _script=None: outcome)
    with contextlib.redirect_stdout(io.StringIO()):
        rig._run_probe(into, BOOT, machine, rig._functional(test), {**IMAGES, test.name: test})
    return {case.name: case.result for case in into.cases}


class SelectTest(unittest.TestCase):
    def setUp(self):
        self.boots = rig.plan(IMAGES, False)

    def test_no_name_is_all(self):
        self.assertEqual(rig.select(self.boots, IMAGES, ()), set(rig.names_of(self.boots, IMAGES)))

    def test_by_machine_by_device_by_test_and_in_full(self):
        def chosen(*names):
            return rig.select(self.boots, IMAGES, names)

        self.assertEqual(chosen("vt-d/edu/msi-deliver"), {"vt-d/edu/msi-deliver"})
        self.assertIn("off/hostile", chosen("off"))
        by_test = chosen("msi-deliver")
        self.assertLessEqual(
            {
                "bare/edu/msi-deliver",
                "amd-vi/edu/msi-deliver",
                "amd-vi/e1000e/msi-deliver",
                "off/msi-deliver",
            },
            by_test,
        )
        self.assertEqual(chosen("amd-vi/e1000e"), {"amd-vi/e1000e/msi-deliver"})
        self.assertEqual({name.split("/")[1] for name in chosen("e1000e")}, {"e1000e"})

    def test_a_part_of_a_batch_runs_on_its_own(self):
        boot = next(boot for boot in self.boots if boot.name == "amd-vi").only(
            {"amd-vi/edu/msi-widths"}
        )
        self.assertEqual(boot.names, ["amd-vi/edu/msi-widths"])
        with tempfile.TemporaryDirectory() as folder, mock.patch.object(paths, "OUT", Path(folder)):
            whole = Path(folder) / "batch"
            whole.write_bytes(PLAN)
            guest = boot.probes[0].guest(
                {**IMAGES, "batch-edu": guests.replace(BATCH, image=whole)}
            )
            self.assertIn(b"tests msi-widths\n", guest.image.read_bytes())
        self.assertEqual(guest.devices, ("00:04.0",))

    def test_what_never_enables_is_seen_for_itself(self):
        names = rig.names_of(self.boots, IMAGES)
        self.assertIn("amd-vi/edu/msi-enable-unprogrammed", names)
        self.assertEqual(len(names), len(set(names)))

    def test_bare_leaves_out_what_only_xen_meets(self):
        names = [name for probe in rig.bare_probes(IMAGES) for name in probe.names]
        self.assertIn("edu/msi-widths", names)
        self.assertNotIn("edu/msi-bad-address", names)

    def test_unknown_names_get_near_ones(self):
        with self.assertRaises(console.Failure) as caught:
            rig.select(self.boots, IMAGES, ["msi-delivr"])
        self.assertIn("msi-deliver", caught.exception.remedy)

    def test_everything_adds_boots(self):
        more = {boot.name for boot in rig.plan(IMAGES, True)} - {boot.name for boot in self.boots}
        self.assertLessEqual({"stock-kernel", "debug", "vt-d-whole", "alone"}, more)


class JudgeTest(unittest.TestCase):
    def test_good(self):
        self.assertEqual(judged(BATCH, result()), [])

    def test_outside_disagrees(self):
        self.assertEqual(judged(BATCH, result(writes=((0x42, 1),))), ["/outside"])

    def test_an_empty_trace_proves_nothing(self):
        self.assertEqual(judged(BATCH, result(writes=())), ["/outside"])

    def test_a_table_that_nobody_wrote_proves_nothing(self):
        self.assertEqual(
            judged(guests.replace(BATCH, tests=("msix-deliver",)), result()), ["/outside"]
        )

    def test_enable_that_must_never_be_seen(self):
        self.assertEqual(judged(NEVER, result()), ["/outside"])

    def test_not_learned(self):
        self.assertEqual(judged(BATCH, result(xen_log=[])), ["/learned"])
        other = [LEARNED[0].replace("04.0", "05.0")]
        self.assertEqual(judged(BATCH, result(xen_log=other)), ["/learned"])

    def test_each_test_of_a_batch_is_a_result(self):
        two = guests.replace(BATCH, tests=("msi-deliver", "msi-widths"))
        found = cases(two, result())
        self.assertEqual(
            set(found),
            {
                f"amd-vi/edu/{part}"
                for part in ("msi-deliver", "msi-widths", "ran", "outside", "learned", "log")
            },
        )
        self.assertEqual(set(found.values()), {report.PASS})

    def test_a_batch_that_dies_fails_what_ran_and_what_did_not(self):
        found = cases(BATCH, result("CRASH", console=SAID[:3]))
        self.assertEqual(
            [found[f"amd-vi/edu/{name}"] for name in BATCH.tests],
            [report.PASS, report.FAIL, report.FAIL],
        )
        self.assertEqual(found["amd-vi/edu/ran"], report.FAIL)

    def test_a_guest_that_says_no_and_one_that_skips(self):
        for word, wanted in (
            ("FAILURE", report.FAIL),
            ("ERROR", report.FAIL),
            ("SKIP", report.SKIP),
        ):
            lines = [
                f"Test: {NEVER.name}",
                "Failure: why",
                f"Result of {NEVER.name}: {word}",
                f"Test result: {word}",
            ]
            found = cases(NEVER, result(word, console=lines))
            self.assertEqual(found[f"amd-vi/edu/{NEVER.name}"], wanted)

    def test_off_means_the_old_bug(self):
        judge = rig._missing("msi-deliver").judge
        silent = result(
            "FAILURE",
            ((0x42, 0x80),),
            console=["Failure: expected 10 of vector 0x51 on vCPU 0, saw nothing"],
        )
        self.assertFalse(any(judge(BOOT, silent).values()))
        self.assertTrue(any(judge(BOOT, result()).values()))
        self.assertTrue(any(judge(BOOT, result("CRASH")).values()))

    def test_without_remapping_xen_says_so_once(self):
        judge = rig._unmanaged("msi-deliver").judge
        said = f"(XEN) msitrap: d1 0000:00:04.0: {rig.UNMANAGED}"
        came = {"console": ["Failure: expected 10 of vector 0x51 on vCPU 0, saw nothing"]}
        for lines, good in (([said], True), ([], False), ([said, said], False)):
            outcome = result("FAILURE", ((0x42, 0x80),), xen_log=lines, **came)
            self.assertEqual(not any(judge(BOOT, outcome).values()), good, lines)

    def test_what_is_left_behind(self):
        self.assertEqual(rig.left(["a"], ["a", "b"]), ["left behind: b"])
        self.assertEqual(rig.left(["a", "b"], ["a"]), [])
        self.assertTrue(rig.left([], []))

    def test_a_line_that_another_breaks_is_read_again(self):
        whole = (
            "(XEN)    IRQ:  32 vec:71 PCI-MSI/-X      status=010 aff:{0}/{0} in-flight=0"
            " d0:224(---)"
        )
        said = iter(("", whole.split("in-flight")[0] + "(XEN) other", "", whole))
        self.assertEqual(
            rig.interrupts(mock.Mock(monitor=lambda _command: next(said))), ["IRQ 32 of d0"]
        )

    def test_lists_of_two_moments_compare(self):
        lines = (
            "(XEN)  MSI-X   26 vec=d8  fixed  edge   assert phys    cpu dest=00000000 mask=1/  /0",
            "(XEN)  MSI-X   26 vec=31  fixed  edge   assert phys    cpu dest=00000001 mask=0/ G/0",
            "(XEN)    IRQ:  26 vec:d8 PCI-MSI/-X      status=010 aff:{0}/{0} in-flight=0"
            " d0:230(---)",
            "(XEN)    IRQ:  26 vec:31 PCI-MSI/-X      status=030 aff:{0-1}/{0} in-flight=1"
            " d0:230(---)",
        )
        self.assertEqual(
            [rig.interrupt(line) for line in lines], ["MSI-X 26"] * 2 + ["IRQ 26 of d0"] * 2
        )
        self.assertIsNone(rig.interrupt("(XEN) MSI information:"))
        unbound = "(XEN)    IRQ:  {} vec:b8 {}   status=002 aff:{{0}}/{{0}} mapped, unbound"
        self.assertEqual(rig.interrupt(unbound.format(31, "PCI-MSI")), "IRQ 31 of nobody")
        # dom0's own for INTx of the device, which it keeps.
        self.assertIsNone(rig.interrupt(unbound.format(20, "IO-APIC-level")))

    def test_alarms_count_once_xen_has_started(self):
        known, new = (
            "(XEN) Xen WARN at arch/x86/xstate.c:769",
            "(XEN) Assertion 'x' failed at y.c:1",
        )
        self.assertEqual(rig.alarms([known, "up", "fine"], ["fine"]), [])
        self.assertEqual(rig.alarms([known, "up", known, new], [known, new]), [new])
