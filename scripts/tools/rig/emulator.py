# SPDX-License-Identifier: GPL-2.0-only
"""QEMU as the machine under Xen: where it comes from, whether it serves, its command line."""

import gzip
import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from .. import console
from . import images, trace

# MONITOR, because TCG's MWAIT faults in Xen's idle loop; RDTSCP, because its exit is reported as
# RDTSC's.
CPU = "EPYC,+svm,+npt,-monitor,-rdtscp"
MEMORY = "2G"
DOM0_MEMORY = "1024M"
IOMMUS = {
    "amd-vi": ["-device", "amd-iommu,intremap=on,pt=off"],
    "vt-d": ["-device", "intel-iommu,intremap=on,caching-mode=off"],
}
# The AMD CPU and VT-d do not share page tables.
XEN_IOMMU = {"amd-vi": "", "vt-d": "iommu=no-sharept"}
XEN_OPTIONS = (
    "console=com1 com1=115200,8n1 loglvl=all guest_loglvl=all conring_size=1m"
    f" dom0_mem={DOM0_MEMORY},max:{DOM0_MEMORY} dom0_vcpus_pin"
)
MULTIBOOT_MAGIC = (0x1BADB002).to_bytes(4, "little")


@dataclass(frozen=True)
class Processors:
    """The machine's CPUs. dom0 has its own, so that the CPU of a write to a device shows whether
    dom0 made it.
    """

    dom0: tuple = (0,)  # one vCPU on each; Xen gives dom0 the first ones
    guests: tuple = (
        1,
    )  # an HVM guest's vCPU n is pinned to the n-th of these, modulo their number
    stub_domains: tuple = (1,)  # the same for a stub domain's vCPUs

    @property
    def count(self):
        """How many CPUs the machine has."""
        return max(*self.dom0, *self.guests, *self.stub_domains) + 1

    @property
    def xen_options(self):
        """What Xen is told of dom0's vCPUs."""
        return f"dom0_max_vcpus={len(self.dom0)}"

    @property
    def dom0_options(self):
        """What dom0's agent is told of the other domains, on dom0's kernel command line."""
        return f"rig.guests={_list(self.guests)} rig.stubdoms={_list(self.stub_domains)}"

    @property
    def xl_option(self):
        """The line of an HVM guest's configuration that pins its vCPUs."""
        return (
            f"cpus={[str(cpu) for cpu in self.guests]}"
            if len(self.guests) > 1
            else f'cpus="{self.guests[0]}"'
        )


def _list(cpus):
    return ",".join(map(str, cpus))


ONE_EACH = Processors()
# Every party runs at the same time as every other: two vCPUs of dom0, two of a guest, a stub
# domain.
SMP = Processors(dom0=(0, 1), guests=(2, 3), stub_domains=(4,))


@dataclass(frozen=True)
class Emulator:
    """A QEMU that is known to serve."""

    command: tuple
    env: dict = field(default_factory=dict)

    def ask(self, *words):
        """What QEMU prints on a question such as `-cpu help`."""
        try:
            done = subprocess.run(
                [*self.command, *words],
                env=self.env,
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise console.Failure(
                f"{self.command[-1]} cannot be run ({error})",
                "Unset QEMU to use the one of Debian's packages.",
            ) from error
        return done.stdout + done.stderr


def find(archive):
    """The QEMU that $QEMU names, else Debian's own in the cache; refused when it cannot serve."""
    chosen = os.environ.get("QEMU")
    emulator = Emulator((chosen,), dict(os.environ)) if chosen else _from_tree(images.qemu(archive))
    _check(emulator, chosen or "Debian's QEMU")
    return emulator


def _from_tree(tree):
    """Starts the tree's QEMU by the tree's own dynamic loader: the machine's libraries play no
    part.
    """
    libraries = tree / "usr/lib/x86_64-linux-gnu"
    command = (
        str(tree / images.LOADER),
        "--library-path",
        str(libraries),
        str(tree / "usr/bin/qemu-system-x86_64"),
        "-L",
        str(tree / "usr/share/qemu"),
        "-L",
        str(tree / "usr/share/seabios"),
    )
    return Emulator(command, {**os.environ, "QEMU_MODULE_DIR": str(libraries / "qemu")})


def _check(emulator, name):
    remedy = "Unset QEMU, or name a qemu-system-x86_64 of version 8 or later."
    if "QEMU emulator" not in emulator.ask("--version"):
        raise console.Failure(f"{name} is no QEMU", remedy)
    devices = emulator.ask("-device", "help")
    for wanted in ("edu", "amd-iommu", "intel-iommu", "igb", "ivshmem-doorbell"):
        if f'name "{wanted}"' not in devices:
            raise console.Failure(f"{name} has no device '{wanted}'", remedy)
    if re.search(r"\.(svm|npt) \[bit", _complaints(emulator)):
        raise console.Failure(f"{name} cannot emulate SVM with nested paging", remedy)


def _complaints(emulator):
    """What QEMU says it lacks of CPU, from starting an empty machine that quits at once."""
    words = [
        "-M",
        "q35",
        "-accel",
        "tcg",
        "-nodefaults",
        "-display",
        "none",
        "-cpu",
        CPU,
        "-S",
        "-monitor",
        "stdio",
    ]
    done = subprocess.run(
        [*emulator.command, *words],
        env=emulator.env,
        input="quit\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.stderr


def unpacked_xen(file, folder):
    """Xen as QEMU boots it: the multiboot ELF inside a xen.gz (or a plain one), placed in a
    folder.
    """
    try:
        data = Path(file).read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError, gzip.BadGzipFile) as error:
        raise console.Failure(
            f"{file} cannot be read as a hypervisor ({error})", "Name a xen.gz."
        ) from error
    if data[:4] != b"\x7fELF" or MULTIBOOT_MAGIC not in data[:8192]:
        raise console.Failure(
            f"{file} is no hypervisor for multiboot", "Name a xen.gz, not a .efi or a -syms file."
        )
    target = Path(folder) / "xen"
    target.write_bytes(data)
    return target


def command(emulator, files, setup):
    """QEMU's words for a machine.

    `files` is an images.Images, `setup` a mapping: xen, xen_options, iommu, devices, processors,
    dom0_options, trace, `folder` for the machine's own files, and `channels`, the words for
    console, control and monitor.
    """
    processors = setup["processors"]
    hidden = "".join(
        f"(0000:{a})" for device in setup["devices"] if device.hidden for a in device.addresses
    )
    dom0 = (
        f"{files.kernel.vmlinux} console=hvc0 loglevel=4 {processors.dom0_options}"
        f" {setup['dom0_options']}"
    )
    dom0 += f" xen-pciback.hide={hidden}"
    if files.dom0_ramdisk is None:
        dom0 += " root=/dev/vda rw rootfstype=ext4 init=/init"
    xen_options = [
        XEN_OPTIONS,
        processors.xen_options,
        XEN_IOMMU[setup["iommu"]],
        setup["xen_options"],
    ]
    modules = [dom0, *([str(files.dom0_ramdisk)] if files.dom0_ramdisk else [])]
    words = [
        *emulator.command,
        "-M",
        "q35",
        "-accel",
        "tcg,thread=multi",
        "-cpu",
        CPU,
        "-smp",
        str(processors.count),
        "-m",
        MEMORY,
        "-nodefaults",
        "-display",
        "none",
        "-no-reboot",
        "-no-user-config",
        "-kernel",
        setup["xen"],
        "-append",
        " ".join(xen_options),
        "-initrd",
        ",".join(module.replace(",", ",,") for module in modules),
        *IOMMUS[setup["iommu"]],
        # In the order of their addresses they are /dev/vda, vdb and vdc.
        *_disk("root", files.dom0_root, "1c.0"),
        *_disk("stubdom", files.stubdom, "1d.0"),
        *(_disk("linux", files.linux, "1e.0") if files.linux else ()),
        *setup["channels"],
        "-msg",
        "timestamp=on",
        "-D",
        setup["trace"],
        "-d",
        "cpu_reset",
    ]
    for event in trace.EVENTS:
        words += ["-trace", event]
    for device in setup["devices"]:
        words += device.words(setup["folder"])
    return [str(word) for word in words]


def _disk(name, file, address):
    """A disk whose changes are thrown away."""
    return [
        "-drive",
        f"if=none,id={name},file={file},format=raw,snapshot=on",
        "-device",
        f"virtio-blk-pci,drive={name},addr={address}",
    ]
