# SPDX-License-Identifier: GPL-2.0-only
"""dom0's side of the emulated machine: keeps domains on their CPUs, mends the stub domain's
consoles, obeys the rig.

One request is one line of JSON on the virtio port `rig`, one reply is one line: {"ok": ...} or
{"error": "..."}.
"""

import base64
import glob
import json
import mmap
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from xen.lowlevel import xc, xs

PORT = "rig"
PCI = Path("/sys/bus/pci/devices")
# dom0 has the first CPUs (dom0_vcpus_pin) for itself; the others' are on its kernel's command line,
# so that a write to a device tells by its CPU who made it.
GUEST_CPUS, STUBDOM_CPUS = "rig.guests", "rig.stubdoms"
# Seconds that a vCPU stays on a CPU before it is moved on.
STAY = 0.02
CONSOLES = "/local/domain/0/backend/console"
# Vendor and device of QEMU's `edu` as they stand in config space, and its registers
EDU_ID = b"\x34\x12\xe8\x11"
EDU_ACKNOWLEDGE = 0x64
COMMAND, MEMORY_DECODE = 0x04, 0x02
# XenbusState values
INIT_WAIT, INITIALISED, CONNECTED = "2", "3", "4"


def value(store, path):
    """A value of xenstore as text, None when there is none."""
    found = store.read("", path)
    return None if found is None else found.decode(errors="replace")


def cpus(name):
    """The CPUs that dom0's command line names: NAME=1,2; CPU 1 when it does not."""
    for word in Path("/proc/cmdline").read_text(encoding="ascii").split():
        if word.startswith(f"{name}="):
            return [int(number) for number in word.partition("=")[2].split(",")]
    return [1]


class Domains:
    """Pins every new domain's virtual CPUs to CPUs that are not dom0's, before the toolstack lets
    it run.
    """

    def __init__(self):
        self.xen = xc.xc()
        self.store = xs.xs()
        self.pinned = set()
        self.guests, self.stubdoms = cpus(GUEST_CPUS), cpus(STUBDOM_CPUS)

    def watch(self):
        """Never returns. A domain is introduced to xenstore while it is built, paused."""
        if self.xen.physinfo()["nr_cpus"] <= max(*self.guests, *self.stubdoms):
            return
        self.store.watch("@introduceDomain", "new")
        while True:
            self.store.read_watch()
            for domain in self.xen.domain_getinfo(1, 1024):
                self._pin(domain)

    def _pin(self, domain):
        number = domain["domid"]
        if number in self.pinned:
            return
        try:
            allowed = self.guests if domain["hvm"] else self.stubdoms
            for vcpu in range(domain["max_vcpu_id"] + 1):
                self.xen.vcpu_setaffinity(number, vcpu, [allowed[vcpu % len(allowed)]])
            self.pinned.add(number)
        except xc.Error as error:
            print(f"cannot pin domain {number}: {error}", file=sys.stderr, flush=True)


class Consoles:
    """Completes the handshake of a Linux stub domain's consoles with QEMU 9 and later.

    QEMU never connects console 0, whose ring fills up and stops the domain; console 2, from
    which a saved state would come, has no file behind it, and the domain's kernel waits for it.
    """

    def __init__(self):
        self.store = xs.xs()

    def watch(self):
        """Never returns."""
        self.store.watch(CONSOLES, "console")
        while True:
            path, _token = self.store.read_watch()
            parts = path.removeprefix(CONSOLES).split("/")
            if len(parts) == 4:
                self._mend(f"{CONSOLES}/{parts[1]}/{parts[2]}", parts[2], parts[3])

    def _mend(self, console, number, key):
        if number == "0" and key == "state" and value(self.store, f"{console}/state") == INIT_WAIT:
            self.store.write("", f"{console}/state", CONNECTED)
        if number == "2" and key == "frontend":
            frontend = value(self.store, f"{console}/frontend")
            if frontend and value(self.store, f"{frontend}/output") is None:
                self.store.write("", f"{frontend}/output", "file:/dev/null")


class Requests:
    """What the rig may ask for; each method is one request."""

    def __init__(self):
        self.xen = xc.xc()
        self.store = xs.xs()
        self.moving, self.begun, self.kept = None, {}, None

    def version(self):
        """Xen's version, as on its command `xl info`."""
        info = self.xen.xeninfo()
        return f"{info['xen_major']}.{info['xen_minor']}{info['xen_extra']}"

    def put(self, path, data):
        """Writes bytes (base64) to a file, making its folder."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb", buffering=0) as file:
            file.write(base64.b64decode(data))

    def get(self, path):
        """A file's text, '' when there is none."""
        try:
            return Path(path).read_text(errors="replace")
        except OSError:
            return ""

    def run(self, command, timeout):
        """Runs a shell command; returns its status (None: out of time) and its output."""
        try:
            done = subprocess.run(
                command,
                shell=True,
                timeout=timeout,
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        except subprocess.TimeoutExpired as late:
            return [None, (late.output or b"").decode(errors="replace")]
        return [done.returncode, done.stdout.decode(errors="replace")]

    def keep(self, data):
        """Holds a page (base64) in memory; the one before is let go, and cleared."""
        content = base64.b64decode(data)
        if self.kept is None:
            self.kept = mmap.mmap(-1, len(content))
        self.kept[:] = content

    def begin(self, command):
        """Starts a shell command that runs beside; returns its number, for `end`."""
        # What reads its output is this program, at the end: more than a pipe holds would stop it.
        output = tempfile.TemporaryFile()
        process = subprocess.Popen(
            command,
            shell=True,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.begun[process.pid] = (process, output)
        return process.pid

    def end(self, number):
        """The status and output of what `begin` started; None while it runs."""
        process, output = self.begun[number]
        if process.poll() is None:
            return None
        del self.begun[number]
        with output:
            output.seek(0)
            return [process.returncode, output.read().decode(errors="replace")]

    def find(self, name):
        """The number of the domain with this name, or None."""
        for domain in self.xen.domain_getinfo(1, 1024):
            if value(self.store, f"/local/domain/{domain['domid']}/name") == name:
                return domain["domid"]
        return None

    def state(self, domain):
        """'running', 'gone', 'dying' or the reason of its shutdown."""
        reasons = {
            0: "poweroff",
            1: "reboot",
            2: "suspend",
            3: "crash",
            4: "watchdog",
            5: "soft-reset",
        }
        for info in self.xen.domain_getinfo(domain, 1):
            if info["domid"] == domain:
                if info["dying"]:
                    return "dying"
                return (
                    reasons.get(info["shutdown_reason"], "shutdown")
                    if info["shutdown"]
                    else "running"
                )
        return "gone"

    def unpause(self, domain):
        """Lets a domain run."""
        self.xen.domain_unpause(domain)

    def wander(self, domain, vcpus):
        """Moves a domain's virtual CPUs about its CPUs, each to another one than the next, until
        `stay`.
        """
        self.stay()
        over, allowed = threading.Event(), cpus(GUEST_CPUS)
        mover = threading.Thread(target=move, args=(domain, vcpus, allowed, over), daemon=True)
        mover.start()
        self.moving = (over, mover)

    def stay(self):
        """Ends what `wander` began."""
        if self.moving:
            over, mover = self.moving
            over.set()
            mover.join()
        self.moving = None

    def quiet(self, device):
        """Takes back the interrupt an `edu` still asserts; it has no reset that would do so between
        two guests.
        """
        folder = PCI / f"0000:{device}"
        with open(folder / "config", "r+b", buffering=0) as config:
            if config.read(4) != EDU_ID:
                return
            config.seek(COMMAND)
            command = config.read(2)
            config.seek(COMMAND)
            config.write(bytes([command[0] | MEMORY_DECODE, command[1]]))
            with open(folder / "resource0", "r+b", buffering=0) as bar, mmap.mmap(
                bar.fileno(), mmap.PAGESIZE
            ) as registers:
                struct.pack_into("=I", registers, EDU_ACKNOWLEDGE, 0xFFFFFFFF)
            config.seek(COMMAND)
            config.write(command)

    def headers(self, devices):
        """The configuration space (base64) and the six base addresses of each of these devices."""
        return {device: self._header(PCI / f"0000:{device}") for device in devices}

    def _header(self, folder):
        lines = (folder / "resource").read_text(encoding="ascii").splitlines()
        config = (folder / "config").read_bytes()
        return base64.b64encode(config).decode(), [int(line.split()[0], 16) for line in lines[:6]]

    def list_devices(self, domain, devices):
        """Completes libxl's list of a guest's devices, which libxl 4.20 leaves empty when there is
        a stub domain.

        Without it libxl neither takes a device from the guest nor gives it back after a restart.
        """
        folder = f"/local/domain/0/backend/pci/{domain}/0"
        for number, device in enumerate(devices):
            # libxl moves each of these when it takes one out, and crashes where one is missing.
            self.store.write("", f"{folder}/dev-{number}", f"0000:{device}")
            self.store.write("", f"{folder}/key-{number}", f"0000:{device}")
            self.store.write("", f"{folder}/state-{number}", INITIALISED)
            self.store.write(
                "",
                f"{folder}/opts-{number}",
                "msitranslate=0,power_mgmt=0,permissive=0,rdm_policy=strict",
            )
        self.store.write("", f"{folder}/num_devs", str(len(devices)))

    def virtual_functions(self, physical, count):
        """Lets the driver of a physical function create virtual functions; xen-pciback hides those
        it was told of.
        """
        folder = PCI / f"0000:{physical}"
        for interface in (folder / "net").iterdir():
            subprocess.run(["ip", "link", "set", interface.name, "up"], check=True)
        (folder / "sriov_numvfs").write_text(str(count), encoding="ascii")

    def keys(self, keys):
        """Sends debug keys to Xen; what they print is on its console."""
        self.xen.send_debug_keys(keys)

    def read(self, path):
        """A value of xenstore, None when there is none."""
        return value(self.store, path)

    def write(self, path, text):
        """Writes a value of xenstore."""
        self.store.write("", path, text)


def move(domain, vcpus, allowed, over):
    """Moves virtual CPUs from CPU to CPU until it is over, or the domain is gone."""
    xen, turn = xc.xc(), 0
    try:
        while not over.wait(STAY):
            turn += 1
            for vcpu in range(vcpus):
                xen.vcpu_setaffinity(domain, vcpu, [allowed[(vcpu + turn) % len(allowed)]])
    except xc.Error:
        return


def answer(requests, line):
    """The reply to one line."""
    try:
        request = json.loads(line)
        return {"ok": getattr(requests, request.pop("do"))(**request)}
    except (xc.Error, xs.Error, OSError, ValueError, TypeError, AttributeError) as error:
        return {"error": f"{type(error).__name__}: {error}"}


def port():
    """The device file of the virtio port, None when the machine has none."""
    for name in glob.glob("/sys/class/virtio-ports/*/name"):
        if Path(name).read_text(encoding="ascii").strip() == PORT:
            return Path("/dev") / Path(name).parent.name
    return None


def send(line, reply):
    """Sends one reply; the port takes only so many bytes at once."""
    rest = json.dumps(reply).encode() + b"\n"
    while rest:
        rest = rest[line.write(rest) or 0 :]


def main():
    """Serves until the machine ends."""
    helpers = [
        threading.Thread(target=service().watch, daemon=True) for service in (Domains, Consoles)
    ]
    for helper in helpers:
        helper.start()
    device = port()
    if device is None:
        for helper in helpers:
            helper.join()
        return
    requests = Requests()
    with open(device, "r+b", buffering=0) as line:
        send(line, {"ok": "ready"})
        rest = []
        while True:
            # A page at a time: what is long comes in many parts, which are looked at once each.
            *ends, last = (line.read(65536) or b"").split(b"\n")
            for end in ends:
                send(line, answer(requests, b"".join([*rest, end])))
                rest = []
            rest.append(last)


if __name__ == "__main__":
    main()
