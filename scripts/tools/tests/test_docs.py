# SPDX-License-Identifier: GPL-2.0-only
"""README.md and docs/ name only what exists: links, headings, files, log lines, guests; the picture
is its source's.
"""

import re
import subprocess
import sys
import unittest

from .. import guests, paths

PAGES = [paths.TOP / "README.md", *sorted((paths.TOP / "docs").glob("*.md"))]
# Folders whose files the pages name by path.
_KEPT = r"(?:src|tests|rig|docs|scripts|hvm-tests|xen-patches)"
_LINK = re.compile(r"\]\(([^)\s]+)\)")
# docs/misc is Xen's.
_PATH = re.compile(rf"`((?!docs/misc/){_KEPT}(?:/[\w.-]+)+)(?:`| )")
_COMMAND = re.compile(r"\bscripts/(?:run|test|build|rig|setup)\b")


def anchors(page):
    """The anchors of a page's headings, as code hosts make them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def broken_links(page):
    """The links of a page that lead nowhere in the checkout; others are not followed."""
    for link in _LINK.findall(page.read_text()):
        if link.startswith("http"):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield f"{page.name}: {link}"


def missing_files(page):
    """The files and commands a page names that the checkout lacks."""
    text = page.read_text()
    for name in sorted({*_PATH.findall(text), *_COMMAND.findall(text)}):
        if not (paths.TOP / name).exists():
            yield f"{page.name}: {name}"


def source():
    """The text of the module, its tests, the series and the scripts."""
    folders = [paths.TOP / name for name in ("src", "tests", "xen-patches", "scripts", "rig")]
    return "".join(
        f.read_text()
        for folder in folders
        for f in folder.rglob("*")
        if f.is_file() and f.suffix != ".pyc"
    )


def unknown_names(page, text):
    """The names of functions and the like that a page uses and `text` lacks."""
    for name in sorted(
        set(
            re.findall(
                r"`((?:[A-Za-z]\w*::)*[a-z]\w*_\w+|(?:[A-Za-z]\w*::)+\w+)!?`", page.read_text()
            )
        )
    ):
        if not re.search(rf"\b{name.split('::')[-1]}\b", text):
            yield f"{page.name}: {name}"


def log_texts():
    """What the module can say in Xen's log."""
    sources = [
        paths.TOP / "src/core/message.rs",
        paths.TOP / "src/host/managed.rs",
        paths.TOP / "src/host/refusals.rs",
    ]
    return [text for source in sources for text in re.findall(r'c"([^"]+)"', source.read_text())]


class Docs(unittest.TestCase):
    """What README.md and docs/ say."""

    def test_links_lead_somewhere(self):
        self.assertEqual([link for page in PAGES for link in broken_links(page)], [])

    def test_files_exist(self):
        self.assertEqual([name for page in PAGES for name in missing_files(page)], [])

    def test_names_exist(self):
        text = source()
        self.assertEqual([name for page in PAGES for name in unknown_names(page, text)], [])

    def test_every_log_line_is_explained(self):
        reference = (paths.TOP / "docs/reference.md").read_text()
        told = [text.removeprefix("message refused: ").split("; ")[0] for text in log_texts()]
        self.assertGreater(len(told), 8)
        self.assertEqual([text for text in told if text not in reference], [])

    def test_guests_exist(self):
        text = (paths.TOP / "docs/threat-model.md").read_text()
        named = set(re.findall(r"`((?:msi|msix|cf8)-[a-z-]+)`", text))
        self.assertGreater(len(named), 5)
        self.assertEqual(named - guests.names(), set())

    def test_tests_of_advisories_exist(self):
        text = (paths.TOP / "docs/xsa.md").read_text()
        named = set(re.findall(r"`([a-z]+\d*(?:-[a-z0-9]+)+)`", text)) - {"leaves-no-interrupt"}
        self.assertGreater(len(named), 40)
        self.assertEqual(named - guests.names(), set())

    def test_picture_is_drawn_from_its_source(self):
        done = subprocess.run(
            [sys.executable, "-B", paths.TOP / "docs/figures/draw.py", "--check"],
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))


if __name__ == "__main__":
    unittest.main()
