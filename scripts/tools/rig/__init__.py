# SPDX-License-Identifier: GPL-2.0-only
"""The emulated machine: QEMU with an IOMMU, Xen, dom0 and stub domains of Debian 13."""

from .. import debian
from . import images
from .devices import DEVICES, Device, Layout
from .guest import Guest, Result
from .machine import Machine
from .trace import TableWrite, Write

__all__ = ["DEVICES", "Device", "Guest", "Layout", "Machine", "Result", "TableWrite", "Write", "prepare", "stock_xen"]


def stock_xen():
    """Debian's own hypervisor, fetched into the cache; the path of its xen.gz."""
    return images.stock_xen(debian.Archive().ready())


def prepare(kernel="small"):
    """Builds all that a machine needs besides Xen; returns images.Images."""
    archive = debian.Archive().ready()
    images.qemu(archive)
    return images.build(archive, kernel)
