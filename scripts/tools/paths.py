# SPDX-License-Identifier: GPL-2.0-only
"""Where things stand: the checkout, the cache and the results."""

import os
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
# Downloads and builds, keyed by content; may be shared between checkouts.
CACHE = Path(os.environ.get("MSITRAP_CACHE") or TOP / ".cache").resolve()
OUT = TOP / "out"
LOGS = OUT / "log"
REPORT = OUT / "report"
