# SPDX-License-Identifier: GPL-2.0-only
"""The emulated machine: QEMU with an IOMMU, Xen, dom0 and stub domains of Debian 13."""

from .. import debian
from . import images
from .devices import DEVICES, Device, Layout
from .guest import Break, Guest, Result
from .life import Unexpected
from .machine import Machine
from .trace import TableWrite, Write

__all__ = [
    "Break", "DEVICES", "Device", "Guest", "Layout", "Machine", "Result", "TableWrite", "Unexpected", "Write", "prepare",
    "stock_xen",
]


def stock_xen():
    """Debian's own hypervisor, fetched into the cache; the path of its xen.gz."""
    return images.stock_xen(debian.Archive().ready())


def prepare(kernel="small", linux=False):
    """Builds all that a machine needs besides Xen, `linux` with a Linux guest; returns images.Images."""
    archive = debian.Archive().ready()
    images.qemu(archive)
    return images.build(archive, kernel, linux)
