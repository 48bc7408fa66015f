# SPDX-License-Identifier: GPL-2.0-only
"""Xen's source and its build: what is refused, and how it is compared."""

import os
import shutil
import subprocess
import tarfile
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from tools import console, debian, paths, series, unchanged, xen, xensource


def _git(folder, *words):
    subprocess.run(
        ["git", "-c", "user.name=test", "-c", "user.email=test@example.org", *words],
        cwd=folder,
        check=True,
        capture_output=True,
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

    def source(self, version="4", subversion="20", extra=".9"):
        tree = self.folder / "some-xen"
        (tree / "xen").mkdir(parents=True, exist_ok=True)
        (tree / "xen/Makefile").write_text(
            f"export XEN_VERSION       = {version}\nexport XEN_SUBVERSION    = {subversion}\n"
            f"export XEN_EXTRAVERSION ?= {extra}$(XEN_VENDORVERSION)\n"
        )
        return tree

    def tarball(self, target, **version):
        tree = self.source(**version)
        subprocess.run(["tar", "-cJf", target, "-C", tree.parent, tree.name], check=True)
        return target

    def checked(self, given):
        """What is said of a source before any work, line by line."""
        with mock.patch.dict(os.environ, {"XEN_SRC": str(given)}), mock.patch.object(
            xensource, "_notices", set()
        ):
            with mock.patch.object(console, "say") as said:
                xensource.check()
        return [call.args[0] for call in said.call_args_list]

    def stock(self, given):
        with mock.patch.dict(os.environ, {"XEN_SRC": str(given)}):
            return xensource.stock()

    def test_folder(self):
        self.assertTrue((self.stock(self.source()) / "xen/Makefile").is_file())

    def test_tarball(self):
        self.assertTrue(
            (self.stock(self.tarball(self.folder / "xen.tar.xz")) / "xen/Makefile").is_file()
        )

    def test_wrong_version(self):
        with self.assertRaisesRegex(
            console.Failure, "some-xen is Xen 4.17, and the series is for 4.20"
        ) as caught:
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

    def test_a_bad_source_is_told_before_any_work(self):
        (self.folder / "other").mkdir()
        (self.folder / "no.tar").write_text("no tarball")
        (self.folder / "used/xen").mkdir(parents=True)
        (self.folder / "used/xen/.config").touch()
        (self.folder / "git/.git").mkdir(parents=True)
        old = self.tarball(self.folder / "old.tar.xz", subversion="17")
        for name, told in (
            ("nowhere", "which does not exist"),
            ("other", "is not the source of Xen"),
            ("no.tar", "is no tarball"),
            ("used", "was built in"),
            ("git", "is a git checkout"),
            (old.name, "is Xen 4.17, and the series is for 4.20"),
        ):
            with self.subTest(name), self.assertRaisesRegex(console.Failure, told):
                self.checked(self.folder / name)
        self.assertFalse((self.folder / "cache").exists())

    def test_a_source_without_fixes_is_told(self):
        told = {
            extra: self.checked(self.source(extra=extra))
            for extra in (".2", ".4-pre", ".4", ".5-pre", ".5")
        }
        for extra in (".2", ".4-pre", ".4"):
            self.assertIn(f"4.20{extra}, which lacks the fixes of XSA-509, 510", told[extra][0])
        self.assertIn("came before 4.20.4", told[".2"][0])
        self.assertNotIn("came before", told[".4"][0])
        self.assertIn("its version does not say", told[".5-pre"][0])
        self.assertEqual(told[".5"], [])

    def test_the_preferred_tarball_is_known_by_its_digest(self):
        file = self.tarball(self.folder / "xen.tar.xz", extra=".4-pre")
        self.assertEqual(len(self.checked(file)), 1)
        known = xensource.pins()
        changed = xensource.Pins(
            xensource.Tarball("4.20.9", xensource._sha256(file)),
            known.fallback,
            known.without,
            known.advisories,
        )
        with mock.patch.object(xensource, "pins", return_value=changed):
            self.assertEqual(self.checked(file), [])

    def from_debian(self, *handed_out):
        """The tarball from an archive that has these, what it was asked for, and what was said."""
        asked = []

        def pool_file(_archive, _source, name, _digest, folder):
            asked.append(name)
            if name not in handed_out:
                raise console.Failure("404", log=self.folder / "apt.log")
            return self.tarball(folder / name)

        stubs = {"__init__": lambda self: None, "pool_file": pool_file}
        with mock.patch.multiple(debian.Archive, **stubs), mock.patch.object(
            console, "say"
        ) as said:
            with mock.patch.object(xensource, "_notices", set()), mock.patch.dict(os.environ):
                os.environ.pop("XEN_SRC", None)
                file = xensource._from_debian()
                self.assertTrue((xensource.stock() / "xen/Makefile").is_file())
        return (
            file.name,
            asked,
            [call.args[0] for call in said.call_args_list if "warning" in call.args[0]],
        )

    def test_the_preferred_tarball_comes_first(self):
        known = xensource.pins()
        name, asked, said = self.from_debian(known.preferred.name, known.fallback.name)
        self.assertEqual((name, asked, said), (known.preferred.name, [known.preferred.name], []))

    def test_the_fallback_is_told_with_what_it_lacks(self):
        known = xensource.pins()
        name, asked, said = self.from_debian(known.fallback.name)
        self.assertEqual(
            (name, asked), (known.fallback.name, [known.preferred.name, known.fallback.name])
        )
        self.assertEqual(len(said), 1)
        self.assertIn(
            "leaves XSA-509, 510, 511, 515, 516, 517, 518, 519, 520, 523 open. Set XEN_SRC", said[0]
        )
        # Not asked for again at once, and told again by the next command.
        name, asked, said = self.from_debian(known.preferred.name)
        self.assertEqual((name, asked, len(said)), (known.fallback.name, [], 1))

    def test_neither_tarball(self):
        with self.assertRaisesRegex(console.Failure, "hands out neither") as caught:
            self.from_debian()
        self.assertIn("XEN_SRC", caught.exception.remedy)
        # The preferred one is asked for again at once.
        self.assertEqual(
            self.from_debian(xensource.pins().preferred.name)[0], xensource.pins().preferred.name
        )

    def test_a_newer_version_in_the_archive_is_told(self):
        known = xensource.pins().preferred.version
        for offered, lines in (
            (f"{known}-0+deb13u1", 0),
            ("4.20.4+99-gabc-0+deb13u1", 1),
            ("4.20.3+1-gabc-0+deb13u1", 0),
        ):
            archive = mock.Mock()
            archive.ready.return_value.candidate.return_value = offered
            with mock.patch.object(debian, "Archive", return_value=archive), mock.patch.object(
                console, "say"
            ) as said:
                with mock.patch.object(xensource, "_notices", set()), mock.patch.dict(os.environ):
                    os.environ.pop("XEN_SRC", None)
                    xensource.tell_newer()
            self.assertEqual(said.call_count, lines, offered)
        with mock.patch.object(debian, "Archive", side_effect=console.Failure("no network")):
            xensource.tell_newer()

    def test_description_names_version_and_origin(self):
        with mock.patch.dict(os.environ, {"XEN_SRC": str(self.source(extra=".4-pre"))}):
            self.assertEqual(xensource.describe(), "4.20.4-pre (some-xen)")

    def test_changed_patch_is_named(self):
        stock = self.source()
        patches = self.folder / "xen-patches/4.20"
        shutil.copytree(xensource.PATCHES, patches)
        with mock.patch.object(xensource, "PATCHES", patches), mock.patch.dict(
            os.environ, {"XEN_SRC": str(stock)}
        ):
            first = series.patches(patches)[0].name
            with self.assertRaisesRegex(
                console.Failure, f"patch {first} does not apply: hunk #1 finds no file"
            ):
                xensource.patched()


def at_hand():
    """The sources that are here: tarballs in the cache, and what XEN_SRC names."""
    known = xensource.pins()
    names = {tarball.name for tarball in (known.preferred, known.fallback)}
    found = [file for file in paths.CACHE.glob("xen-tarball-*/*") if file.name in names]
    return [*found, *filter(None, [xensource._given()])] or [xensource._from_debian()]


def copied(origin, names, folder):
    """Copies those of the files that a source, folder or tarball, has."""
    if origin.is_dir():
        for name in names:
            if (origin / name).exists():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(origin / name, folder / name)
        return
    with tarfile.open(origin) as packed:
        for member in packed:
            name = member.name.partition("/")[2]
            if name in names and member.isfile():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(packed.extractfile(member).read())


class AtHandTest(unittest.TestCase):
    def test_series_applies_without_fuzz_to_each_source(self):
        names = series.touched(xensource.PATCHES)
        for origin in at_hand():
            with self.subTest(origin.name), tempfile.TemporaryDirectory() as folder:
                copied(origin, names, Path(folder))
                series.apply(xensource.PATCHES, folder)
                self.assertEqual([name for name in names if not Path(folder, name).exists()], [])

    def test_each_pin_is_whole(self):
        known = xensource.pins()
        for tarball in (known.preferred, known.fallback):
            self.assertRegex(tarball.version, r"^4\.20\.\d+\+\d+-g[0-9a-f]{10}$")
            self.assertRegex(tarball.sha256, r"^[0-9a-f]{64}$")
        self.assertEqual([name for name in known.advisories if not name.startswith("XSA-")], [])
        self.assertGreater(len(known.advisories), 5)

    def test_advisories_left_open_are_in_the_docs(self):
        page = (paths.TOP / "docs/xsa.md").read_text()
        rows = "".join(line for line in page.splitlines() if line.startswith("| "))
        missing = [
            name for name in xensource.pins().advisories if name.removeprefix("XSA-") not in rows
        ]
        self.assertEqual(missing, [])


class BuildTest(unittest.TestCase):
    def test_stock_is_no_msitrap(self):
        self.assertFalse(xen.STOCK.msitrap or xen.OFF.msitrap)
        self.assertTrue(xen.RELEASE.msitrap and xen.DEBUG.msitrap)
        self.assertEqual(xen._environment(xen.STOCK)["XEN_VENDORVERSION"], "")
        self.assertEqual(xen._environment(xen.RELEASE)["XEN_VENDORVERSION"], "+msitrap")

    def test_both_sides_of_the_comparison_differ_in_the_series_alone(self):
        self.assertEqual((xen.STOCK.flags, xen.STOCK.vendor), (xen.OFF.flags, xen.OFF.vendor))
        self.assertEqual(
            set(xen.OFF.config) - set(xen.STOCK.config), {"# CONFIG_MSITRAP is not set"}
        )

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
        numbered = subprocess.run(
            ["gcc", "-E", "-P", "-"], input=told, capture_output=True, text=True, check=True
        ).stdout
        self.assertEqual(" ".join(numbered.split()), "w1 1 w3 3 w4 4 more more w5 5 other w7 7")


if __name__ == "__main__":
    unittest.main()
