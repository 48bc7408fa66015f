# SPDX-License-Identifier: GPL-2.0-only
"""A Xen with XSM and FLASK: what its policy is to refuse, and what it is to let pass."""

import re

from ..rig import DEVICES

# The label for devices that may be passed through, of the policy that comes with Xen.
LABEL = "system_u:object_r:nic_dev_t"
# A device without one.
UNLABELLED = DEVICES["edu-2"].address
ENFORCING = "Flask:  Starting in enforcing mode."
_DENIAL = re.compile(r"avc:\s+denied")
# The policy's label for what nobody labelled, and the domains that get a device.
_REFUSED = re.compile(
    r"use_iommu.*scontext=system_u:system_r:(dm_dom_t|domU_t)\b"
    r".*tcontext=system_u:object_r:(iomem|ioport|irq|device)_t\b"
)


def denials(lines):
    """What the policy did not permit, as findings; and that it was not asked at all."""
    found = [line.strip() for line in lines if _DENIAL.search(line)]
    if not any(ENFORCING in line for line in lines):
        found.append(f"Xen did not say '{ENFORCING}'")
    return found


def let_pass(result):
    """What speaks against that the policy refused a device which nobody labelled."""
    refused = [line for line in result.xen_log if _DENIAL.search(line)]
    if result.status != "CRASH" or "could not create" not in result.reason:
        return [f"the guest was created ({result.status}: {result.reason})"]
    if not any(_REFUSED.search(line) for line in refused):
        return ["the policy did not refuse the device", *refused]
    return []
