# SPDX-License-Identifier: GPL-2.0-only
"""The suites of scripts/test: host needs no Xen, object judges what is linked, rig boots it."""
