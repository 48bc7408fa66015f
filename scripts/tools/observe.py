# SPDX-License-Identifier: GPL-2.0-only
"""Judges what reached a device's MSI and MSI-X registers, from QEMU's trace: the view from outside.

Nothing here asks msitrap or Xen: the writes are what the emulated device got, and where its
registers are was read from the device itself. A `result` is a rig.Result.
"""

from dataclasses import dataclass, field, replace

from .rig import DEVICES, TableWrite, made_by_xen

COMMAND = 0x04
_MEMORY, _INTX_DISABLE = 1 << 1, 1 << 10
# PCI Local Bus specification 3.0, 6.8.1.3 and 6.8.2.3: Message Control.
_MSI_ENABLE, _MSIX_ENABLE, _FUNCTION_MASK = 1, 1 << 15, 1 << 14
# The same, 6.8.2.6 to 6.8.2.9: an entry of the MSI-X table.
_ENTRY_DATA, _ENTRY_CONTROL = 8, 12
_MESSAGE = {0, 4, _ENTRY_DATA}
# A virtual function has no memory decoding of its own.
_VIRTUAL = {device.address for device in DEVICES.values() if device.physical}


@dataclass(frozen=True)
class Form:
    """What the messages look like that Xen composes under one kind of interrupt remapping."""

    address_mask: int
    address: int
    data_mask: int
    data: int
    vectors: range | None = (
        None  # what the other bits of the data may be; None: less than the device's vectors
    )

    def address_fits(self, value, shift):
        """Whether a half of the address is of this form; `shift` is 0 for the lower, 32 for the
        upper.
        """
        return not (value ^ self.address >> shift) & self.address_mask >> shift & 0xFFFFFFFF

    def data_fits(self, value, vectors):
        """Whether data are of this form, for a device of so many vectors."""
        return value & self.data_mask == self.data and value & ~self.data_mask in (
            self.vectors or range(vectors)
        )


FORMS = {
    # AMD I/O virtualisation specification, 2.2.5: the low 11 bits of the data are the index into
    # the device's own table, which Xen fills from the first entry on; Xen keeps the address in the
    # plain format with no destination, and the level bit (14) as it composes every message.
    "amd-vi": Form(0xFFFFFFFF_FFFFFFF3, 0xFEE00000, 0xFFFFF800, 0x4000),
    # Intel VT-d specification, 5.1.2.2: remappable format (bit 4) with the handle in the address,
    # and no more than the number of the message (bit 3) in the data, which is 0 for the first.
    "vt-d": Form(0xFFFFFFFF_FFF00018, 0xFEE00018, 0xFFFFFFFF, 0),
    # Without remapping, AMD64 Architecture Programmer's Manual, volume 2, 16.11: in the plain
    # format the destination is Xen's choice, and of the data a vector that no exception has; fixed,
    # edge triggered, the level bit as above.
    "none": Form(0xFFFFFFFF_FFF00FF3, 0xFEE00000, 0xFFFFFF00, 0x4000, range(0x20, 0xFF)),
}


def order(result, phase=None):
    """The writes to the registers that matter, as REGISTER <- VALUE, repeats left out; `phase`
    chooses, None is all.
    """
    told = [
        f"{_name(w)} <- {w.value:#x}"
        for w in _in_order(result)
        if phase in (None, w.phase)
        and (_is_table(w) or w.register == COMMAND or _registers(result, w).owns(w))
    ]
    return [text for text, before in zip(told, [None, *told]) if text != before]


def by_dom0(result):
    """The writes to the devices' message interrupts that dom0 made: xen-pciback, for the stub
    domain.

    Not counted is what Xen switches off at assignment, which it does within dom0's own hypercall.
    """
    return [
        w
        for w in _in_order(result)
        if w.by_dom0 and (_is_table(w) or _not_first_off(_registers(result, w), w))
    ]


def enables(result):
    """The writes that set a device's MSI or MSI-X enable bit."""
    return [
        w
        for w in result.config_writes
        if any(on for _kind, on, _value in _registers(result, w).controls(w))
    ]


def controls(result, write):
    """What a write puts into Message Control: (capability, enabled, value) of each; nothing when it
    touches none.
    """
    return () if _is_table(write) else _registers(result, write).controls(write)


def as_xens(result, times):
    """A result in which what was written at these times (begin, end) is Xen's, on whatever
    processor.
    """

    def made(writes):
        return [
            made_by_xen(w) if any(begin <= w.time <= end for begin, end in times) else w
            for w in writes
        ]

    return replace(
        result, config_writes=made(result.config_writes), table_writes=made(result.table_writes)
    )


def faults(result, iommu, enable_allowed=True):
    """What breaks the invariants of managed devices, as sentences."""
    found = [f"dom0 wrote {_name(w)} <- {w.value:#x}" for w in by_dom0(result)]
    if not enable_allowed:
        found += [
            f"{_kind_of(result, w)} was switched on ({_name(w)} <- {w.value:#x})"
            for w in enables(result)
        ]
    watches = {
        device: _Watch(layout, FORMS[iommu], device in _VIRTUAL)
        for device, layout in result.layouts.items()
    }
    for write in _in_order(result):
        found += watches[write.device].step(write)
    return found


class _Registers:
    """Where the writable registers of a function's message capabilities are."""

    def __init__(self, layout):
        self.msi, self.msix = layout.msi, layout.msix
        self.data = self.msi.offset + (12 if self.msi.wide else 8) if self.msi else None

    def owns(self, write):
        """Whether a write touches what software may change; the first two bytes of a capability are
        read-only.
        """
        if any(self.controls(write)):
            return True
        end = self.data + (8 if self.msi.masks else 2) if self.msi else 0
        return bool(self.msi) and self.msi.offset + 4 <= write.register < end

    def controls(self, write):
        """What a write puts into Message Control: (capability, enabled, value); nothing when it
        does not touch it.
        """
        for kind, capability, enable in (
            ("MSI", self.msi, _MSI_ENABLE),
            ("MSI-X", self.msix, _MSIX_ENABLE),
        ):
            if capability is None:
                continue
            if write.register == capability.offset + 2:
                yield kind, bool(write.value & enable), write.value & 0xFFFF
            elif write.register == capability.offset and write.value > 0xFFFF:
                yield kind, bool(write.value >> 16 & enable), write.value >> 16


@dataclass
class _Entry:
    """An entry of an MSI-X table; after a reset it is masked."""

    masked: bool = True
    message: dict = field(default_factory=dict)  # value by register


class _Watch:
    """Follows one function's registers write by write."""

    def __init__(self, layout, form, virtual):
        self.registers, self.form, self.virtual = _Registers(layout), form, virtual
        self.on = {"MSI": False, "MSI-X": False}
        self.intx_off, self.memory, self.function_mask = False, None, False
        self.message, self.entries = {}, {}

    def step(self, write):
        """Takes one write; yields what is wrong with it."""
        if _is_table(write):
            yield from self._table(write)
        elif write.register in (COMMAND, COMMAND + 1):
            yield from self._command(write)
        elif controls := list(self.registers.controls(write)):
            for control in controls:
                yield from self._control(*control)
        elif self.registers.owns(write) and write.register < self.registers.data + 4:
            yield from self._msi_message(write)

    def _command(self, write):
        value = write.value if write.register == COMMAND else write.value << 8
        self.intx_off = bool(value & _INTX_DISABLE)
        if write.register == COMMAND:
            self.memory = self.virtual or bool(value & _MEMORY)
        for kind, on in self.on.items():
            if on and not self.intx_off:
                yield f"INTx was allowed while {kind} was on"

    def _control(self, kind, on, value):
        turned_on = on and not self.on[kind]
        if kind == "MSI-X":
            yield from self._msix_control(on, value)
        self.on[kind] = on
        if turned_on and not self.intx_off:
            yield f"{kind} was switched on while INTx was allowed"
        if turned_on and all(self.on.values()):
            yield f"{kind} was switched on while the other message capability was on"
        if kind == "MSI" and on:
            yield from self._msi_on(value, turned_on)

    def _msi_on(self, value, turned_on):
        count, vectors = 1 << (value >> 4 & 7), self.registers.msi.vectors
        if count > vectors:
            yield f"{count} vectors were switched on, of {vectors}"
        wanted = {self.registers.msi.offset + 4, self.registers.data}
        wanted |= {self.registers.msi.offset + 8} if self.registers.msi.wide else set()
        if turned_on and self.message.keys() != wanted:
            yield "MSI was switched on before its message was complete"
        # The device puts the number of the vector into the low bits.
        if self.message.get(self.registers.data, 0) & (count - 1):
            yield f"the message of {count} vectors has data that are no multiple of their number"

    def _msi_message(self, write):
        self.message[write.register] = write.value
        if write.register == self.registers.data:
            yield from self._data(write, self.registers.msi.vectors)
        else:
            yield from self._address(write, write.register - self.registers.msi.offset - 4)

    def _msix_control(self, on, value):
        before = self._delivers()
        self.on["MSI-X"], self.function_mask = on, bool(value & _FUNCTION_MASK)
        if self._delivers() and not before:
            for number in self.entries:
                yield from self._live(number)

    def _table(self, write):
        if self.memory is False:
            yield f"{_name(write)} was written while memory decoding was off"
        if write.vector is None:
            yield "the pending bits were written"
            return
        for register, value in _halves(write):
            yield from self._entry(write, register, value)

    def _entry(self, write, register, value):
        entry = self.entries.setdefault(write.vector, _Entry())
        if register == _ENTRY_CONTROL:
            entry.masked = bool(value & 1)
            if self._delivers():
                yield from self._live(write.vector)
            return
        if self._delivers() and not entry.masked:
            yield f"{_name(write)} was changed while the entry was unmasked"
        entry.message[register] = value
        if register == _ENTRY_DATA:
            yield from self._data(write, self.registers.msix.vectors, value)
        else:
            yield from self._address(write, register, value)

    def _delivers(self):
        return self.on["MSI-X"] and not self.function_mask

    def _live(self, number):
        """What is wrong with an entry from which an interrupt may now come, if one may."""
        entry = self.entries[number]
        if entry.masked:
            return
        if entry.message.keys() != _MESSAGE:
            yield f"entry {number} was let go before its message was complete"
        for other, its in self.entries.items():
            if other != number and not its.masked and its.message == entry.message:
                yield f"entries {min(number, other)} and {max(number, other)} have the same message"

    def _address(self, write, offset, value=None):
        value = write.value if value is None else value
        if not self.form.address_fits(value, offset * 8):
            yield f"{_name(write)}: address {value:#x} is not of Xen's making"

    def _data(self, write, vectors, value=None):
        value = write.value if value is None else value
        if not self.form.data_fits(value, vectors):
            yield f"{_name(write)}: data {value:#x} is not of Xen's making"


def _in_order(result):
    """All writes to config space and tables, by time."""
    return sorted([*result.config_writes, *result.table_writes], key=lambda write: write.time)


def _registers(result, write):
    return _Registers(result.layouts[write.device])


def _is_table(write):
    return isinstance(write, TableWrite)


def _not_first_off(registers, write):
    return registers.owns(write) and not (
        write.phase == "assign"
        and any(registers.controls(write))
        and not any(on for _k, on, _v in registers.controls(write))
    )


def _kind_of(result, write):
    return next(kind for kind, on, _value in _registers(result, write).controls(write) if on)


def _halves(write):
    """A write to an entry as (register, value) of each dword."""
    yield write.register, write.value & 0xFFFFFFFF
    if write.size == 8:
        yield write.register + 4, write.value >> 32


def _name(write):
    if not _is_table(write):
        return "COMMAND" if write.register == COMMAND else f"{write.register:#x}"
    return (
        f"pending {write.register:#x}"
        if write.vector is None
        else f"entry {write.vector} {write.register:#x}"
    )
