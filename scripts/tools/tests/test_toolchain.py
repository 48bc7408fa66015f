# SPDX-License-Identifier: GPL-2.0-only
"""Finding a compiler, and what is asked of compilers of different age."""

import os
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from tools import console, module, toolchain

# What the compilers of Debian 13 and of Debian's browsers print, cut to the lines that matter.
RUSTC_1_85 = """
    -Z                                  cf-protection=val -- instrument control-flow architecture \
protection
    -Z                                function-return=val -- replace returns with jumps to \
`__x86_return_thunk`
    -Z                                 no-jump-tables=val -- disable the jump tables and lookup \
tables
"""
RUSTC_1_96 = """
    -Z                                 cf-protection=val -- instrument control-flow architecture \
protection
    -Z                      retpoline-external-thunk=val -- enables retpoline-external-thunk
"""
CODEGEN_1_96 = (
    "    -C               jump-tables=val -- allow jump table and lookup table generation\n"
)
CARGO_1_96 = (
    "    -Z build-std    Compile std\n    -Z json-target-spec    Enable `.json` target spec files\n"
)


class FlagsTest(unittest.TestCase):
    def test_option_names(self):
        self.assertEqual(
            toolchain.option_names(RUSTC_1_96), {"cf-protection", "retpoline-external-thunk"}
        )
        self.assertEqual(toolchain.option_names(CODEGEN_1_96), {"jump-tables"})
        self.assertEqual(toolchain.option_names(CARGO_1_96), {"build-std", "json-target-spec"})

    def test_new_compiler(self):
        found = module.flags(
            module.Mitigations(), toolchain.option_names(RUSTC_1_96), {"jump-tables"}
        )
        for flag in (
            "-Zcf-protection=branch",
            "-Zfunction-return=thunk-extern",
            "-Zretpoline-external-thunk",
            "-Cjump-tables=no",
        ):
            self.assertIn(flag, found)

    def test_old_compiler(self):
        known = toolchain.option_names(RUSTC_1_85)
        found = module.flags(module.Mitigations(), known, set())
        self.assertNotIn("-Zretpoline-external-thunk", found)
        self.assertIn("-Zno-jump-tables", found)
        spec = module.target({"features": "+soft-float"}, {}, module.Mitigations(), known)
        self.assertTrue(spec["features"].startswith("+soft-float,+retpoline-external-thunk,"), spec)

    def test_mitigations_follow_xen(self):
        config = "CONFIG_XEN_IBT=y\n# CONFIG_RETURN_THUNK is not set\nCONFIG_INDIRECT_THUNK=y\n"
        self.assertEqual(
            module.Mitigations.of_config(config), module.Mitigations(True, False, True)
        )
        off = module.Mitigations(False, False, False)
        found = module.flags(off, toolchain.option_names(RUSTC_1_96), {"jump-tables"})
        self.assertEqual(found, ["-Cforce-unwind-tables=no", "-Cjump-tables=no"])
        self.assertNotIn("features", module.target({}, {}, off, set()))

    def test_target_is_the_compilers_own_with_overrides(self):
        base = {"is-builtin": True, "code-model": "kernel", "target-pointer-width": "64"}
        spec = module.target(
            base, {"code-model": "small"}, module.Mitigations(), {"retpoline-external-thunk"}
        )
        self.assertEqual(spec, {"code-model": "small", "target-pointer-width": "64"})


class FindTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        toolchain.find.cache_clear()
        self.addCleanup(toolchain.find.cache_clear)

    def compiler(self, version, source=True, cargo=True):
        """A stand-in for a compiler of a version, with the folders a real one has."""
        (self.folder / "bin").mkdir()
        rustc = self.folder / "bin/rustc"
        rustc.write_text(
            "#!/bin/sh\n"
            f'case $1 in --version) echo "rustc {version}" ;; *) echo "{self.folder}" ;; esac\n'
        )
        rustc.chmod(0o755)
        if cargo:
            (self.folder / "bin/cargo").touch()
        if source:
            library = self.folder / "lib/rustlib/src/rust/library/core/src"
            library.mkdir(parents=True)
            (library / "lib.rs").touch()
        return rustc

    def find(self, rustc):
        with mock.patch.dict(os.environ, {"RUSTC": str(rustc)}):
            os.environ.pop("CARGO", None)
            return toolchain.find()

    def test_named_compiler(self):
        found = self.find(self.compiler("1.85.1 (4eb161250 2025-03-15)"))
        self.assertEqual((found.version, found.cargo), ((1, 85), self.folder / "bin/cargo"))

    def test_no_source(self):
        with self.assertRaisesRegex(console.Failure, "no source of its core library") as caught:
            self.find(self.compiler("1.96.0", source=False))
        self.assertIn("rust-src", caught.exception.remedy)

    def test_too_old(self):
        with self.assertRaisesRegex(console.Failure, r"version 1\.63, older than 1\.85"):
            self.find(self.compiler("1.63.0"))

    def test_missing(self):
        with self.assertRaisesRegex(console.Failure, "cannot be run"):
            self.find(self.folder / "nowhere/rustc")

    def test_no_compiler(self):
        with self.assertRaisesRegex(console.Failure, "no working Rust compiler"):
            self.find("/bin/true")

    def test_foreign_settings_stay_out(self):
        found = self.find(self.compiler("1.96.0"))
        with mock.patch.dict(
            os.environ, {"RUSTFLAGS": "-Copt-level=0", "CARGO_PROFILE_RELEASE_LTO": "off"}
        ):
            self.assertFalse({"RUSTFLAGS", "CARGO_PROFILE_RELEASE_LTO"} & set(found.environment()))


if __name__ == "__main__":
    unittest.main()
