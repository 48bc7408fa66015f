# SPDX-License-Identifier: GPL-2.0-only
"""Lines of JSON to and from the machine: dom0's agent, and QEMU's monitor."""

import json
import socket
import time

from .. import console
from . import patience

# Seconds between two looks at the clock.
_LOOK = 0.5


class Down(Exception):
    """The machine ended, or no longer answers."""


class Lines:
    """One connection that speaks a JSON document a line."""

    def __init__(self, path, clock=time.monotonic):
        self.clock = clock
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(str(path))
        self.rest = b""

    def send(self, document):
        """Sends one document."""
        try:
            self.socket.settimeout(30)
            self.socket.sendall(json.dumps(document).encode() + b"\n")
        except OSError as error:
            raise Down(str(error)) from error

    def receive(self, timeout):
        """The next document; raises Down when none comes in `timeout` seconds of the clock."""
        limit = patience.Limit(self.clock, timeout)
        while b"\n" not in self.rest:
            self.socket.settimeout(min(timeout, _LOOK))
            try:
                block = self.socket.recv(65536)
            except TimeoutError as error:
                if limit.over():
                    raise Down("no answer in time") from error
                continue
            except OSError as error:
                raise Down(str(error)) from error
            if not block:
                raise Down("it ended")
            self.rest += block
        line, self.rest = self.rest.split(b"\n", 1)
        return json.loads(line)

    def close(self):
        """Closes the connection."""
        self.socket.close()


# How long dom0 may take to answer what it need only look up: two looks of a machine that is alive
# are never as far apart.
PROMPT = 20


class Agent(Lines):
    """dom0's agent; its requests are the methods of Requests in rig/dom0/agent.py."""

    def __init__(self, path, clock=time.monotonic):
        super().__init__(path, clock)
        self.down = None

    def ask(self, request, wait=PROMPT, **arguments):
        """The answer to one request; `wait` is in seconds. One that did not come in time is the
        last that was asked.
        """
        if self.down:
            raise self.down
        try:
            self.send({"do": request, **arguments})
            answer = self.receive(wait)
        except Down as down:
            self.down = down
            raise
        if "error" in answer:
            raise console.Failure(f"dom0 could not '{request}': {answer['error']}")
        return answer["ok"]

    def give_up(self, reason):
        """Nothing is asked any more: the machine has stopped in another way than by no answer."""
        self.down = Down(reason)
        raise self.down

    def run(self, command, timeout=60):
        """Runs a shell command in dom0; returns its status (None: out of time) and its output."""
        return self.ask("run", wait=timeout + PROMPT, command=command, timeout=timeout)


class Monitor(Lines):
    """QEMU's own monitor (QMP)."""

    def __init__(self, path, clock=time.monotonic):
        super().__init__(path, clock)
        self.receive(30)
        self.ask("qmp_capabilities")

    def ask(self, execute, **arguments):
        """The answer to one command."""
        self.send({"execute": execute, "arguments": arguments})
        while True:
            document = self.receive(30)
            if "return" in document:
                return document["return"]
            if "error" in document:
                raise console.Failure(f"QEMU refused '{execute}': {document['error'].get('desc')}")

    def say(self, line, cpu=0):
        """What QEMU's monitor for people answers; `cpu` is the one whose memory is meant."""
        return self.ask("human-monitor-command", **{"command-line": line, "cpu-index": cpu})

    def cpus(self):
        """The host's thread ids of the machine's CPUs, each with the number of its CPU."""
        return {cpu["thread-id"]: cpu["cpu-index"] for cpu in self.ask("query-cpus-fast")}
