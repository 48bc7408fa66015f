# SPDX-License-Identifier: GPL-2.0-only
"""The host's side of QEMU's ivshmem-doorbell: the device's shared memory, and the bells of its
vectors.

The protocol is that of QEMU's docs/specs/ivshmem-spec, "Interrupts": the server tells the one
client its number, then hands it the memory, then one eventfd for each vector.
"""

import os
import socket
import struct
import threading

from .. import console

_VERSION, _CLIENT, _MEMORY = 0, 0, -1
_SIZE = 1 << 20


class Doorbell:
    """Listens at `path` for one device with `vectors` vectors."""

    def __init__(self, path, vectors):
        self.bells = [os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in range(vectors)]
        self.memory = os.memfd_create("doorbell")
        os.ftruncate(self.memory, _SIZE)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(path))
        self.listener.listen(1)
        self.client = None
        threading.Thread(target=self._serve, daemon=True).start()

    def ring(self, vector):
        """Fires one vector of the device."""
        if not 0 <= vector < len(self.bells):
            raise console.Failure(
                f"the doorbell has no vector {vector}", f"It has 0 to {len(self.bells) - 1}."
            )
        os.eventfd_write(self.bells[vector], 1)

    def fill(self, content):
        """Puts bytes at the beginning of the device's memory."""
        os.pwrite(self.memory, content, 0)

    def close(self):
        """Ends it."""
        for line in (self.listener, self.client):
            if line:
                line.close()
        for file in (*self.bells, self.memory):
            os.close(file)

    def _serve(self):
        try:
            self.client, _address = self.listener.accept()
            for number, files in self._greeting():
                socket.send_fds(self.client, [struct.pack("<q", number)], files)
        except OSError:
            # The machine ended before it asked.
            return

    def _greeting(self):
        yield _VERSION, []
        yield _CLIENT, []
        yield _MEMORY, [self.memory]
        for bell in self.bells:
            yield _CLIENT, [bell]
