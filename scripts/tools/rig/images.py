# SPDX-License-Identifier: GPL-2.0-only
"""What the emulated machine starts from: QEMU, dom0's root, the stub domain's files, Debian's own Xen."""

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
    "xen-utils-4.20", "xenstore-utils", "qemu-system-xen", "busybox-static", "pciutils", "kmod", "python3-minimal",
]
HYPERVISOR = "xen-hypervisor-4.20-amd64"
# What no program of dom0 opens.
USELESS = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/i18n", "usr/share/iso-codes",
           "usr/share/zoneinfo", "usr/share/xml", "usr/lib/systemd", "usr/lib/udev", "usr/share/perl")
STUBDOM_PROGRAMS = (
    "usr/libexec/xen-qemu-system-i386", "usr/lib/xen-4.20/bin/vchan-socket-proxy", "usr/bin/xenstore",
)
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


def qemu(archive):
    """The folder with Debian's QEMU and all its libraries."""
    return _tree(archive, "qemu", QEMU_PACKAGES)


def stock_xen(archive):
    """The hypervisor of Debian itself, as xen.gz."""
    inputs = [archive.candidate(HYPERVISOR), "1"]
    return cache.build("xen-debian", inputs, lambda to: _make_stock_xen(archive, to), "fetching Debian's Xen") / "xen.gz"


def build(archive, kind):
    """The images for one kind of kernel, 'small' or 'stock'."""
    kernel = kernels.small(archive) if kind == "small" else kernels.stock(archive)
    return Images(kernel, _dom0_ramdisk(archive, kernel), _dom0_root(archive), _stubdom(archive, kernel))


def _tree(archive, name, packages):
    inputs = [*packages, *archive.candidates(packages)]
    return cache.build(f"tree-{name}", inputs, lambda to: archive.tree(packages, to), f"unpacking {name} from Debian's packages")


def _make_stock_xen(archive, folder):
    work = folder / "work"
    work.mkdir()
    subprocess.run(["dpkg-deb", "--extract", archive.download(HYPERVISOR, work), work], check=True)
    shutil.copy(next((work / "boot").glob("xen-*.gz")), folder / "xen.gz")
    shutil.rmtree(work)


def _dom0_root(archive):
    tree = _tree(archive, "dom0", DOM0_PACKAGES)
    inputs = [tree.name, RIG / "dom0", Path(__file__)]
    return cache.build("dom0", inputs, lambda to: _make_dom0_root(tree, to), "building dom0's root") / "root.ext4"


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
    listing = subprocess.run([root / "usr/bin/busybox", "--list"], capture_output=True, text=True, check=True)
    return listing.stdout.split()


def _dom0_ramdisk(archive, kernel):
    if kernel.modules is None:
        return None
    tree = _tree(archive, "dom0", DOM0_PACKAGES)
    inputs = [kernel.vmlinux.resolve(), *kernels.STOCK_DOM0, RIG / "loader", tree.name, Path(__file__)]
    return cache.build(
        "dom0-ramdisk", inputs, lambda to: _make_dom0_ramdisk(tree, kernel, to), "building dom0's ramdisk"
    ) / "ramdisk"


def _make_dom0_ramdisk(tree, kernel, folder):
    root = folder / "root"
    _put_loader(tree, kernel.ramdisk(kernels.STOCK_DOM0), root)
    _cpio(root, folder / "ramdisk")
    shutil.rmtree(root)


def _put_loader(tree, modules, root):
    """Gives a ramdisk busybox, the loader as its first program, and modules in load order."""
    (root / "bin").mkdir(parents=True, exist_ok=True)
    (root / "modules").mkdir()
    shutil.copy(tree / "usr/bin/busybox", root / "bin/busybox")
    shutil.copy(RIG / "loader", root / "init")
    for number, module in enumerate(modules):
        packed = module.read_bytes()
        name = re.sub(r"\.ko\.xz$", ".ko", module.name)
        (root / "modules" / f"{number:03}-{name}").write_bytes(
            lzma.decompress(packed) if module.suffix == ".xz" else packed
        )


def _stubdom(archive, kernel):
    tree = _tree(archive, "dom0", DOM0_PACKAGES)
    modules = kernels.STOCK_STUBDOM if kernel.modules else []
    inputs = [tree.name, kernel.vmlinux.resolve(), *modules, RIG / "stubdom", RIG / "loader", Path(__file__)]
    return cache.build(
        "stubdom", inputs, lambda to: _make_stubdom(tree, kernel, to), "building the stub domain"
    ) / "stubdom.ext4"


def _make_stubdom(tree, kernel, folder):
    root, files = folder / "root", folder / "files"
    files.mkdir()
    _copy_programs(tree, STUBDOM_PROGRAMS, root)
    for applet in ("read", "write", "list"):
        (root / "usr/bin" / f"xenstore-{applet}").symlink_to("xenstore")
    (root / "usr/bin/vchan-socket-proxy").symlink_to("../lib/xen-4.20/bin/vchan-socket-proxy")
    _compile_hook(root / "hook")
    _put_init(tree, kernel, root)
    _cpio(root, files / "ramdisk")
    shutil.copy(kernel.vmlinux, files / "vmlinux")
    _ext4(files, folder / "stubdom.ext4")
    shutil.rmtree(root)
    shutil.rmtree(files)


def _put_init(tree, kernel, root):
    modules = kernel.ramdisk(kernels.STOCK_STUBDOM)
    _put_loader(tree, modules, root)
    # Without modules to load, the stub domain's own init comes first.
    shutil.copy(RIG / "stubdom/init", root / ("stubdom-init" if modules else "init"))


def _compile_hook(target):
    """The program of the stub domain's experiments, one static file."""
    console.run(
        ["rustc", "--edition=2021", "-Copt-level=s", "-Cpanic=abort", "-Cstrip=symbols", "-Ctarget-feature=+crt-static",
         "-Dwarnings", "-o", target, RIG / "stubdom/hook.rs"], "stubdom",
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
    text = subprocess.run(["readelf", "-d", program], capture_output=True, text=True, check=True).stdout
    return re.findall(r"\(NEEDED\).*\[(.+)\]", text)


def _library(tree, name):
    if name == Path(LOADER).name:
        return LOADER
    for folder in LIBRARY_FOLDERS:
        if (tree / folder / name).exists():
            return f"{folder}/{name}"
    raise console.Failure(f"Debian's packages lack the library {name}", "Look at DOM0_PACKAGES.")


def _cpio(root, target):
    """Packs a folder as a ramdisk; unpacked bytes start faster under emulation than compressed ones."""
    names = sorted(str(file.relative_to(root)) for file in root.rglob("*"))
    with open(target, "wb") as sink:
        subprocess.run(
            ["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"], cwd=root, stdout=sink, check=True,
            input="\n".join(names).encode(),
        )


def _ext4(root, target):
    size = sum(file.lstat().st_size + 4096 for file in root.rglob("*")) // (1 << 20) + ROOM
    env = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/sbin:/usr/sbin"}
    console.run(
        ["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-E", "root_owner=0:0", "-d", root, target, f"{size}M"],
        "ext4", env=env,
    )
