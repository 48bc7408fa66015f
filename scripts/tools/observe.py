# SPDX-License-Identifier: GPL-2.0-only
"""Judges what reached a device's MSI registers, from QEMU's trace: the view from outside.

Nothing here asks msitrap or Xen: the writes are what the emulated device got.
"""

from dataclasses import dataclass

# The MSI capability of the emulated device (QEMU's edu): 64-bit, without mask bits.
CAPABILITY = 0x40
COMMAND, CONTROL, ADDRESS, DATA = 0x04, CAPABILITY + 2, CAPABILITY + 4, CAPABILITY + 12
END = CAPABILITY + 14
_INTX_DISABLE = 1 << 10
_ENABLE = 1


@dataclass(frozen=True)
class Form:
    """What the messages look like that Xen composes under one kind of interrupt remapping."""

    address_mask: int
    address: int
    data: int


FORMS = {
    # AMD I/O virtualisation specification, 2.2.5: the data holds the index into the device's own table, here its first entry;
    # Xen keeps the address in the plain format, and the level bit (14) as it composes every message.
    "amd-vi": Form(0xFFFFFFFF_FFF00FF3, 0xFEE00000, 0x4000),
    # Intel VT-d specification, 5.1.2.2: remappable format (bit 4) with the handle in the address.
    "vt-d": Form(0xFFFFFFFF_FFF00010, 0xFEE00010, 0),
}


def order(writes):
    """The writes to the registers that matter, as REGISTER <- VALUE, repeats left out."""
    told = [f"{_name(w)} <- {w.value:#x}" for w in writes if _is_msi(w) or w.register == COMMAND]
    return [text for text, before in zip(told, [None, *told]) if text != before]


def by_dom0(writes):
    """The writes to the device's MSI registers that dom0 made: xen-pciback, for the stub domain.

    Not counted is MSI switched off at assignment, which Xen does within dom0's own hypercall.
    """
    return [w for w in writes if w.by_dom0 and _is_msi(w) and not _is_first_off(w)]


def enables(writes):
    """The writes that set the device's MSI enable bit."""
    return [w for w in writes if (control := _control(w)) is not None and control & _ENABLE]


def faults(writes, iommu, enable_allowed=True):
    """What breaks the invariants of a managed device, as sentences."""
    found = [f"dom0 wrote {_name(w)} <- {w.value:#x}" for w in by_dom0(writes)]
    if not enable_allowed:
        found += [f"MSI was switched on ({_name(w)} <- {w.value:#x})" for w in enables(writes)]
    watch = _Watch(FORMS[iommu])
    for write in writes:
        found += watch.step(write)
    return found


class _Watch:
    """Follows the device's registers write by write."""

    def __init__(self, form):
        self.form = form
        self.enabled, self.intx_off = False, False
        self.address, self.written = 0, set()

    def step(self, write):
        """Takes one write; yields what is wrong with it."""
        if write.register == COMMAND:
            yield from self._command(write)
        elif (control := _control(write)) is not None:
            yield from self._enable(control)
        elif ADDRESS <= write.register < DATA:
            yield from self._address(write)
        elif DATA <= write.register < END:
            self.written.add(DATA)
            if write.value != self.form.data:
                yield f"data {write.value:#x} is not of Xen's making"

    def _command(self, write):
        self.intx_off = bool(write.value & _INTX_DISABLE)
        if self.enabled and not self.intx_off:
            yield "INTx was allowed while MSI was on"

    def _enable(self, control):
        turned_on = bool(control & _ENABLE) and not self.enabled
        self.enabled = bool(control & _ENABLE)
        if turned_on and not self.intx_off:
            yield "MSI was switched on while INTx was allowed"
        if turned_on and self.written != {ADDRESS, ADDRESS + 4, DATA}:
            yield "MSI was switched on before its message was complete"

    def _address(self, write):
        shift = (write.register - ADDRESS) * 8
        mask, wanted = self.form.address_mask >> shift, self.form.address >> shift
        self.written.add(write.register)
        if write.value & mask & 0xFFFFFFFF != wanted & 0xFFFFFFFF:
            yield f"address {write.value:#x} at {write.register:#x} is not of Xen's making"


def _is_msi(write):
    """Whether a write touches what software may change of the capability; its first two bytes are read-only."""
    return CONTROL <= write.register < END or (write.register == CAPABILITY and write.value > 0xFFFF)


def _is_first_off(write):
    return write.phase == "assign" and _control(write) is not None and not _control(write) & _ENABLE


def _control(write):
    """What a write puts into Message Control, None when it does not touch it."""
    if write.register == CONTROL:
        return write.value & 0xFFFF
    return write.value >> 16 if write.register == CAPABILITY and write.value > 0xFFFF else None


def _name(write):
    return "COMMAND" if write.register == COMMAND else f"{write.register:#x}"
