# SPDX-License-Identifier: GPL-2.0-only
"""The series of patches for one version of Xen: its form, and applying it."""

import re
import subprocess
from pathlib import Path

from . import console

# What `git am` needs to make a commit of a patch, as (name, pattern).
_FORM = (
    (
        "a 'From <commit> <date>' line first",
        r"\AFrom [0-9a-f]{40} \w{3} \w{3} +\d+ [\d:]{8} \d{4}\n",
    ),
    ("an author", r"^From: .+ <\S+@\S+>$"),
    ("a date", r"^Date: .+$"),
    ("a subject '[PATCH n/m] area: what'", r"^Subject: \[PATCH[^\]]*\] \S+: \S"),
    ("a body", r"^Subject: .*\n(?: .*\n)*(?:[\w-]+: .*\n)*\n(?!Signed-off-by|---)\S"),
    ("a Signed-off-by line", r"^Signed-off-by: .+ <\S+@\S+>$"),
    ("a diff after the text", r"^Signed-off-by: .*\n(?:\n|---\n[\s\S]*?)?^diff --git "),
)

# A line that adds the option or anything that depends on it.
_OPTION = re.compile(r"^\+.*\b(?:CONFIG_)?MSITRAP\b", re.MULTILINE)


def patches(folder):
    """The patches that `folder`/series names, in order."""
    listing = folder / "series"
    if not listing.is_file():
        raise console.Failure(f"{listing} is missing", "Restore it from the repository.")
    lines = (line.split("#")[0].strip() for line in listing.read_text().splitlines())
    found = [folder / line for line in lines if line]
    for patch in found:
        if not patch.is_file():
            raise console.Failure(
                f"{listing} names {patch.name}, which is missing", "Restore it from the repository."
            )
    return found


def faults(folder):
    """What keeps the series in `folder` from being one that `git am` takes, as sentences."""
    listed = patches(folder)
    found = [
        f"{p.name} is not in the series" for p in sorted(folder.glob("*.patch")) if p not in listed
    ]
    for patch in listed:
        text = patch.read_text()
        found += [
            f"{patch.name} lacks {what}"
            for what, form in _FORM
            if not re.search(form, text, re.MULTILINE)
        ]
    return found


def fixes(folder):
    """The first patches, up to the one that names the option: they mend faults of Xen's own."""
    listed = patches(folder)
    added = (n for n, patch in enumerate(listed) if _OPTION.search(patch.read_text()))
    return listed[: next(added, 0)]


def touched(folder):
    """The files that the series changes or adds, as paths below Xen's top folder."""
    text = "".join(patch.read_text() for patch in patches(folder))
    return sorted(set(re.findall(r"^\+\+\+ b/(\S+)", text, re.MULTILINE)))


def apply(folder, tree, chosen=None):
    """Applies the series, or the chosen patches of it, to the source in `tree`: without fuzz."""
    for patch in patches(folder) if chosen is None else chosen:
        done = subprocess.run(
            [
                "patch",
                "-p1",
                "--fuzz=0",
                "--force",
                "--no-backup-if-mismatch",
                "--reject-file=-",
                "-i",
                patch.resolve(),
            ],
            cwd=tree,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise console.Failure(
                f"patch {patch.name} does not apply: {_reason(done.stdout)}",
                f"It was made for the Xen versions in {Path(*folder.parts[-2:])}/source;"
                " use one of those, or rebase the patch.",
            )


def _reason(output):
    """The first file and hunk that `patch` could not place."""
    file = "?"
    for line in output.splitlines():
        if found := re.match(r"(?:patching|checking) file '?([^']+?)'?$", line):
            file = found[1]
        if found := re.match(r"Hunk #(\d+) (?:FAILED|NOT MERGED) at (\d+)", line):
            return f"hunk #{found[1]} of {file}, at line {found[2]}, finds other text there"
        if found := re.match(r"\|\+\+\+ b/(\S+)", line):
            file = found[1]
        if "No file to patch" in line or "can't find file to patch" in line:
            missing = re.search(r"^\|\+\+\+ b/(\S+)", output, re.MULTILINE)
            return f"hunk #1 finds no file {missing[1] if missing else file}"
        if "Reversed (or previously applied)" in line or "already exists" in line:
            return f"hunk #1 of {file} is there already"
    return next(iter(output.strip().splitlines()[-1:]), "patch gave no reason")
