# SPDX-License-Identifier: GPL-2.0-only
"""Several parties at once: what their answers have to say, and whose a write is."""

import unittest

from tools.rig import SMP, Layout, Processors, Result, Write
from tools.rig.devices import Msi
from tools.suites import smp

LAYOUTS = {"00:04.0": Layout(Msi(0x40, True, False, 1), None)}
GOOD = ((0x04, 0x503), (0x44, 0xFEE00000), (0x48, 0), (0x4C, 0x4000), (0x42, 1), (0x42, 0))
BOOT = type("Boot", (), {"form": "amd-vi"})()


def result(*more, status="SUCCESS", dom0=frozenset(SMP.dom0)):
    """A guest's result; `more` are further writes (cpu, register, value)."""
    writes = [(2, register, value) for register, value in GOOD] + list(more)
    seen = [
        Write(float(n), "00:04.0", register, value, cpu, "run", dom0)
        for n, (cpu, register, value) in enumerate(writes)
    ]
    return Result(status, "" if status == "SUCCESS" else "why", config_writes=seen, layouts=LAYOUTS)


class Answers(unittest.TestCase):
    def test_a_write_of_dom0_that_is_undone_is_a_fault(self):
        self.assertEqual(smp.faults_of_command(["command bit=0x100 tried=50 lost=0"]), [])
        self.assertIn(
            "2 of dom0's writes",
            smp.faults_of_command(["command bit=0x100 tried=50 lost=2 first: wrote=0x4 saw=0x0"])[
                0
            ],
        )

    def test_a_call_that_works_is_a_fault(self):
        said = "calls tried=40 mapped=0 bound={} unbound=0 unmapped={}"
        self.assertEqual(smp.faults_of_calls([said.format(0, 0)]), [])
        self.assertIn(
            "bound 3 times, unmapped 1 times", smp.faults_of_calls([said.format(3, 1)])[0]
        )

    def test_what_was_not_tried_shows_nothing(self):
        for judge, what in (
            (smp.faults_of_command, "command"),
            (smp.faults_of_config, "config"),
            (smp.faults_of_ports, "ports"),
            (smp.faults_of_calls, "calls"),
            (smp.faults_of_mapping, "mapping"),
        ):
            self.assertTrue(judge([]))
            self.assertTrue(judge(["error=no rights"]))
            self.assertTrue(judge([f"{what} tried=9 lost=0"]))
            self.assertEqual(judge([f"{what} tried=10 lost=0"]), [])

    def test_every_races_guest_and_device_are_named_once(self):
        names = [race.name for race in (*smp.RACES, *smp.PORT_RACES)]
        self.assertEqual(len(names), len(set(names)))


class Judge(unittest.TestCase):
    def judged(self, outcome, said=(), race=smp.RACES[0]):
        run = smp.Run(race)
        run.seen.said = list(said)
        return {part for part, faults in run.judge(BOOT, outcome).items() if faults}

    def test_a_race_without_faults_passes(self):
        self.assertEqual(self.judged(result()), set())

    def test_a_guest_that_fails_or_stops_is_a_failure(self):
        self.assertEqual(self.judged(result(status="CRASH")), {""})

    def test_what_either_vcpu_of_dom0_writes_is_dom0s(self):
        for cpu in SMP.dom0:
            self.assertEqual(self.judged(result((cpu, 0x44, 0))), {"/outside"})
        self.assertEqual(self.judged(result((3, 0x48, 0))), set())

    def test_what_is_beside_a_guest_has_to_come_to_its_end(self):
        race = smp.Race("name", "test", "edu", (smp.CONFIG,))
        self.assertEqual(self.judged(result(), race=race), {"/beside"})
        self.assertEqual(self.judged(result(), [(smp.CONFIG, ["config tried=99"])], race), set())


class Whose(unittest.TestCase):
    def test_dom0_has_its_cpus_for_itself(self):
        for processors in (Processors(), SMP):
            self.assertFalse(set(processors.dom0) & {*processors.guests, *processors.stub_domains})
            # Xen gives dom0's vCPUs the first CPUs.
            self.assertEqual(processors.dom0, tuple(range(len(processors.dom0))))

    def test_all_parties_run_at_once(self):
        cpus = [*SMP.dom0, *SMP.guests, *SMP.stub_domains]
        self.assertEqual(len(cpus), len(set(cpus)))
        self.assertGreaterEqual(len(SMP.guests), 2)
        self.assertEqual(SMP.count, len(cpus))

    def test_each_vcpu_of_a_guest_is_pinned(self):
        self.assertEqual(Processors().xl_option, 'cpus="1"')
        self.assertEqual(SMP.xl_option, "cpus=['2', '3']")
