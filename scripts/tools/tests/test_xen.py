# SPDX-License-Identifier: GPL-2.0-only
"""Xen's source and its build: what is refused, and how it is compared."""

import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from tools import console, debian, series, unchanged, xen, xensource


def _git(folder, *words):
    subprocess.run(
        ["git", "-c", "user.name=test", "-c", "user.email=test@example.org", *words],
        cwd=folder, check=True, capture_output=True,
    )


class SourceTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        # Nothing of these tests stays in the cache.
        cache = mock.patch("tools.paths.CACHE", self.folder / "cache")
        cache.start()
        self.addCleanup(cache.stop)

    def source(self, version="4", subversion="20"):
        tree = self.folder / "some-xen"
        (tree / "xen").mkdir(parents=True)
        (tree / "xen/Makefile").write_text(
            f"export XEN_VERSION       = {version}\nexport XEN_SUBVERSION    = {subversion}\n"
        )
        return tree

    def stock(self, given):
        with mock.patch.dict(os.environ, {"XEN_SRC": str(given)}):
            return xensource.stock()

    def test_folder(self):
        self.assertTrue((self.stock(self.source()) / "xen/Makefile").is_file())

    def test_tarball(self):
        tree = self.source()
        tarball = self.folder / "xen.tar.xz"
        subprocess.run(["tar", "-cJf", tarball, "-C", tree.parent, tree.name], check=True)
        self.assertTrue((self.stock(tarball) / "xen/Makefile").is_file())

    def test_wrong_version(self):
        with self.assertRaisesRegex(console.Failure, "some-xen is Xen 4.17, and the series is for 4.20") as caught:
            self.stock(self.source(subversion="17"))
        self.assertIn("XEN_SRC", caught.exception.remedy)

    def test_not_xen(self):
        (self.folder / "other").mkdir()
        with self.assertRaisesRegex(console.Failure, "other is not the source of Xen"):
            self.stock(self.folder / "other")

    def test_no_tarball(self):
        file = self.folder / "xen.tar.xz"
        file.write_text("not one")
        with self.assertRaisesRegex(console.Failure, "xen.tar.xz is no tarball"):
            self.stock(file)

    def test_missing(self):
        with self.assertRaisesRegex(console.Failure, "does not exist"):
            self.stock(self.folder / "nowhere")

    def test_built_tree(self):
        tree = self.source()
        (tree / "xen/.config").touch()
        with self.assertRaisesRegex(console.Failure, r"was built in \(xen/.config is there\)"):
            self.stock(tree)

    def test_pinned_version_gone(self):
        """The index's version is taken, with a notice, when the pool has lost the tested one."""
        def lost(*_words):
            raise console.Failure("404", log=self.folder / "apt.log")

        def current(_archive, _name, folder):
            tree = self.source()
            subprocess.run(["tar", "-cJf", folder / "xen_4.20.9.orig.tar.xz", "-C", tree.parent, tree.name], check=True)

        stubs = {
            "__init__": lambda self: None, "pool_file": lost, "update": lambda self: None,
            "candidate": lambda self, package: "4.20.9-1", "source_tarball": current,
        }
        with mock.patch.multiple(debian.Archive, **stubs), mock.patch.object(console, "say") as said:
            os.environ.pop("XEN_SRC", None)
            tree = xensource.stock()
        self.assertTrue((tree / "xen/Makefile").is_file())
        self.assertTrue(any("may not be tested" in call.args[0] for call in said.call_args_list))

    def test_changed_patch_is_named(self):
        stock = self.source()
        patches = self.folder / "xen-patches/4.20"
        shutil.copytree(xensource.PATCHES, patches)
        with mock.patch.object(xensource, "PATCHES", patches), mock.patch.dict(os.environ, {"XEN_SRC": str(stock)}):
            first = series.patches(patches)[0].name
            with self.assertRaisesRegex(console.Failure, f"patch {first} does not apply: hunk #1 finds no file"):
                xensource.patched()


class BuildTest(unittest.TestCase):
    def test_little_disk(self):
        usage = mock.Mock(free=100 << 20)
        with mock.patch.object(shutil, "disk_usage", return_value=usage):
            with self.assertRaisesRegex(console.Failure, "has 100 MiB free"):
                xen.check_disk()

    def test_synchronise_keeps_what_is_the_same(self):
        with tempfile.TemporaryDirectory() as name:
            source, tree = Path(name, "source"), Path(name, "tree")
            (source / "sub").mkdir(parents=True)
            for file in ("same", "changes", "sub/goes"):
                (source / file).write_text("old")
            tree.mkdir()
            xen.synchronise(source, tree)
            os.utime(tree / "same", (1, 1))
            (tree / "built.o").touch()
            (source / "changes").write_text("new")
            (source / "sub/goes").unlink()
            xen.synchronise(source, tree)
            self.assertEqual((tree / "same").stat().st_mtime, 1)
            self.assertEqual((tree / "changes").read_text(), "new")
            self.assertFalse((tree / "sub/goes").exists())
            self.assertTrue((tree / "built.o").exists())

    def test_series_is_taken_by_git(self):
        """`git am` makes a commit of each patch, with the files that our own build patches."""
        stock, patched = xensource.stock(), xensource.patched()
        with tempfile.TemporaryDirectory() as name:
            for file in series.touched(xensource.PATCHES):
                if (stock / file).exists():
                    Path(name, file).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(stock / file, Path(name, file))
            _git(name, "init", "-q")
            _git(name, "add", ".")
            _git(name, "commit", "-q", "-m", "stock")
            _git(name, "am", "-q", *map(str, series.patches(xensource.PATCHES)))
            for file in series.touched(xensource.PATCHES):
                self.assertEqual(Path(name, file).read_bytes(), (patched / file).read_bytes(), file)


class OffTest(unittest.TestCase):
    def test_old_lines(self):
        old = "".join(f"w{n} __LINE__\n" for n in range(1, 8))
        new = old.replace("w2 __LINE__\n", "").replace("w4 __LINE__\n", "w4 __LINE__\nmore\nmore\n")
        told = unchanged.with_old_lines(old, new.replace("w6 __LINE__\n", "other\n"))
        numbered = subprocess.run(["gcc", "-E", "-P", "-"], input=told, capture_output=True, text=True, check=True).stdout
        self.assertEqual(" ".join(numbered.split()), "w1 1 w3 3 w4 4 more more w5 5 other w7 7")


if __name__ == "__main__":
    unittest.main()
