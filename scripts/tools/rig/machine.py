# SPDX-License-Identifier: GPL-2.0-only
"""The emulated machine with Xen and dom0 running, and guests run on it one after another."""

import base64
import ctypes
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from .. import console, debian, paths
from . import (
    channel,
    devices as kinds,
    doorbell,
    emulator,
    forge,
    guest as guests,
    images,
    life,
    patience,
    stacks,
    trace,
)

# Of the machine's time (patience.Clock), as all limits.
BOOT_SECONDS = 120
# Host seconds after which a start has failed however little of them the machine had.
_START_SECONDS = 600
# How long Xen may take to answer on its console.
_CONSOLE_SECONDS = 3
# How often CPUs are looked at to see whether they get on, and how long after each other.
_LOOKS, _LOOK_SECONDS = 8, 0.2
# Three of these turn the console's input to Xen, which then lists its domains and interrupts.
_TO_XEN, _KEYS = b"\x01\x01\x01", b"qi"
# How often a guest is run again after the emulator's own fault, which ends about one run in eighty.
RETRIES = 3
# Seconds until the last line of QEMU's trace has come through the sieve.
_SIEVED = 0.2
_PR_SET_PDEATHSIG = 1
# As a nice value.
_PRIORITY = -15
# A race in QEMU's emulation of memory, rare, and of QEMU 10.0 itself.
_QEMU_ASSERTION = "iotlb_to_section: Assertion `section_index < d->map.sections_nb' failed"


class Machine:
    """A context: entering boots Xen and dom0, leaving ends QEMU.

    `xen` is a xen.gz; `linux` is needed for guests that run Linux. The attributes `console_log` and
    `trace_log` are paths, `layouts` the devices.Layout of each device by host address, `version` is
    Xen's, `retries` the number of starts and guests repeated because of the emulator's own faults.
    `processors` says how many CPUs there are and whose, `forging` makes the registers of devices
    changeable from outside (forge.Forge), `labels` is by which labels FLASK is to know devices, by
    host address.
    """

    def __init__(
        self,
        xen,
        *,
        name="machine",
        xen_options="",
        iommu="amd-vi",
        kernel="small",
        devices=kinds.DEVICES.values(),
        linux=False,
        processors=emulator.ONE_EACH,
        forging=False,
        labels=None,
    ):
        if iommu not in emulator.IOMMUS:
            raise console.Failure(
                f"there is no IOMMU '{iommu}'", f"Say {' or '.join(emulator.IOMMUS)}."
            )
        self.name, self.devices = name, tuple(devices)
        archive = debian.Archive().ready()
        self.emulator = emulator.find(archive)
        self.images = images.build(archive, kernel, linux)
        self.processors, self.forging, self.labels = processors, forging, labels or {}
        self.setup = {
            "xen": Path(xen),
            "xen_options": xen_options,
            "iommu": iommu,
            "devices": self.devices,
            "processors": processors,
        }
        folder = paths.OUT / "rig" / name
        self.console_log, self.trace_log, self.qemu_log = (
            folder / f"{part}.log" for part in ("console", "trace", "qemu")
        )
        self.boots, self.retries, self.version = 0, 0, None
        self.process = self.agent = self.qmp = self.private = self.lock = self.sieve = (
            self.doorbell
        ) = None
        self.cpus, self.layouts, self.clock, self.forge = {}, {}, None, None

    def __enter__(self):
        self.lock = _only_machine()
        self._clear_logs()
        self.handler = signal.signal(signal.SIGTERM, _terminated)
        try:
            self.boot()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error):
        self.stop()
        signal.signal(signal.SIGTERM, self.handler)
        self.lock.close()

    def _clear_logs(self):
        """Not before the lock is held: another command may be writing them."""
        shutil.rmtree(self.console_log.parent, ignore_errors=True)
        self.console_log.parent.mkdir(parents=True)

    def boot(self):
        """Starts the machine and waits for dom0's agent; QEMU's own known assertion makes it start
        again.
        """
        for left in reversed(range(RETRIES + 1)):
            try:
                self._boot_once()
                return
            except console.Failure:
                if left == 0 or not self.qemu_asserted():
                    raise
                self._count_retry("the machine's start")

    def qemu_asserted(self):
        """True when the last thing QEMU said is its own known assertion."""
        return _QEMU_ASSERTION in console.tail(self.qemu_log, 1)

    def _count_retry(self, what):
        self.retries += 1
        console.say(f"{self.name}: the emulator's own fault ended {what}; once more")

    def _boot_once(self):
        self.stop()
        self.private = Path(tempfile.mkdtemp(prefix="msitrap-"))
        begin = time.monotonic()
        try:
            # A file that the console's log goes to, and a door for what is typed.
            console_words = f"socket,id=console,path={self.private}/console,server=on,wait=off"
            self._start_qemu(
                ["-chardev", f"{console_words},logfile={self.console_log},logappend=on"]
            )
            self._wait_for_agent()
            self.version = self.agent.ask("version")
            self._read_layouts(
                [a for device in self.devices if device.on_command_line for a in device.addresses]
            )
            self.qmp.ask("trace-event-set-state", name=trace.MEMORY_EVENT, enable=True)
            self._label_devices()
            if self.forging:
                self.forge = forge.Forge(self.private / "qtest", self.process.pid)
        except BaseException:
            self.stop()
            raise
        self.boots += 1
        console.say(
            f"{self.name}: Xen {self.version} and dom0 are up after {time.monotonic() - begin:.1f}s"
        )

    def stop(self):
        """Ends QEMU and removes what belonged to this boot."""
        if self.process:
            self.process.kill()
            self.process.wait()
        for part in (self.agent, self.qmp, self.sieve, self.doorbell, self.forge):
            if part:
                part.close()
        if self.private:
            shutil.rmtree(self.private, ignore_errors=True)
        self.process = self.agent = self.qmp = self.private = self.sieve = self.doorbell = (
            self.forge
        ) = None

    def running(self):
        """True while QEMU runs."""
        return self.process is not None and self.process.poll() is None

    def run(self, guest, script=None):
        """Runs a guest to its end; only the emulator's own fault makes it run again, and is
        counted.

        `script`, given the life.Life, does things to the guest while it runs; without one its own
        result is awaited.
        """
        before = self.retries
        while True:
            if not self.running():
                self.boot()
            result = life.Life(self, guest, script).result()
            result.retries = self.retries - before
            faulty = guests.emulator_fault(result.xen_log) or (
                not self.running() and self.qemu_asserted()
            )
            if not faulty or result.retries >= RETRIES:
                return result
            self._count_retry(guest.name)

    def monitor(self, command):
        """Gives xl a command, such as 'debug-keys i'; returns what it and Xen then printed."""
        mark = self.mark()
        _status, output = self.agent.run(f"xl {command}")
        # Xen prints from its own context; the console is quiet soon after.
        return output + "\n".join(self.lines_after(self.settled(mark)))

    def stacks(self):
        """Where all CPUs are, as lines; for a machine that hangs. What Xen still says to debug keys
        is on its console.
        """
        if not self.running() or self.qmp is None:
            return ["QEMU is gone"]
        try:
            found = stacks.take(self.qmp.say, stacks.Symbols.of(self._symbols()))
        except (channel.Down, console.Failure) as error:
            found = [f"QEMU does not tell where its CPUs are ({error})"]
        mark = self.mark()
        self._press(_KEYS)
        said = len(self.lines_after(mark))
        return [
            *found,
            (
                f"Xen answered debug keys with {said} lines, in {self.console_log}"
                if said
                else "Xen takes no debug keys"
            ),
        ]

    def stopped(self):
        """The CPUs that do not get on in Xen, by number, with where they are."""
        symbols, looks = stacks.Symbols.of(self._symbols()), []
        for _ in range(_LOOKS):
            looks.append(stacks.cpus(self.qmp.say("info registers -a")))
            time.sleep(_LOOK_SECONDS)
        return stacks.stopped(looks, symbols)

    def _symbols(self):
        """The file with symbols beside the hypervisor, None without."""
        file = self.setup["xen"]
        beside = file.with_name(f"{file.name.removesuffix('.gz')}-syms")
        return beside if beside.is_file() else None

    def _press(self, keys):
        """Types debug keys for Xen on its console, and lets it answer."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
                line.connect(str(self.private / "console"))
                line.settimeout(_CONSOLE_SECONDS)
                line.sendall(_TO_XEN + keys)
                # What nobody reads would stop the console.
                while line.recv(65536):
                    pass
        except OSError:
            return

    def mark(self):
        """The console's present end, for lines_after."""
        return self.console_log.stat().st_size

    def lines_after(self, mark):
        """The console's lines since a mark."""
        with open(self.console_log, "rb") as log:
            log.seek(mark)
            return log.read().decode(errors="replace").replace("\r", "").splitlines()

    def settled(self, mark, quiet=0.5):
        """Waits until the console has said nothing for `quiet` seconds; returns the mark given."""
        size = -1
        while size != self.mark():
            size = self.mark()
            time.sleep(quiet)
        return mark

    def trace_after(self, mark):
        """The trace since a size of its log, when all that QEMU has told stands in it."""
        time.sleep(_SIEVED)
        with open(self.trace_log, "rb") as log:
            log.seek(mark)
            return log.read().decode(errors="replace")

    def ring(self, vector):
        """Fires one vector of the device `ivshmem`."""
        self.doorbell.ring(vector)

    def make_present(self, address):
        """Lets dom0's driver create the virtual function at a host address, if it is one and not
        there yet.
        """
        known = next(
            (device for device in self.devices if address == device.address and device.physical),
            None,
        )
        if known and address not in self.layouts:
            self.agent.ask("virtual_functions", physical=known.physical, count=1)
            self._read_layouts([address])

    def _label_devices(self):
        """What the administrator of a Xen with FLASK has to do after each start."""
        for address, label in self.labels.items():
            command = f"flask-label-pci 0000:{address} {label}"
            status, output = self.agent.run(command)
            if status != 0:
                raise console.Failure(f"'{command}' failed in dom0: {output.strip()}")

    def _read_layouts(self, addresses):
        for address, (config, bars) in self.agent.ask("headers", devices=addresses).items():
            self.layouts[address] = kinds.layout(base64.b64decode(config), bars)

    def by_hand(self):
        """Gives the terminal to dom0's prompt until the machine ends; returns QEMU's status."""
        self._clear_logs()
        signal.signal(signal.SIGTERM, _terminated)
        self.private = Path(tempfile.mkdtemp(prefix="msitrap-"))
        try:
            self._start_qemu(
                ["-chardev", f"stdio,mux=on,id=console,signal=off,logfile={self.console_log}"],
                "rig.shell",
            )
            return self.process.wait()
        finally:
            self.stop()

    def _start_qemu(self, terminal, dom0_options=""):
        folder = self.private
        channels = [
            *terminal,
            "-serial",
            "chardev:console",
            "-chardev",
            f"socket,id=rig,path={folder}/agent,server=on,wait=off",
            "-device",
            "virtio-serial-pci,addr=1b.0",
            "-device",
            "virtserialport,chardev=rig,name=rig",
            "-qmp",
            f"unix:{folder}/qmp,server=on,wait=off",
        ]
        setup = {
            **self.setup,
            "xen": emulator.unpacked_xen(self.setup["xen"], folder),
            "channels": channels,
            "dom0_options": dom0_options,
            "trace": folder / "trace",
            "folder": folder,
        }
        if self.forging:
            channels += forge.words(folder / "qtest")
        words = emulator.command(self.emulator, self.images, setup)
        by_hand = bool(dom0_options)
        # A boot of the same machine goes on in the same logs.
        for log in (self.console_log, self.trace_log):
            log.touch()
        self._serve_devices()
        with open(self.qemu_log, "ab") as log:
            self.process = subprocess.Popen(
                words,
                stdin=None if by_hand else subprocess.DEVNULL,
                stdout=None if by_hand else log,
                stderr=log,
                env=self.emulator.env,
                preexec_fn=_prepare_child,
                start_new_session=not by_hand,
            )
        self.clock, self.cpus = patience.Clock(self.process.pid), {}

    def _serve_devices(self):
        """What QEMU needs from outside: a sieve for its trace, the doorbell, disks."""
        self.sieve = trace.Sieve(self.private / "trace", self.trace_log)
        self.doorbell = doorbell.Doorbell(self.private / "doorbell", kinds.DOORBELL_VECTORS)
        for device in self.devices:
            device.make_disk(self.private)

    def _wait_for_agent(self):
        limit = patience.Limit(time.monotonic, _START_SECONDS), patience.Limit(
            self.clock, BOOT_SECONDS
        )
        while True:
            self._check_boot(limit)
            try:
                self.agent = self.agent or channel.Agent(self.private / "agent", self.clock)
                self.qmp = self.qmp or channel.Monitor(self.private / "qmp", self.clock)
                self.cpus = self.cpus or self.qmp.cpus()
                self.agent.receive(0.5)
                return
            except OSError:
                time.sleep(0.05)
            except channel.Down:
                # Not yet up, or QEMU is ending and has closed the channel first.
                time.sleep(0.05)

    def _check_boot(self, limits):
        if not self.running():
            raise console.Failure(*ended(self.process.returncode, self.console_log, self.qemu_log))
        if any(limit.over() for limit in limits):
            raise console.Failure(
                f"dom0 of the emulated machine did not come up in {BOOT_SECONDS}s",
                "Its console says why.",
                self.console_log,
            )


def ended(status, console_log, qemu_log):
    """Why a machine ended while it started: a failure's sentence, remedy and log. What QEMU itself
    said comes first.
    """
    said = complaint(console.tail(qemu_log, 50))
    if said:
        return f"QEMU ended with status {status}: {said}", "", qemu_log
    return "the emulated machine ended while it started", "Its console says why.", console_log


def complaint(text):
    """The last of QEMU's lines that is no warning, without time and name; '' when there is none."""
    lines = [line.split("qemu-system-x86_64: ", 1)[-1].strip() for line in text.splitlines()]
    return next((line for line in reversed(lines) if line and not line.startswith("warning:")), "")


def _terminated(_signal, _frame):
    """SIGTERM ends the program as Ctrl-C does: what it made is removed."""
    raise KeyboardInterrupt


def _prepare_child():
    """Lets the kernel end QEMU with this program, however this program ends, and puts it before
    other work.

    libxl gives a stub domain and its device times of the wall clock, however slow the machine is.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.umask(0o077)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, _PRIORITY)
        # Where the kernel groups processes by session, the group's priority is what counts.
        Path("/proc/self/autogroup").write_text(str(_PRIORITY), encoding="ascii")
    except OSError:
        pass


def _only_machine():
    """Waits until no other emulated machine runs here: two at once starve each other into libxl's
    fixed time-outs.
    """
    lock = open(paths.CACHE / "machine.lock", "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        console.say("waiting for another emulated machine to end")
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock
