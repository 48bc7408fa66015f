# SPDX-License-Identifier: GPL-2.0-only
"""What the emulated machine starts from: QEMU, dom0's root, the stub domain's files, Debian's own
Xen.
"""

import lzma
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .. import cache, console, paths
from . import kernel as kernels

RIG = paths.TOP / "rig"
QEMU_PACKAGES = ["qemu-system-x86"]
DOM0_PACKAGES = [
    "xen-utils-4.20",
    "xenstore-utils",
    "qemu-system-xen",
    "busybox-static",
    "pciutils",
    "kmod",
    "python3-minimal",
]
HYPERVISOR = "xen-hypervisor-4.20-amd64"
# What no program of dom0 opens.
USELESS = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/i18n",
    "usr/share/iso-codes",
    "usr/share/zoneinfo",
    "usr/share/xml",
    "usr/lib/systemd",
    "usr/lib/udev",
    "usr/share/perl",
)
STUBDOM_PROGRAMS = (
    "usr/libexec/xen-qemu-system-i386",
    "usr/lib/xen-4.20/bin/vchan-socket-proxy",
    "usr/bin/xenstore",
)
# What QEMU puts before a firmware to start a kernel that it was given.
DIRECT_BOOT = Path("usr/share/qemu/linuxboot_dma.bin")
LIBRARY_FOLDERS = ("usr/lib/x86_64-linux-gnu", "usr/lib/xen-4.20/lib")
LOADER = "usr/lib64/ld-linux-x86-64.so.2"
# Free room kept in dom0's root, MiB.
ROOM = 128


@dataclass(frozen=True)
class Images:
    """All that a machine starts from."""

    kernel: kernels.Kernel
    dom0_ramdisk: Path | None  # only the stock kernel needs one
    dom0_root: Path  # ext4
    stubdom: Path  # ext4 with the stub domain's kernel and ramdisk
    linux: Path | None = (
        None  # ext4 with the ramdisk of a stub domain that starts Linux in its guest
    )


def qemu(archive):
    """The folder with Debian's QEMU and all its libraries."""
    return _tree(archive, "qemu", QEMU_PACKAGES)


def stock_xen(archive):
    """The hypervisor of Debian itself, as xen.gz."""
    inputs = [archive.candidate(HYPERVISOR), "1"]
    return (
        cache.build(
            "xen-debian", inputs, lambda to: _make_stock_xen(archive, to), "fetching Debian's Xen"
        )
        / "xen.gz"
    )


def build(archive, kind, linux=False):
    """The images for one kind of kernel, 'small' or 'stock'; `linux` adds that of a Linux guest."""
    kernel = kernels.small(archive) if kind == "small" else kernels.stock(archive)
    stubdom = _stubdom(archive, kernel)
    guest = _linux(archive, stubdom) if linux else None
    return Images(
        kernel, _dom0_ramdisk(archive, kernel), _dom0_root(archive), stubdom / "stubdom.ext4", guest
    )


def _tree(archive, name, packages):
    inputs = [*packages, *archive.candidates(packages)]
    return cache.build(
        f"tree-{name}",
        inputs,
        lambda to: archive.tree(packages, to),
        f"unpacking {name} from Debian's packages",
    )


def _make_stock_xen(archive, folder):
    work = folder / "work"
    work.mkdir()
    subprocess.run(["dpkg-deb", "--extract", archive.download(HYPERVISOR, work), work], check=True)
    shutil.copy(next((work / "boot").glob("xen-*.gz")), folder / "xen.gz")
    shutil.rmtree(work)


def _dom0_root(archive):
    tree = _tree(archive, "dom0", DOM0_PACKAGES)
    inputs = [tree.name, RIG / "dom0", Path(__file__)]
    return (
        cache.build("dom0", inputs, lambda to: _make_dom0_root(tree, to), "building dom0's root")
        / "root.ext4"
    )


def _make_dom0_root(tree, folder):
    root = folder / "root"
    shutil.copytree(tree, root, symlinks=True)
    for useless in USELESS:
        shutil.rmtree(root / useless, ignore_errors=True)
    for applet in _applets(root):
        if not any((root / place / applet).exists() for place in ("usr/bin", "usr/sbin")):
            (root / "usr/bin" / applet).symlink_to("busybox")
    # What the maintainer scripts of Debian's base packages would have made.
    for link, to in (("var/run", "/run"), ("var/lock", "/run/lock")):
        (root / link).rmdir()
        (root / link).symlink_to(to)
    (root / "etc/passwd").write_text("root::0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    # There is no init that the plain command could ask.
    (root / "etc/profile").write_text("PS1='dom0# '\nalias poweroff='poweroff -f'\n")
    shutil.copy(RIG / "dom0/init", root / "init")
    shutil.copy(RIG / "dom0/agent.py", root / "agent.py")
    _ext4(root, folder / "root.ext4")
    shutil.rmtree(root)


def _applets(root):
    listing = subprocess.run(
        [root / "usr/bin/busybox", "--list"], capture_output=True, text=True, check=True
    )
    return listing.stdout.split()


def _dom0_ramdisk(archive, kernel):
    if kernel.modules is None:
        return None
    tree = _tree(archive, "dom0", DOM0_PACKAGES)
    inputs = [
        kernel.vmlinux.resolve(),
        *kernels.STOCK_DOM0,
        RIG / "loader",
        tree.name,
        Path(__file__),
    ]
    return (
        cache.build(
            "dom0-ramdisk",
            inputs,
            lambda to: _make_dom0_ramdisk(tree, kernel, to),
            "building dom0's ramdisk",
        )
        / "ramdisk"
    )


def _make_dom0_ramdisk(tree, kernel, folder):
    root = folder / "root"
    _put_loader(tree, kernel.ramdisk(kernels.STOCK_DOM0), root)
    _cpio(root, folder / "ramdisk")
    shutil.rmtree(root)


def _put_loader(tree, modules, root):
    """Gives a ramdisk busybox, the loader as its first program, and modules in load order."""
    (root / "bin").mkdir(parents=True, exist_ok=True)
    shutil.copy(tree / "usr/bin/busybox", root / "bin/busybox")
    shutil.copy(RIG / "loader", root / "init")
    _put_modules(modules, root)


def _put_modules(modules, root):
    """Gives a ramdisk modules, unpacked and named in load order."""
    (root / "modules").mkdir()
    for number, module in enumerate(modules):
        packed = module.read_bytes()
        name = re.sub(r"\.ko\.xz$", ".ko", module.name)
        (root / "modules" / f"{number:03}-{name}").write_bytes(
            lzma.decompress(packed) if module.suffix == ".xz" else packed
        )


def _stubdom(archive, kernel):
    tree = _tree(archive, "dom0", DOM0_PACKAGES)
    modules = kernels.STOCK_STUBDOM if kernel.modules else []
    inputs = [
        tree.name,
        kernel.vmlinux.resolve(),
        *modules,
        RIG / "stubdom",
        RIG / "loader",
        Path(__file__),
    ]
    return cache.build(
        "stubdom", inputs, lambda to: _make_stubdom(tree, kernel, to), "building the stub domain"
    )


def _make_stubdom(tree, kernel, folder):
    root, files = folder / "root", folder / "files"
    files.mkdir()
    _copy_programs(tree, STUBDOM_PROGRAMS, root)
    for applet in ("read", "write", "list"):
        (root / "usr/bin" / f"xenstore-{applet}").symlink_to("xenstore")
    (root / "usr/bin/vchan-socket-proxy").symlink_to("../lib/xen-4.20/bin/vchan-socket-proxy")
    _compile(RIG / "stubdom/hook.rs", root / "hook")
    _put_init(tree, kernel, root)
    _cpio(root, folder / "ramdisk")
    shutil.copy(folder / "ramdisk", files / "ramdisk")
    shutil.copy(kernel.vmlinux, files / "vmlinux")
    # dom0 sees these files, too, and can be taken over.
    shutil.copy(root / "hook", files / "hook")
    _ext4(files, folder / "stubdom.ext4")
    shutil.rmtree(root)
    shutil.rmtree(files)


def _put_init(tree, kernel, root):
    modules = kernel.ramdisk(kernels.STOCK_STUBDOM)
    _put_loader(tree, modules, root)
    # Without modules to load, the stub domain's own init comes first.
    shutil.copy(RIG / "stubdom/init", root / ("stubdom-init" if modules else "init"))


def _linux(archive, stubdom):
    """A stub domain's ramdisk with Debian's kernel and the Linux guest's own ramdisk in it, for
    QEMU to start.
    """
    kernel = kernels.stock(archive)
    tree = _tree(archive, "dom0", DOM0_PACKAGES)
    inputs = [stubdom.name, kernel.bzimage, *kernels.STOCK_GUEST, RIG / "linux", Path(__file__)]
    return (
        cache.build(
            "linux",
            inputs,
            lambda to: _make_linux(tree, kernel, stubdom, to),
            "building the Linux guest",
        )
        / "linux.ext4"
    )


def _make_linux(tree, kernel, stubdom, folder):
    guest, inside, files = folder / "guest", folder / "inside/linux", folder / "files"
    for made in (guest / "sbin", inside, files, inside.parent / DIRECT_BOOT.parent):
        made.mkdir(parents=True)
    shutil.copy(tree / DIRECT_BOOT, inside.parent / DIRECT_BOOT)
    _put_modules(kernel.ramdisk(kernels.STOCK_GUEST), guest)
    _compile(RIG / "linux/main.rs", guest / "init")
    (guest / "sbin/reboot").symlink_to("../init")
    shutil.copy(kernel.bzimage, inside / "bzImage")
    _cpio(guest, inside / "ramdisk")
    _cpio(inside.parent, folder / "more")
    # A kernel takes one archive after another.
    (files / "stubdom-ramdisk").write_bytes(
        (stubdom / "ramdisk").read_bytes() + (folder / "more").read_bytes()
    )
    # libxl wants to see in dom0 what QEMU opens in the stub domain.
    for name in ("bzImage", "ramdisk"):
        (files / name).touch()
    _ext4(files, folder / "linux.ext4")
    for made in (guest, inside.parent, files):
        shutil.rmtree(made)
    (folder / "more").unlink()


def _compile(source, target):
    """A program of ours for a ramdisk, one static file."""
    console.run(
        [
            "rustc",
            "--edition=2021",
            "-Copt-level=s",
            "-Cpanic=abort",
            "-Cstrip=symbols",
            "-Ctarget-feature=+crt-static",
            "-Dwarnings",
            "-o",
            target,
            source,
        ],
        "images",
    )


def _copy_programs(tree, programs, root):
    """Copies programs with the shared libraries they need, each to the place it has in the tree."""
    waiting, done = list(programs), set()
    while waiting:
        file = waiting.pop()
        if file in done:
            continue
        done.add(file)
        target = root / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tree / file, target)
        waiting.extend(_library(tree, name) for name in _needed(tree / file))
    for link, to in (("lib64", "usr/lib64"), ("lib", "usr/lib")):
        (root / link).symlink_to(to)


def _needed(program):
    text = subprocess.run(
        ["readelf", "-d", program], capture_output=True, text=True, check=True
    ).stdout
    return re.findall(r"\(NEEDED\).*\[(.+)\]", text)


def _library(tree, name):
    if name == Path(LOADER).name:
        return LOADER
    for folder in LIBRARY_FOLDERS:
        if (tree / folder / name).exists():
            return f"{folder}/{name}"
    raise console.Failure(f"Debian's packages lack the library {name}", "Look at DOM0_PACKAGES.")


def _cpio(root, target):
    """Packs a folder as a ramdisk; unpacked bytes start faster under emulation than compressed
    ones.
    """
    names = sorted(str(file.relative_to(root)) for file in root.rglob("*"))
    with open(target, "wb") as sink:
        subprocess.run(
            ["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"],
            cwd=root,
            stdout=sink,
            check=True,
            input="\n".join(names).encode(),
        )


def _ext4(root, target):
    size = sum(file.lstat().st_size + 4096 for file in root.rglob("*")) // (1 << 20) + ROOM
    env = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/sbin:/usr/sbin"}
    console.run(
        [
            "mke2fs",
            "-q",
            "-t",
            "ext4",
            "-O",
            "^has_journal",
            "-E",
            "root_owner=0:0",
            "-d",
            root,
            target,
            f"{size}M",
        ],
        "ext4",
        env=env,
    )
