# SPDX-License-Identifier: GPL-2.0-only
"""Hostile parties: how what they tried is judged."""

import tempfile
import unittest
from pathlib import Path
from unittest import mock

from tools import paths
from tools.rig import Layout, Result, Write
from tools.rig.devices import Msi
from tools.suites import parties

SOURCE = Path(parties.__file__).parents[3] / "rig/stubdom/calls.rs"
MSI = Layout(Msi(0x40, True, False, 1), None)
REFUSED, ONE_LINE = "1", "1:0-21,23-255"
CONFIG = [f"{register:#x}/1 tried=2 failed=0 changed=0x0" for register in (*range(0x40, 0x4E), 5)]
GOOD = ((0x04, 0x503), (0x44, 0xFEE00000), (0x48, 0), (0x4C, 0x4000), (0x42, 1))


def answers(**changed):
    """Every call refused on every target, but for those named CALL__TARGET."""
    found = {
        (call, target): REFUSED
        for call, (targets, _allowed) in parties.CALLS.items()
        for target in targets
    }
    return {**found, **{tuple(name.split("__")): answer for name, answer in changed.items()}}


class CallsTest(unittest.TestCase):
    def test_the_list_is_that_of_the_attempts(self):
        """Each call that the program makes has an expectation, and the reverse."""
        made = {
            line.split('"')[1]
            for line in SOURCE.read_text().splitlines()
            if line.strip().startswith(("once(", "both(", "each("))
        }
        self.assertEqual(made, set(parties.CALLS))

    def test_what_worked(self):
        self.assertEqual(parties.worked("0"), {None})
        self.assertEqual(parties.worked("0:7,16-18 22:0-6"), {7, 16, 17, 18})
        self.assertEqual(parties.worked("10"), set())
        self.assertEqual(parties.worked("10:3 22:0-2"), set())

    def test_all_refused(self):
        self.assertEqual(parties.faults_of_calls(answers()), [])

    def test_what_is_its_own_may_work(self):
        own = answers(
            **{
                "map_pirq GSI__own": "0:22 22:0-21,23-255",
                "inject_msi__own": "0",
                "unmap_pirq__own": f"0:22 {ONE_LINE}",
            }
        )
        self.assertEqual(parties.faults_of_calls(own), [])

    def test_a_message_interrupt_must_not(self):
        for name, answer in (
            ("map_pirq MSI_SEG__own", "0"),
            ("unmap_pirq__own", "0:22,55 1:0-21"),
            ("bind_pt_irq MSI__own", "0:55 1:0-54"),
            ("map_pirq GSI__other", "0:16 1:0-15"),
            ("inject_msi__other", "0"),
            ("deassign_device__own+other", "0"),
        ):
            self.assertTrue(parties.faults_of_calls(answers(**{name: answer})), name)

    def test_no_answer_is_no_refusal(self):
        missing = answers()
        del missing["unmap_pirq", "other"]
        self.assertTrue(parties.faults_of_calls(missing))
        self.assertTrue(parties.faults_of_calls(answers(unmap_pirq__other="")))
        self.assertTrue(parties.faults_of_calls({**answers(), ("new", "own"): "1"}))

    def test_lines_are_read_and_others_left_out(self):
        lines = ["unmap_pirq | own | 1:0-255", "a driver's line", "inject_msi | own | 0"]
        self.assertEqual(
            parties.parse(lines), {("unmap_pirq", "own"): "1:0-255", ("inject_msi", "own"): "0"}
        )

    def test_off_must_grant(self):
        granted = {
            (call, "own"): "0:55 1:0-54" if call != "map_pirq MSI_SEG" else "0"
            for call in parties.GRANTED
        }
        self.assertEqual(parties.faults_of_grants(granted), [])
        self.assertEqual(
            len(parties.faults_of_grants({**granted, ("unmap_pirq", "own"): "0:22 1:0-21"})), 1
        )
        self.assertEqual(len(parties.faults_of_grants({})), len(parties.GRANTED))

    def test_dom0(self):
        good = [
            "prepare_msix | 1",
            "release_msix | 1",
            "restore_msi | 0",
            "restore_msi_ext | 0",
            "pci_device_reset | 0",
        ]
        self.assertEqual(parties.faults_of_dom0_calls(good), [])
        self.assertTrue(parties.faults_of_dom0_calls(["prepare_msix | 0", *good[1:]]))
        self.assertTrue(parties.faults_of_dom0_calls(good[:-1]))


class RegistersTest(unittest.TestCase):
    def test_every_register_tried_and_none_changed(self):
        self.assertEqual(parties.faults_of_config(CONFIG, MSI), [])
        self.assertTrue(parties.faults_of_config(CONFIG[1:], MSI))
        self.assertEqual(
            parties.faults_of_config(["error=read 0x42: no"], MSI), ["error=read 0x42: no"]
        )
        self.assertTrue(parties.faults_of_config(CONFIG[:-1], MSI))
        self.assertTrue(
            parties.faults_of_config([*CONFIG, "0x42/2 tried=2 failed=0 changed=0x1"], MSI)
        )

    def test_what_is_free_may_change(self):
        self.assertEqual(
            parties.faults_of_config([*CONFIG, "0xc/1 tried=1 failed=0 changed=0x50"], MSI), []
        )

    def test_command_of_dom0_is_the_devices(self):
        self.assertEqual(parties.faults_of_command(CONFIG), [])
        self.assertTrue(parties.faults_of_command(["0x4/2 tried=2 failed=0 changed=0x400"]))

    def test_table(self):
        self.assertEqual(
            parties.faults_of_table(["table tried=60 failed=0 changed=0 store=never"]), []
        )
        for line in (
            "tried=0 failed=0 changed=0 store=never",
            "tried=60 failed=0 changed=1 store=never",
            "tried=60 failed=0 changed=0 store=done",
            "tried=60 failed=60 changed=0 store=never",
        ):
            self.assertTrue(parties.faults_of_table([f"table {line}"]), line)
        self.assertTrue(parties.faults_of_table([]))

    def test_pcifront(self):
        self.assertEqual(parties.faults_of_pcifront(["bound=false interrupts= control=0x0080"]), [])
        for line in (
            "bound=true interrupts=54 control=0x0080",
            "bound=false interrupts= control=0x0081",
            "error=new_id: no",
        ):
            self.assertTrue(parties.faults_of_pcifront([line]), line)


class OutsideTest(unittest.TestCase):
    def seen(self, *windows):
        return parties.Seen(by_xen=list(windows))

    def result(self, *more):
        writes = [
            Write(float(n), "00:04.0", register, value, 1, "run")
            for n, (register, value) in enumerate(GOOD)
        ]
        more = [
            Write(10.0 + n, "00:04.0", register, value, 0, "run")
            for n, (register, value) in enumerate(more)
        ]
        return Result("SUCCESS", "", config_writes=[*writes, *more], layouts={"00:04.0": MSI})

    def test_what_xen_writes_when_dom0_calls_is_xens(self):
        again = ((0x42, 0), *GOOD[1:])
        self.assertTrue(parties.outside(self.seen(), self.result(*again), "amd-vi"))
        self.assertEqual(parties.outside(self.seen((9.0, 20.0)), self.result(*again), "amd-vi"), [])

    def test_but_must_still_be_in_order_and_xens_own(self):
        forged = ((0x42, 0), (0x44, 0xFEE00000), (0x48, 0), (0x4C, 0x41), (0x42, 1))
        self.assertTrue(parties.outside(self.seen((9.0, 20.0)), self.result(*forged), "amd-vi"))
        self.assertTrue(
            parties.outside(self.seen((9.0, 20.0)), self.result((0x04, 0x103)), "amd-vi")
        )

    def test_a_silent_device_proves_nothing(self):
        self.assertTrue(
            parties.outside(self.seen(), Result("SUCCESS", "", layouts={"00:04.0": MSI}), "amd-vi")
        )
        self.assertTrue(parties.outside(self.seen(), None, "amd-vi"))

    def test_too_many_lines(self):
        lines = [f"(XEN) msitrap: d1 0000:00:04.0: message refused: {n:#x}" for n in range(20)]
        other = "(XEN) msitrap: d1 0000:00:05.0: managed"
        self.assertEqual(parties.verbose([*lines, other]), [])
        self.assertEqual(len(parties.verbose([*lines, lines[0], other])), 1)

    def test_a_line_logged_twice(self):
        line = "(XEN) msitrap: d1 0000:00:04.0: refused dom0's write to register: 0x42"
        self.assertEqual(parties.repeated([line, "(XEN) other", "(XEN) other"]), [])
        self.assertEqual(len(parties.repeated([line, line])), 1)


class JudgeTest(unittest.TestCase):
    def test_an_attack_that_did_not_happen_fails_in_every_part(self):
        outcome = Result("SUCCESS", "", layouts={"00:04.0": MSI})
        found = parties.judge(parties.Attack(None), outcome, "amd-vi")
        passed = {part for part, faults in found.items() if not faults}
        # These look for what must not be.
        self.assertEqual(passed, {"/log", "/never-enabled"})

    def test_enabled_before_the_guest_ran(self):
        enable = Write(1.0, "00:04.0", 0x42, 0x81, 0, "assign")
        outcome = Result("SUCCESS", "", config_writes=[enable], layouts={"00:04.0": MSI})
        self.assertTrue(parties.judge(parties.Attack(None), outcome, "amd-vi")["/never-enabled"])

    def test_beats(self):
        said = ["Beat 1: 20 interrupts", "other", "Beat 2: 41 interrupts"]
        self.assertEqual(parties._beats(mock.Mock(printed=lambda: said)), 2)
        self.assertEqual(parties._beats(mock.Mock(printed=list)), 0)


class TableTest(unittest.TestCase):
    def test_written_with_every_call(self):
        attack, stock = parties.Attack(None), parties.Attack(None, managed=False)
        attack.seen.calls = {"at work": answers(**{"unmap_pirq__own": "0:22 1:0-21"})}
        stock.seen.calls = {"unprogrammed": {("map_pirq MSI", "own"): "0"}}
        with tempfile.TemporaryDirectory() as folder:
            places = {"OUT": Path(folder), "REPORT": Path(folder) / "report"}
            with mock.patch.multiple(paths, **places):
                parties.write({"amd-vi": attack, "off": stock})
            table = (Path(folder) / "parties.md").read_text()
            self.assertTrue((Path(folder) / "report/parties.json").exists())
        for call in parties.CALLS:
            self.assertIn(f"| {call} |", table)
        self.assertIn("works for 22, EPERM", table)
        self.assertRegex(table, r"\| map_pirq MSI \|.*\| works \|")
