# SPDX-License-Identifier: GPL-2.0-only
"""scripts/rig: the emulated machine by hand."""

import argparse
import sys
from pathlib import Path

from .. import console, first, paths
from . import DEVICES, Machine, Device, prepare, room, stock_xen
from .emulator import IOMMUS

DEFAULT_XEN = paths.OUT / "xen-4.20.gz"
HELP = (
    """\
A PC emulated by QEMU, with an IOMMU that remaps interrupts, under Xen. dom0 and
the stub domain are made of Debian 13's packages; changes to their disks are
thrown away at the end. Ready to be passed through:
"""
    + "\n".join(f"  {device.address}  {kind}" for kind, device in DEVICES.items() if device.hidden)
    + """
"""
)
COMMANDS = """\
commands:
  prepare         build what a machine needs (first time: about ten minutes) and stop
  shell           boot out/xen-4.20.gz (or --xen FILE) to dom0's prompt on this terminal
  boot FILE.gz    the same with any other Xen; 'stock' is Debian's own

At the prompt 'xl' is at hand; 'poweroff' ends the machine, and so does Ctrl-A x.
Console and trace of config writes are kept in out/rig/shell.
"""


def main():
    """Reads the command line and does what it says."""
    words = _parser().parse_args()
    # What was named wrongly is told before anything is installed or built.
    named, devices = _named(words), [*DEVICES.values(), *map(_device, words.device)]
    first.check()
    first.setup("rig")
    room.check()
    if words.command == "prepare":
        prepare(words.kernel)
        console.say("the emulated machine is ready")
        return 0
    if not sys.stdin.isatty():
        console.say("no terminal: dom0's prompt reads what is piped in")
    machine = Machine(
        named or stock_xen(),
        name="shell",
        xen_options=words.xen_options,
        iommu=words.iommu,
        kernel=words.kernel,
        devices=devices,
    )
    return machine.by_hand()


def _parser():
    parser = argparse.ArgumentParser(
        prog="scripts/rig",
        description=HELP,
        epilog=COMMANDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=["prepare", "shell", "boot"], help="see below")
    parser.add_argument("file", nargs="?", help="for 'boot': the hypervisor")
    parser.add_argument("--xen", metavar="FILE", help="the hypervisor for 'shell'")
    parser.add_argument(
        "--xen-options", metavar="TEXT", default="", help="added to Xen's command line"
    )
    parser.add_argument(
        "--iommu", choices=list(IOMMUS), default="amd-vi", help="the IOMMU (default: %(default)s)"
    )
    parser.add_argument(
        "--kernel",
        choices=["small", "stock"],
        default="small",
        help="a small kernel built here, or Debian's own (default: %(default)s)",
    )
    parser.add_argument(
        "--device",
        metavar="ADDRESS=MODEL",
        action="append",
        default=[],
        help="one more device to pass through, such as 00:0f.0=e1000e",
    )
    return parser


def _device(text):
    address, separator, model = text.partition("=")
    if not separator or not model:
        raise console.Failure(
            f"'{text}' is no device", "Say ADDRESS=MODEL, such as 00:0f.0=e1000e."
        )
    return Device(address, model)


def _named(words):
    """The hypervisor that the words name, checked; None for Debian's own, and where none is
    needed.
    """
    if words.command == "prepare":
        return None
    if words.command == "boot" and not words.file:
        raise console.Failure(
            "'boot' needs a hypervisor", "Name a xen.gz, or 'stock' for Debian's own."
        )
    if words.command == "shell" and words.file:
        raise console.Failure(f"'shell' takes no '{words.file}'", "Say --xen FILE, or 'boot FILE'.")
    chosen = words.file or words.xen
    if chosen == "stock":
        return None
    file = Path(chosen) if chosen else DEFAULT_XEN
    if not file.is_file():
        raise console.Failure(
            f"there is no hypervisor {file}",
            "Name another." if chosen else "Make it with scripts/build.",
        )
    return first.hypervisor(file)


console.main(main)
