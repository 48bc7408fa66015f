# SPDX-License-Identifier: GPL-2.0-only
"""Lines of JSON to and from the machine: dom0's agent, and QEMU's monitor."""

import json
import socket
import time

from .. import console


class Down(Exception):
    """The machine ended, or no longer answers."""


class Lines:
    """One connection that speaks a JSON document a line."""

    def __init__(self, path):
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
        """The next document; raises Down when none comes in `timeout` seconds."""
        end = time.monotonic() + timeout
        while b"\n" not in self.rest:
            self.socket.settimeout(max(end - time.monotonic(), 0.01))
            try:
                block = self.socket.recv(65536)
            except OSError as error:
                raise Down("no answer in time") from error
            if not block:
                raise Down("it ended")
            self.rest += block
        line, self.rest = self.rest.split(b"\n", 1)
        return json.loads(line)

    def close(self):
        """Closes the connection."""
        self.socket.close()


class Agent(Lines):
    """dom0's agent; its requests are the methods of Requests in rig/dom0/agent.py."""

    def ask(self, request, wait=60, **arguments):
        """The answer to one request; `wait` is in seconds."""
        self.send({"do": request, **arguments})
        answer = self.receive(wait)
        if "error" in answer:
            raise console.Failure(f"dom0 could not '{request}': {answer['error']}")
        return answer["ok"]

    def run(self, command, timeout=60):
        """Runs a shell command in dom0; returns its status (None: out of time) and its output."""
        return self.ask("run", wait=timeout + 30, command=command, timeout=timeout)


class Monitor(Lines):
    """QEMU's own monitor (QMP)."""

    def __init__(self, path):
        super().__init__(path)
        self.receive(30)
        self.ask("qmp_capabilities")

    def ask(self, execute, **arguments):
        """The answer to one command."""
        self.send({"execute": execute, "arguments": arguments})
        while True:
            document = self.receive(30)
            if "return" in document:
                return document["return"]

    def cpus(self):
        """The host's thread ids of the machine's CPUs, each with the number of its CPU."""
        return {cpu["thread-id"]: cpu["cpu-index"] for cpu in self.ask("query-cpus-fast")}
