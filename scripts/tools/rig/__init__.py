# SPDX-License-Identifier: GPL-2.0-only
"""The emulated machine: QEMU with an IOMMU, Xen, dom0 and stub domains of Debian 13."""

from .. import debian
from . import forge, images
from .devices import DEVICES, Device, Layout
from .emulator import ONE_EACH, SMP, Processors
from .guest import Break, Guest, Result
from .life import Unexpected
from .machine import Machine
from .trace import TableWrite, Write, made_by_xen

__all__ = [
    "Break",
    "DEVICES",
    "Device",
    "Guest",
    "Layout",
    "Machine",
    "ONE_EACH",
    "Processors",
    "Result",
    "SMP",
    "TableWrite",
    "Unexpected",
    "Write",
    "forge",
    "made_by_xen",
    "prepare",
    "stock_xen",
]


def stock_xen():
    """Debian's own hypervisor, fetched into the cache; the path of its xen.gz."""
    return images.stock_xen(debian.Archive().ready())


def prepare(kernel="small", linux=False):
    """Builds all that a machine needs besides Xen, `linux` with a Linux guest; returns
    images.Images.
    """
    archive = debian.Archive().ready()
    images.qemu(archive)
    return images.build(archive, kernel, linux)
