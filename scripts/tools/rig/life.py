# SPDX-License-Identifier: GPL-2.0-only
"""One guest of the emulated machine from its creation to its removal, and what is seen of it."""

import base64
import time
from pathlib import Path

from .. import console
from . import channel, guest as guests, patience, trace

# A stub domain and its device, with the rest of the host busy.
CREATE_SECONDS = 150
DESTROY_SECONDS = 60
HOOK_SECONDS = 60
# A guest's image goes to dom0 a page at a time.
PUT_SECONDS = 60
# What runs beside a guest ends by itself.
COMMAND_SECONDS = 60
PCIBACK = "/sys/bus/pci/drivers/pciback"


class Unexpected(Exception):
    """What a script waited for did not come, or what it did failed: the guest's test failed."""


class Life:
    """A guest from its creation to its removal; what a script may do to it meanwhile is public."""

    def __init__(self, machine, guest, script=None):
        self.machine, self.guest, self.script = machine, guest, script
        self.console_mark = machine.mark()
        self.trace_mark = machine.trace_log.stat().st_size
        self.begin, self.unpaused, self.end = time.time(), None, None
        self.domain = None
        self.earlier, self.breaks, self.asked = [], [], 0
        self.outcome = guests.Result("CRASH", "")

    def result(self):
        """Runs the guest and removes it."""
        try:
            self._live()
        except channel.Down as down:
            self._died(down)
        outcome = self.outcome
        outcome.seconds = time.time() - self.begin
        outcome.xen_log = self.machine.lines_after(self.console_mark)
        outcome.console = [*self.earlier, *self.printed()]
        outcome.breaks = self.breaks
        self._read_trace()
        return outcome

    def _died(self, down):
        """The whole machine is gone, or does not answer: it is ended, so that the next guest gets a
        new one.
        """
        self.machine.settled(self.console_mark)
        lines = self.machine.lines_after(self.console_mark)
        panic = [
            line
            for line in lines
            if "Panic on CPU" in line or "BUG at" in line or "Assertion" in line
        ]
        # A guest within this one's life may have found out first, and ended what there was left.
        status = (
            "still running"
            if self.machine.running()
            else f"status {getattr(self.machine.process, 'returncode', None)}"
        )
        if self.machine.running():
            self.outcome.stacks = self.machine.stacks()
        self._failed(
            f"the machine went down ({down}; QEMU: {status})" + (f": {panic[-1]}" if panic else "")
        )
        self.machine.stop()

    def _live(self):
        agent, guest = self.machine.agent, self.guest
        if guest.image:
            agent.ask(
                "put", wait=PUT_SECONDS, path=f"/tmp/{guest.name}.elf", data=_base64(guest.image)
            )
        settings = guests.config(guest, f"/tmp/{guest.name}.elf", self.machine.processors.xl_option)
        agent.ask("put", path=f"/tmp/{guest.name}.cfg", data=_base64(settings))
        for device in guest.devices:
            self.machine.make_present(device)
            self._set_pciback(device)
        # One that restarts needs xl's own monitor.
        alone = "" if guest.restarts else "-e "
        status, output = agent.run(f"xl create {alone}-p /tmp/{guest.name}.cfg", CREATE_SECONDS)
        self.domain = agent.ask("find", name=guest.name)
        try:
            if status != 0 or self.domain is None:
                self._failed(f"xl could not create it: {_complaint(output)}")
                return
            if guest.stubdom_hook and not self._run_hook():
                return
            self._let_run()
        finally:
            self.end = time.time()
            self.outcome.device_model_log = agent.ask(
                "get", path=f"/var/log/xen/qemu-dm-{guest.name}.log"
            )
            if self.domain is not None:
                agent.run(f"xl destroy {guest.name}", DESTROY_SECONDS)
            for device in guest.devices:
                agent.ask("quiet", device=device)

    def _set_pciback(self, device):
        """Sets pciback's mode for a device; `permissive` is libxl's to set, from the
        configuration.
        """
        if self.guest.pciback == "interrupt-control":
            command = f"echo 0000:{device} > {PCIBACK}/allow_interrupt_control"
            status, output = self.machine.agent.run(command)
            if status != 0:
                raise console.Failure(
                    f"pciback does not take allow_interrupt_control: {output.strip()}"
                )

    def _failed(self, reason):
        self.outcome.status, self.outcome.reason = "CRASH", reason

    def _run_hook(self):
        """Lets the stub domain's hook run and keeps what it says, and what others say to it."""
        agent = self.machine.agent
        agent.run("dmesg -c")
        try:
            self.outcome.hook = " ".join(self.take_over(self.guest.stubdom_hook))
        except Unexpected as unexpected:
            self._failed(str(unexpected))
            return False
        self.outcome.dom0_log = agent.run("dmesg -c")[1].splitlines()
        self.outcome.interrupts = self.machine.monitor("debug-keys i") + self.machine.monitor(
            "debug-keys M"
        )
        return True

    def take_over(self, words):
        """Has the stub domain do what these words for rig/stubdom/hook.rs say; returns the lines it
        says.
        """
        self.begin_take_over(words)
        return self.end_take_over(words)

    def begin_take_over(self, words):
        """Lets the stub domain begin what these words say."""
        self.asked += 1
        self.machine.agent.ask(
            "write", path=f"{self._data()}/hook-go", text=f"{self.asked} {words}"
        )

    def end_take_over(self, words):
        """The lines that the stub domain says of what it was last asked, when it is done."""
        agent, data = self.machine.agent, self._data()
        limit = self._limit(HOOK_SECONDS)
        while (done := (agent.ask("read", path=f"{data}/hook-done") or "0 0").split())[0] != str(
            self.asked
        ):
            if limit.over():
                raise Unexpected(f"the stub domain's '{words}' said nothing in {HOOK_SECONDS}s")
            time.sleep(0.2)
        parts = [
            agent.ask("read", path=f"{data}/hook-said/{number}") for number in range(int(done[1]))
        ]
        if not parts:
            raise Unexpected(f"the stub domain did '{words}' and said nothing")
        return [line for line in "".join(parts).split(";") if line]

    def _data(self):
        return f"/local/domain/{self.stub_domain()}/data"

    def begin_command(self, command):
        """Starts a shell command in dom0 that runs beside; returns its number, for
        `end_command`.
        """
        return self.machine.agent.ask("begin", command=command)

    def end_command(self, number, seconds=COMMAND_SECONDS):
        """Waits for the end of what `begin_command` started; its status and output."""
        limit = self._limit(seconds)
        while (done := self.machine.agent.ask("end", number=number)) is None:
            if limit.over():
                self.outcome.stacks = self.machine.stacks()
                raise Unexpected(f"a program in dom0 did not end in {seconds}s")
            time.sleep(0.2)
        return done

    def stub_domain(self):
        """The number of the guest's stub domain."""
        return self.machine.agent.ask("find", name=f"{self.guest.name}-dm")

    def unpause(self):
        """Lets the guest run."""
        self.unpaused = time.time()
        self.machine.agent.ask("unpause", domain=self.domain)

    def _let_run(self):
        if not self.guest.paused:
            self.unpause()
        if self.script:
            self._follow_script()
        elif self.guest.paused:
            self.outcome.status = "SUCCESS"
        else:
            self.await_result()

    def _follow_script(self):
        try:
            self.script(self)
        except Unexpected as unexpected:
            if not self.outcome.reason:
                self.outcome.status, self.outcome.reason = "FAILURE", str(unexpected)
        else:
            self.outcome.status = self.outcome.status if self.outcome.reason else "SUCCESS"

    def await_result(self, meanwhile=lambda: None, quiet=None):
        """Waits for the guest's last line, which becomes the outcome; does `meanwhile` again and
        again.

        When the guest prints nothing for `quiet` seconds, if any, and a CPU does not get on in Xen,
        the machine is given up with it.
        """
        limit, said = self._limit(self.guest.timeout), 0
        silence = self._limit(quiet or self.guest.timeout)
        while not limit.over():
            time.sleep(0.1)
            meanwhile()
            if self._ended():
                return
            if said != (said := len(self.printed())):
                silence = self._limit(quiet or self.guest.timeout)
            if quiet and silence.over():
                self._give_up_stopped(quiet)
                silence = self._limit(quiet)
        self.outcome.status = "TIMEOUT"
        self.outcome.reason = f"no result in {self.guest.timeout:.0f}s"
        self.outcome.stacks = self.machine.stacks()

    def _give_up_stopped(self, quiet):
        """Gives the machine up if a CPU has stopped in Xen."""
        if stopped := self.machine.stopped():
            places = ", ".join(f"CPU {number} at {place}" for number, place in stopped.items())
            self.machine.agent.give_up(
                f"the guest said nothing for {quiet}s after '{self._last()}', with {places}"
            )

    def await_line(self, beginning):
        """Waits until the guest has printed a line that begins so, and returns it; a guest that
        ends never will.
        """
        limit = self._limit(self.guest.timeout)
        while not limit.over():
            time.sleep(0.2)
            state = self.machine.agent.ask("state", domain=self.domain)
            if found := next(
                (line.strip() for line in self.printed() if line.startswith(beginning)), None
            ):
                return found
            if state != "running":
                self._failed(f"the guest ended ({state}) before it said '{beginning}'")
                raise Unexpected(self.outcome.reason)
        self.outcome.stacks = self.machine.stacks()
        raise Unexpected(
            f"the guest did not say '{beginning}' in {self.guest.timeout:.0f}s;"
            f" its last line: {self._last()}"
        )

    def detach(self, device):
        """Takes a device from the running guest (xl pci-detach)."""
        self._complete_list()
        self.breaks.append(guests.Break((device,), time.time()))
        self._xl(f"pci-detach {self.guest.name} {device}")

    def attach(self, device):
        """Gives a device to the running guest (xl pci-attach)."""
        self.breaks[-1].end = time.time()
        self._xl(f"pci-attach {self.guest.name} {device}")
        self.breaks[-1].run = time.time()

    def reboot(self):
        """Lets the toolstack restart the guest, and waits until it speaks again."""
        self._complete_list()
        self.breaks.append(guests.Break(self.guest.devices, time.time()))
        before = self.domain
        self._xl(f"reboot {self.guest.name}")
        limit = self._limit(CREATE_SECONDS)
        while (found := self.machine.agent.ask("find", name=self.guest.name)) in (None, before):
            if limit.over():
                raise Unexpected(f"the guest did not restart in {CREATE_SECONDS}s")
            time.sleep(0.1)
        self.breaks[-1].end = time.time()
        self.earlier += self.printed()
        self.domain = found
        while not self.printed():
            if limit.over():
                raise Unexpected(f"the guest said nothing in {CREATE_SECONDS}s after its restart")
            time.sleep(0.1)
        self.breaks[-1].run = time.time()

    def _complete_list(self):
        if self.guest.device_model == "stubdom":
            self.machine.agent.ask("list_devices", domain=self.domain, devices=self.guest.devices)

    def _xl(self, command):
        status, output = self.machine.agent.run(f"xl {command}", CREATE_SECONDS)
        if status != 0:
            raise Unexpected(f"'xl {command}' failed: {_complaint(output)}")

    def printed(self):
        """What the guest printed, since it last started."""
        return guests.printed_by(self.machine.lines_after(self.console_mark), self.domain)

    def _last(self):
        return (self.printed() or ["none"])[-1]

    def _ended(self):
        """True when the guest said its last line, or can say no more; sets the outcome."""
        # Asked before the console is read: a domain that is gone has said all it will.
        state = self.machine.agent.ask("state", domain=self.domain)
        printed = self.printed()
        if word := guests.result_word(printed):
            self.outcome.status, self.outcome.reason = word, guests.reason_of(printed, word)
            return True
        if state != "running":
            self.machine.settled(self.console_mark, 0.2)
            self._failed(f"the guest ended without a result ({state})")
            return True
        return False

    def _read_trace(self):
        """What the guest's devices got between assignment and the end."""
        text, outcome = self.machine.trace_after(self.trace_mark), self.outcome
        outcome.layouts = {device: self.machine.layouts[device] for device in self.guest.devices}
        outcome.config_writes = self._made(trace.Write, trace.parse(text, self.machine.cpus))
        outcome.table_writes = self._made(
            trace.TableWrite, trace.parse_tables(text, outcome.layouts)
        )

    def _made(self, kind, found):
        dom0 = frozenset(self.machine.processors.dom0)
        return [kind(*write, self._phase(write), dom0) for write in found if self._concerns(write)]

    def _limit(self, seconds):
        return patience.Limit(self.machine.clock, seconds)

    def _concerns(self, write):
        time_of, device = write[:2]
        return device in self.guest.devices and self.begin <= time_of <= (self.end or time.time())

    def _phase(self, write):
        if any(kept.run and kept.end <= write[0] < kept.run for kept in self.breaks):
            return "assign"
        return "run" if self.unpaused and write[0] >= self.unpaused else "assign"


def _complaint(output):
    """The first error of xl, in one line."""
    # Devices without a reset of their own are no fault.
    lines = [
        line.strip()
        for line in output.splitlines()
        if line.strip() and "support reset from sysfs" not in line
    ]
    return next(
        (line for line in lines if "rror" in line), lines[-1] if lines else "it said nothing"
    )


def _base64(content):
    data = content.encode() if isinstance(content, str) else Path(content).read_bytes()
    return base64.b64encode(data).decode()
