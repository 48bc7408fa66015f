# SPDX-License-Identifier: GPL-2.0-only
"""The Linux kernel of dom0, the stub domain and Linux guests: a small one of our own, or Debian's
stock one.
"""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .. import cache, console, paths

FRAGMENT = paths.TOP / "rig" / "kernel.config"
SOURCE = "linux-source-6.12"
# Part of the key of a build: counts up when the way these functions build changes. Keyed by the
# whole file, minutes of building would go for changes that touch no kernel.
RECIPE = 1
# What the kernel would otherwise take from this machine and this moment.
BUILDER = {
    "KBUILD_BUILD_TIMESTAMP": "@0",
    "KBUILD_BUILD_USER": "msitrap",
    "KBUILD_BUILD_HOST": "msitrap",
}
# Large parts of the source that no x86 build without graphics reads.
LEFT_OUT = (
    "*/drivers/gpu/drm/amd/include",
    "*/arch/*/boot/dts",
    "*/Documentation/*/*",
    "*/tools/testing",
)
# What the stock kernel must load, in this order, before it can serve; igb makes virtual functions,
# and leaves to xen-pciback what is to be passed through.
STOCK_DOM0 = (
    "virtio_pci virtio_blk virtio_console crc32c_generic ext4"
    " xen-evtchn xen-gntdev xen-gntalloc xen-privcmd xenfs xen-pciback igb"
).split()
# The drivers of the Linux guest, for the devices passed to it.
STOCK_GUEST = "nvme ahci sd_mod xhci_pci usb_storage e1000e igb igbvf".split()
# It has no pci_endpoint_test: the hook pcifront-msi needs the small kernel.
STOCK_STUBDOM = "xen-evtchn xen-gntalloc xen-gntdev xen-privcmd xenfs xen-pcifront".split()


@dataclass(frozen=True)
class Kernel:
    """A kernel ready to use: images and, for the stock kernel, its modules as a folder."""

    vmlinux: Path  # what Xen starts as a PV domain
    bzimage: Path  # what an HVM guest is given
    modules: Path | None  # the folder lib/modules/VERSION

    def ramdisk(self, names):
        """Module files in load order with all they depend on; empty for a monolithic kernel."""
        return _closure(self.modules, names) if self.modules else []


def small(archive):
    """The monolithic kernel of rig/kernel.config, built once from Debian's kernel source."""
    inputs = [FRAGMENT, archive.candidate(SOURCE), RECIPE, *BUILDER.items()]
    folder = cache.build(
        "kernel-small", inputs, lambda to: _make_small(archive, to), "building the small kernel"
    )
    return Kernel(folder / "vmlinux", folder / "bzImage", None)


def stock(archive):
    """Debian's own kernel image with all its modules."""
    package = archive.depends("linux-image-amd64", r"linux-image-\d\S*-amd64")
    inputs = [package, archive.candidate(package), RECIPE]
    folder = cache.build(
        "kernel-stock",
        inputs,
        lambda to: _make_stock(archive, package, to),
        "fetching the stock kernel",
    )
    return Kernel(
        folder / "vmlinux", folder / "bzImage", next((folder / "usr/lib/modules").iterdir())
    )


def wanted(fragment):
    """The options a configuration fragment asks for, as lines of a kernel configuration."""
    return [line for line in fragment.read_text().splitlines() if line.startswith("CONFIG_")]


def missing(config, options):
    """Those of the wanted options that a final configuration lacks."""
    present = set(config.read_text().splitlines())
    return [option for option in options if option not in present]


def _make_small(archive, folder):
    work = folder / "work"
    work.mkdir()
    package = archive.download(SOURCE, work)
    subprocess.run(["dpkg-deb", "--extract", package, work / "deb"], check=True)
    tarball = next((work / "deb/usr/src").glob("*.tar.xz"))
    tree = work / "source"
    tree.mkdir()
    skip = [f"--exclude={pattern}" for pattern in LEFT_OUT]
    console.run(["tar", "-xf", tarball, "-C", tree, "--strip-components=1", *skip], "kernel")
    make = ["nice", "make", "-s", "-C", tree, f"-j{os.cpu_count()}"]
    console.run([*make, f"KCONFIG_ALLCONFIG={FRAGMENT}", "allnoconfig"], "kernel")
    if lost := missing(tree / ".config", wanted(FRAGMENT)):
        raise console.Failure(
            f"the kernel's configuration lost {', '.join(lost)}",
            f"Give {FRAGMENT.name} what these depend on.",
        )
    console.run([*make, "bzImage"], "kernel", env={**os.environ, **BUILDER})
    console.run(["strip", "-s", "-o", folder / "vmlinux", tree / "vmlinux"], "kernel")
    shutil.copy(tree / "arch/x86/boot/bzImage", folder / "bzImage")
    shutil.copy(tree / ".config", folder / "config")
    shutil.rmtree(work)


def _make_stock(archive, package, folder):
    deb = archive.download(package, folder)
    subprocess.run(["dpkg-deb", "--extract", deb, folder], check=True)
    deb.unlink()
    image = next((folder / "boot").glob("vmlinuz-*"))
    image.rename(folder / "bzImage")
    # Xen and libxl both take a bzImage for a PV domain.
    (folder / "vmlinux").symlink_to("bzImage")
    console.run(
        ["depmod", "-b", folder / "usr", next((folder / "usr/lib/modules").iterdir()).name],
        "kernel",
    )


def _closure(modules, names):
    """Module files, each after those it depends on, from modules.dep; built-in ones are left
    out.
    """
    needs = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        file, _, rest = line.partition(":")
        needs[file] = rest.split()
    by_name = {_plain(file): file for file in needs}
    built_in = {_plain(line) for line in (modules / "modules.builtin").read_text().splitlines()}
    order = []
    for name in map(_plain, names):
        if name not in by_name and name not in built_in:
            raise console.Failure(
                f"the stock kernel has no module {name}", "Take the small kernel."
            )
        file = by_name.get(name)
        # modules.dep lists the nearest dependency first, so the last one is loaded first.
        for each in [*reversed(needs[file]), file] if file else []:
            if each not in order:
                order.append(each)
    return [modules / file for file in order]


def _plain(file):
    return re.sub(r"\.ko(\.xz|\.zst)?$", "", Path(file).name).replace("-", "_")
