#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Draws data-path.svg: the way of a guest's MSI set-up, before and after. With --check, compares
instead.
"""

import sys
from html import escape
from pathlib import Path

PICTURE = Path(__file__).with_name("data-path.svg")
WIDTH, PANEL = 820, 400

STYLE = """
    text { font: 13px sans-serif; fill: #1b1b1b }
    .title { font-size: 16px; font-weight: bold }
    .name { font-weight: bold }
    .refused text, text.refused { fill: #a11 }
    rect { stroke: #555; fill: #f4f4f4; rx: 5 }
    rect.paper { stroke: none; fill: #fff; rx: 0 }
    rect.trusted { fill: #dceadc }
    rect.inner { fill: #fff }
    rect.ours { fill: #bfe0bf; stroke: #262; stroke-width: 2 }
    path { fill: none; stroke: #333; stroke-width: 1.8; marker-end: url(#tip) }
    path.other { stroke-dasharray: 5 4; stroke: #777 }
    path.refused { stroke: #a11; marker-end: url(#stop) }
"""
MARKERS = """
    <marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" \
orient="auto">
      <path d="M0,0 L10,5 L0,10 z" style="fill:#333;stroke:none;marker-end:none"/></marker>
    <marker id="stop" viewBox="0 0 10 10" refX="5" refY="5" markerWidth="9" markerHeight="9">
      <path d="M1,1 L9,9 M9,1 L1,9" style="stroke:#a11;stroke-width:2;marker-end:none"/></marker>
"""

# Boxes as (x, y, width, height, class, name): the parties, which are the same in both panels.
PARTIES = (
    (20, 50, 180, 90, "", "guest"),
    (240, 50, 330, 90, "", "stub domain"),
    (260, 85, 120, 40, "inner", "QEMU"),
    (430, 85, 120, 40, "inner", "pcifront"),
    (610, 50, 190, 90, "trusted", "dom0"),
    (645, 85, 120, 40, "inner", "xen-pciback"),
    (20, 225, 780, 70, "trusted", "Xen"),
    (340, 345, 230, 40, "", "device"),
)
# Arrows as (path, class, label lines, x and y of the first line).
BEFORE = (
    ("M80,140 V225", "", ["1 config write"], 88, 190),
    ("M290,225 V125", "", ["2 request"], 222, 190),
    ("M330,125 V225", "", ["3 map_pirq,", "   bind_pt_irq"], 338, 175),
    ("M400,295 V345", "", ["4 address and data, of Xen's making"], 408, 325),
    ("M380,105 H430", "", ["5 enable"], 380, 78),
    ("M550,105 H645", "", [], 0, 0),
    (
        "M750,125 V190",
        "refused",
        ["6 dropped by default;", "   if allowed, written", "   without a check"],
        592,
        168,
    ),
)
AFTER = (
    ("M80,140 V240", "", ["1 config write"], 88, 160),
    (
        "M130,280 V365 H340",
        "",
        ["2 INTx off", "3 message of Xen's making", "4 enable, the last write"],
        140,
        318,
    ),
    ("M290,225 V125", "other", ["other registers,", "as before"], 180, 190),
    ("M350,125 V190", "refused", ["map_pirq, bind_pt_irq:", "-EPERM"], 362, 180),
    ("M380,105 H430", "other", [], 0, 0),
    ("M550,105 H645", "other", [], 0, 0),
    (
        "M750,125 V190",
        "refused",
        ["MSI registers, INTx-disable:", "never written for dom0"],
        556,
        180,
    ),
)
OURS = (40, 240, 180, 40, "ours", "msitrap: checks")


def box(x, y, width, height, kind, name):
    """A named rectangle; the name stands at its top, or in its middle when it is low."""
    baseline = y + 25 if height <= 40 else y + 20
    left = x + width - 45 if name == "Xen" else x + 12
    return (
        f'    <rect x="{x}" y="{y}" width="{width}" height="{height}" class="{kind}"/>\n'
        f'    <text x="{left}" y="{baseline}" class="name">{escape(name)}</text>\n'
    )


def arrow(path, kind, lines, x, y):
    """An arrow and its label."""
    label = "".join(
        f'    <text x="{x}" y="{y + 16 * row}" class="{kind}" xml:space="preserve">'
        f"{escape(line)}</text>\n"
        for row, line in enumerate(lines)
    )
    return f'    <path d="{path}" class="{kind}"/>\n{label}'


def panel(title, top, boxes, arrows):
    """One of the two pictures."""
    return (
        f'  <g transform="translate(0 {top})">\n'
        f'    <text x="20" y="32" class="title">{escape(title)}</text>\n'
        + "".join(box(*each) for each in boxes)
        + "".join(arrow(*each) for each in arrows)
        + "  </g>\n"
    )


def picture():
    """The whole file, as text."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {2 * PANEL + 10}"'
        ' role="img">\n'
        "  <!-- SPDX-License-Identifier: GPL-2.0-only; made by draw.py, change that -->\n"
        "  <title>Before: the guest's MSI enable bit goes through QEMU, pcifront and xen-pciback."
        " After: Xen sets it.</title>\n"
        f"  <style>{STYLE}  </style>\n  <defs>{MARKERS}  </defs>\n"
        f'  <rect class="paper" width="{WIDTH}" height="{2 * PANEL + 10}"/>\n'
        + panel("Before: the last step is blocked, or nobody checks it", 0, PARTIES, BEFORE)
        + panel("After: Xen alone", PANEL, (*PARTIES, OURS), AFTER)
        + "</svg>\n"
    )


def main():
    """Writes the picture, or says whether the kept one is up to date."""
    if sys.argv[1:] == ["--check"]:
        if not PICTURE.exists() or PICTURE.read_text() != picture():
            sys.exit(f"error: {PICTURE.name} is not what draw.py draws. Run docs/figures/draw.py.")
    elif sys.argv[1:]:
        sys.exit("usage: draw.py [--check]")
    else:
        PICTURE.write_text(picture())


if __name__ == "__main__":
    main()
