# SPDX-License-Identifier: GPL-2.0-only
"""What the scripts of msitrap share: progress, the build cache, Debian's archive."""
