# SPDX-License-Identifier: GPL-2.0-only
"""A Xen with FLASK: what counts as refused by its policy, and how a module gets into the policy."""

import tempfile
import unittest
from pathlib import Path
from unittest import mock

from tools import console, paths, xen
from tools.rig import Result
from tools.suites import flask

STARTED = f"(XEN) {flask.ENFORCING}"
DENIED = (
    "(XEN) avc:  denied  {{ {} }} for {} scontext=system_u:system_r:{}"
    " tcontext=system_u:object_r:{} tclass=resource"
)
REFUSED = DENIED.format("use_iommu", "domid=0", "dm_dom_t", "iomem_t")
OTHERS = DENIED.format("add_irq", "domid=1 device=0x20", "domU_t", "nic_dev_t")


class DenialTest(unittest.TestCase):
    def test_no_denial(self):
        self.assertEqual(flask.denials([STARTED, "(XEN) other"]), [])

    def test_each_denial_is_a_finding(self):
        self.assertEqual(flask.denials([STARTED, OTHERS]), [OTHERS])

    def test_a_policy_that_is_not_enforced_denies_nothing(self):
        self.assertEqual(len(flask.denials(["(XEN) Flask:  Starting in permissive mode."])), 1)


class UnlabelledTest(unittest.TestCase):
    def _found(self, status, reason, *lines):
        return flask.let_pass(Result(status, reason, xen_log=list(lines)))

    def test_refused(self):
        self.assertEqual(self._found("CRASH", "xl could not create it: why", REFUSED), [])

    def test_a_guest_that_was_created_had_its_device(self):
        self.assertTrue(self._found("SUCCESS", "", REFUSED))

    def test_a_guest_that_failed_of_something_else_proves_nothing(self):
        self.assertTrue(self._found("CRASH", "xl could not create it: why"))
        self.assertTrue(self._found("CRASH", "xl could not create it: why", OTHERS))
        self.assertTrue(self._found("CRASH", "the machine went down", REFUSED))


class PolicyTest(unittest.TestCase):
    def test_the_module_is_one_more_of_the_policy(self):
        with tempfile.TemporaryDirectory() as name:
            modules = Path(name) / "tools/flask/policy/modules"
            modules.mkdir(parents=True)
            (modules / "modules.conf").write_text("nic_dev = on")
            xen.add_policy(xen.XSM.policy, Path(name))
            self.assertTrue((modules / "stubdom_passthrough.te").is_file())
            self.assertEqual(
                (modules / "modules.conf").read_text().split("\n"),
                ["nic_dev = on", "stubdom_passthrough = on", ""],
            )

    def test_msitrap_needs_no_rule(self):
        """The guest, in whose context msitrap maps interrupts, may do nothing with the device."""
        rules = [
            line
            for line in xen.XSM.policy.read_text().splitlines()
            if line and not line.startswith("#")
        ]
        self.assertTrue(rules)
        self.assertEqual([r for r in rules if r.startswith("allow domU_t")], [])

    def test_a_missing_compiler_is_named(self):
        with mock.patch("shutil.which", return_value=None):
            with self.assertRaisesRegex(console.Failure, "checkpolicy is missing"):
                xen.made(xen.XSM, paths.TOP)
