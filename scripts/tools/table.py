# SPDX-License-Identifier: GPL-2.0-only
"""The table of devices and drivers: made of what a run of scripts/test found, and put into
README.md by program only.
"""

import hashlib
import re
import subprocess
import time

from . import console, paths, report

README = paths.TOP / "README.md"
MADE = paths.OUT / "devices.md"
# The machine whose guests make the table's second half; the others repeat parts of it.
MACHINE = "amd-vi"
# What Linux does with its own driver, by the name of the test, and the column's title.
STEPS = {
    "stock-driver": "stock Linux driver",
    "affinity": "affinity moved, 2 vCPUs",
    "detach-attach": "detach, attach",
    "reboot": "reboot",
    "destroy": "destroy",
}
TITLES = ("device", "interrupts", "guest tests", "only Xen's messages", *STEPS.values())
# Results of a guest as a whole, beside its tests.
_WHOLE = frozenset({"ran", "outside", "learned", "log"})
_NOT_RUN = "–"
_CELL = re.compile(rf"\d+ of \d+|yes|no|{_NOT_RUN}")
_MADE_BY = re.compile(
    r"Made by `scripts/test` on \d{4}-\d\d-\d\d from commit [0-9a-f]{7,40}(?: with changes)?\."
)
_BLOCK = re.compile(
    r"<!-- table of devices: begin -->\n(.*?)<!-- table of devices: end, (\S*) -->\n", re.DOTALL
)


def interrupts(layouts):
    """What functions offer, from their rig.Layout: such as 'MSI 1, MSI-X 5'; several functions are
    joined by '+'.
    """
    return " + ".join(_offer(layout) for layout in layouts)


def _offer(layout):
    offers = []
    if layout.msi:
        offers.append(f"MSI {layout.msi.vectors}" + (" with masks" if layout.msi.masks else ""))
    if layout.msix:
        offers.append(f"MSI-X {layout.msix.vectors}")
    return ", ".join(offers) or "none"


def rows(content):
    """The table's cells, row by row, from what test.json holds."""
    cases = [
        (case["name"].split("/"), case["result"])
        for suite in content["suites"]
        for case in suite["cases"]
    ]
    return [
        [device, offer, *_cells(device, cases)]
        for device, offer in sorted(content["devices"].items())
    ]


def _cells(device, cases):
    inside = [result for name, result in cases if _is_guest_test(name, device)]
    outside = [
        result
        for name, result in cases
        if name[-1] == "outside" and device in name and name[0] != "bare"
    ]
    steps = [[result for name, result in cases if name[-2:] == [device, step]] for step in STEPS]
    count = f"{inside.count(report.PASS)} of {len(inside)}" if inside else _NOT_RUN
    return [count, _word(outside), *map(_word, steps)]


def _is_guest_test(name, device):
    return (
        name[:2] == [MACHINE, device]
        and len(name) == 3
        and name[2] not in _WHOLE
        and name[2] not in STEPS
    )


def _word(results):
    if not results:
        return _NOT_RUN
    return "yes" if all(result == report.PASS for result in results) else "no"


def text(content):
    """The table with the words that say what made it."""
    lines = [TITLES, ["---"] * len(TITLES), *rows(content)]
    changes = " with changes" if content["changes"] else ""
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines) + (
        f"\nMade by `scripts/test` on {content['date']} from commit {content['commit']}{changes}.\n"
    )


def write(content):
    """Writes out/devices.md and out/report/devices.json from what test.json holds."""
    MADE.write_text(text(content))
    named = [dict(zip(TITLES, cells)) for cells in rows(content)]
    report.write_json(
        "devices",
        {**{key: content[key] for key in ("date", "commit", "changes")}, "devices": named},
    )


def origin():
    """What a run was made from: the date, the commit, and whether files differ from it."""
    commit = _git("rev-parse", "--short=12", "HEAD") or "0000000"
    # Without git nothing shows that the files are a commit's.
    changes = commit == "0000000" or bool(
        _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!README.md")
    )
    return {"date": time.strftime("%Y-%m-%d", time.gmtime()), "commit": commit, "changes": changes}


def _git(*words):
    # The checkout may be another user's; nothing is done here but look.
    command = ["git", "-c", f"safe.directory={paths.TOP}", *words]
    try:
        done = subprocess.run(command, cwd=paths.TOP, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def put(readme=README):
    """Puts the table of the last whole run into README.md."""
    if not MADE.is_file():
        raise console.Failure(
            "there is no table of devices yet", "Run scripts/test, which makes it."
        )
    old = readme.read_text()
    if not _BLOCK.search(old):
        raise console.Failure(
            f"{readme.name} has no place for the table", "Restore its two marks 'table of devices'."
        )
    readme.write_text(_BLOCK.sub(lambda _: _block(MADE.read_text()), old))
    console.say(f"the table of {MADE} is in {readme}")


def _block(table):
    return (
        f"<!-- table of devices: begin -->\n{table}"
        f"<!-- table of devices: end, {_digest(table)} -->\n"
    )


def faults(page):
    """What is wrong with the table in a page: not there, not of the program's form, or changed
    since.
    """
    found = _BLOCK.search(page)
    if not found:
        return ["there is no table between the two marks"]
    table, digest = found.groups()
    said = (
        []
        if digest == _digest(table)
        else ["it was changed by hand; 'scripts/test table' puts back what was measured"]
    )
    head, _rule, *body = [line for line in table.splitlines() if line.startswith("|")] or ["", ""]
    if head != f"| {' | '.join(TITLES)} |" or not body:
        said.append("its columns are not those of the program")
    odd = [
        cell
        for line in body
        for cell in line.strip("| ").split(" | ")[2:]
        if not _CELL.fullmatch(cell)
    ]
    said += [f"'{cell}' is no result" for cell in odd]
    return said if _MADE_BY.search(table) else [*said, "it does not say which run made it"]


def _digest(table):
    return hashlib.sha256(table.encode()).hexdigest()[:16]
