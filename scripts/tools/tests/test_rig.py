# SPDX-License-Identifier: GPL-2.0-only
"""The emulated machine: what is read from its trace and console, and what counts as the emulator's
own fault.
"""

import gzip
import os
import socket
import struct
import tempfile
import unittest
from pathlib import Path

from tools import console
from tools.rig import channel, devices, doorbell, emulator, guest, kernel, machine, trace

# A guest's state as Xen prints it before a triple fault, with the code segment and address of RIP
# to fill in.
FAULT = """\
(XEN) *** Dumping Dom3 vcpu#0 state: ***
(XEN) ----[ Xen-4.20.4  x86_64  debug=n  Not tainted ]----
(XEN) CPU:    1
(XEN) RIP:    {}
(XEN) RFLAGS: 0000000000010046   CONTEXT: hvm guest (d3v0)
(XEN) d3v0 Triple fault - invoking HVM shutdown action 1
"""


class Trace(unittest.TestCase):
    def test_a_write_names_its_device_register_value_and_cpu(self):
        text = (
            "71@1795465053.691545:pci_cfg_write edu 00:1f.0 @0x42 <- 0x81\n"
            "72@5.5:pci_cfg_write edu 00:04.0 @0x4 <- 0x103\n"
        )
        self.assertEqual(
            trace.parse(text, {71: 0}),
            [(1795465053.691545, "00:1f.0", 0x42, 0x81, 0), (5.5, "00:04.0", 0x04, 0x103, None)],
        )

    def test_other_lines_are_no_writes(self):
        self.assertEqual(
            trace.parse("CPU Reset (CPU 0)\n71@1.0:pci_cfg_write edu 00:04.0 @0x4", {}), []
        )


class Tables(unittest.TestCase):
    MSIX = devices.Msix(0x40, 65, 0xFEBF2000, 0, 0x2000, 0xFEBF3000, 0, 0x3000)
    LAYOUTS = {"00:0b.0": devices.Layout(None, MSIX), "00:04.0": devices.Layout(None, None)}
    LINE = (
        "71@5.25:memory_region_ops_write cpu {} mr 0x5555 addr {:#x} value 0x4000 size 4"
        " name '{}'\n"
    )

    def _found(self, cpu, address, name="msix-table"):
        return trace.parse_tables(self.LINE.format(cpu, address, name), self.LAYOUTS)

    def test_a_write_names_its_device_entry_and_register(self):
        self.assertEqual(self._found(1, 0xFEBF2408), [(5.25, "00:0b.0", 64, 8, 0x4000, 4, 1)])

    def test_no_cpu_is_told_apart(self):
        self.assertIsNone(self._found(-1, 0xFEBF2000)[0][-1])

    def test_pending_bits_are_no_entry(self):
        self.assertEqual(
            self._found(0, 0xFEBF3008, "msix-pba"), [(5.25, "00:0b.0", None, 8, 0x4000, 4, 0)]
        )

    def test_what_is_beyond_the_table_is_left_out(self):
        self.assertEqual(self._found(1, 0xFEBF2410), [])
        self.assertEqual(self._found(1, 0xFEBF2000, "nvme"), [])


class Layouts(unittest.TestCase):
    def _config(self, *capabilities):
        config = bytearray(256)
        config[0x06] = 0x10
        place = 0x34
        for offset, content in capabilities:
            config[place], place = offset, offset + 1
            config[offset : offset + 1] = content[:1]
            config[offset + 2 : offset + 1 + len(content)] = content[1:]
        return bytes(config)

    def test_message_control_tells_what_a_device_has(self):
        # 16 vectors, 64-bit, mask bits.
        found = devices.layout(self._config((0x70, b"\x01"), (0x50, b"\x05\x88\x01")), [0] * 6)
        self.assertEqual(found, devices.Layout(devices.Msi(0x50, True, True, 16), None))

    def test_tables_stand_in_their_base_addresses(self):
        content = b"\x11" + bytes.fromhex("5702" "03200000" "04080000")
        found = devices.layout(self._config((0x40, content)), [0, 0, 0, 0x10000, 0x20000, 0]).msix
        self.assertEqual(found, devices.Msix(0x40, 0x258, 0x12000, 3, 0x2000, 0x20800, 4, 0x800))

    def test_a_chain_that_bites_its_tail_ends(self):
        config = bytearray(self._config((0x40, b"\x01")))
        config[0x41] = 0x40
        self.assertEqual(devices.layout(bytes(config), [0] * 6), devices.Layout(None, None))


class EmulatorFault(unittest.TestCase):
    def test_a_guest_with_the_hypervisors_state_is_the_emulators_fault(self):
        self.assertTrue(
            guest.emulator_fault(FAULT.format("e008:[<ffff82d0402a1b2c>]").splitlines())
        )

    def test_any_other_triple_fault_is_the_guests(self):
        for place in (
            "0010:[<0000000000101234>]",
            "e008:[<ffffffff8100abcd>]",
            "0008:[<ffff82d0402a1b2c>]",
        ):
            self.assertFalse(guest.emulator_fault(FAULT.format(place).splitlines()), place)

    def test_the_state_alone_is_no_fault(self):
        lines = FAULT.format("e008:[<ffff82d0402a1b2c>]").splitlines()[:-1]
        self.assertFalse(guest.emulator_fault(lines))


class End(unittest.TestCase):
    SAID = (
        "2026-11-24T22:05:13.0Z qemu-system-x86_64: warning: TCG doesn't support requested feature:"
        " CPUID\n"
        "2026-11-24T22:05:13.1Z qemu-system-x86_64: -device e1000e,addr=04.0: PCI: slot 4"
        " function 0 not available\n"
    )

    def test_what_qemu_complained_of_is_told(self):
        self.assertEqual(
            machine.complaint(self.SAID),
            "-device e1000e,addr=04.0: PCI: slot 4 function 0 not available",
        )

    def test_a_warning_is_no_complaint(self):
        self.assertEqual(machine.complaint(self.SAID.splitlines()[0]), "")
        with tempfile.TemporaryDirectory() as folder:
            console_log, qemu_log = Path(folder) / "console", Path(folder) / "qemu"
            console_log.write_text("Panic on CPU 0\n")
            qemu_log.write_text(self.SAID.splitlines()[0])
            self.assertIn(console_log, machine.ended(0, console_log, qemu_log))
            qemu_log.write_text(self.SAID)
            self.assertIn("slot 4", machine.ended(1, console_log, qemu_log)[0])


class Agent(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.addCleanup(listener.close)
        listener.bind(f"{folder.name}/agent")
        listener.listen(1)
        times = iter(range(0, 1000, 50))
        self.agent = channel.Agent(f"{folder.name}/agent", lambda: next(times))
        self.addCleanup(self.agent.close)
        self.other, _address = listener.accept()
        self.addCleanup(self.other.close)

    def test_an_answer_that_did_not_come_is_not_waited_for_again(self):
        with self.assertRaises(channel.Down):
            self.agent.ask("version", wait=0.01)
        self.other.sendall(b'{"ok": 1}\n')
        with self.assertRaises(channel.Down):
            self.agent.ask("version")

    def test_a_machine_that_is_given_up_is_asked_nothing(self):
        with self.assertRaises(channel.Down):
            self.agent.give_up("it stopped")
        with self.assertRaisesRegex(channel.Down, "it stopped"):
            self.agent.ask("version")


class Guest(unittest.TestCase):
    def test_only_its_own_lines_are_the_guests(self):
        lines = [
            "(XEN) (d1) a",
            "(d1) Test result: SUCCESS",
            "(d11) Test result: FAILURE",
            "(XEN) other",
        ]
        self.assertEqual(guest.result_word(guest.printed_by(lines, 1)), "SUCCESS")

    def test_no_word_is_no_result(self):
        self.assertIsNone(guest.result_word(["Test result: MAYBE", "SUCCESS"]))

    def test_the_reason_is_the_line_that_says_so(self):
        printed = ["FAILURE: no interrupt", "cleaning up", "Test result: FAILURE"]
        self.assertEqual(guest.reason_of(printed, "FAILURE"), "FAILURE: no interrupt")
        self.assertEqual(guest.reason_of(["Test result: SUCCESS"], "SUCCESS"), "")

    def test_pciback_is_permissive_only_when_asked(self):
        image = Path("/image")
        plain = guest.config(guest.Guest("g", image, devices=("00:04.0",)), image, "")
        self.assertNotIn("permissive", plain)
        self.assertIn("pci=['00:04.0']", plain)
        opened = guest.Guest("g", image, devices=("00:04.0",), pciback="permissive")
        self.assertIn("permissive=1", guest.config(opened, image, ""))

    def test_linux_is_started_from_the_stub_domains_ramdisk(self):
        words = guest.config(guest.Guest("g", linux="rig.steps=a"), None, "")
        self.assertIn('stubdomain_ramdisk="/linux/stubdom-ramdisk"', words)
        self.assertIn(' rig.steps=a"', words)
        self.assertNotIn("firmware_override", words)

    def test_only_a_guest_that_restarts_is_restarted(self):
        self.assertIn('on_reboot="preserve"', guest.config(guest.Guest("g", linux="a"), None, ""))
        self.assertIn(
            'on_reboot="restart"',
            guest.config(guest.Guest("g", linux="a", restarts=True), None, ""),
        )


class Devices(unittest.TestCase):
    def test_no_two_stand_at_one_address(self):
        known = [address for device in devices.DEVICES.values() for address in device.addresses]
        self.assertEqual(len(known), len(set(known)))

    def test_files_are_in_the_machines_own_folder(self):
        words = " ".join(
            word for device in devices.DEVICES.values() for word in device.words("/own")
        )
        self.assertNotIn("{folder}", words)
        self.assertIn("/own/doorbell", words)

    def test_a_virtual_function_has_no_words_and_a_physical_one(self):
        virtual = devices.DEVICES["igbvf"]
        self.assertEqual(virtual.words("/own"), [])
        self.assertIn(
            virtual.physical,
            [device.address for device in devices.DEVICES.values() if not device.hidden],
        )

    def test_the_pattern_is_that_of_the_linux_guest(self):
        source = (kernel.paths.TOP / "rig/linux/disk.rs").read_text()
        step = int(devices.pattern()[7::-1].hex(), 16)
        self.assertIn(f"STEP: u64 = {step:#X};".replace("0X", "0x"), source.replace("_", ""))

    def test_a_disk_begins_with_the_pattern(self):
        with tempfile.TemporaryDirectory() as folder:
            devices.DEVICES["ahci"].make_disk(folder)
            made = (Path(folder) / devices.DEVICES["ahci"].address).read_bytes()
        self.assertEqual(len(made), devices.DEVICES["ahci"].disk << 20)
        self.assertTrue(made.startswith(devices.pattern()))


class Doorbell(unittest.TestCase):
    def test_the_device_gets_its_memory_and_then_a_bell_for_each_vector(self):
        with tempfile.TemporaryDirectory() as folder:
            server = doorbell.Doorbell(Path(folder) / "socket", 2)
            self.addCleanup(server.close)
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
                client.connect(f"{folder}/socket")
                told = [self._message(client) for _ in range(5)]
            server.ring(1)
        self.assertEqual([number for number, _files in told], [0, 0, -1, 0, 0])
        self.assertEqual(os.eventfd_read(told[4][1][0]), 1)
        self.assertRaises(BlockingIOError, os.eventfd_read, told[3][1][0])
        with self.assertRaises(console.Failure):
            server.ring(2)

    def _message(self, client):
        data, files, _flags, _address = socket.recv_fds(client, 8, 1)
        for file in files:
            self.addCleanup(os.close, file)
        return struct.unpack("<q", data)[0], files


class Hypervisor(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(
            lambda: [file.unlink() for file in self.folder.iterdir()] and self.folder.rmdir()
        )

    def _unpack(self, data):
        (self.folder / "given").write_bytes(data)
        return emulator.unpacked_xen(self.folder / "given", self.folder).read_bytes()

    def test_packed_and_plain_are_the_same(self):
        xen = b"\x7fELF" + bytes(100) + emulator.MULTIBOOT_MAGIC + bytes(100)
        self.assertEqual(self._unpack(gzip.compress(xen)), xen)
        self.assertEqual(self._unpack(xen), xen)

    def test_what_is_no_hypervisor_is_refused(self):
        for data in (b"", b"MZ", b"\x7fELF" + bytes(100), gzip.compress(b"\x7fELF")[:-4]):
            with self.assertRaises(console.Failure):
                self._unpack(data)


class Configuration(unittest.TestCase):
    def test_an_option_that_is_lost_is_named(self):
        with tempfile.NamedTemporaryFile("w", suffix=".config") as final:
            options = kernel.wanted(kernel.FRAGMENT)
            final.write("\n".join(option for option in options if option != "CONFIG_XEN=y"))
            final.flush()
            self.assertEqual(kernel.missing(Path(final.name), options), ["CONFIG_XEN=y"])
