#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Starts a command that is written in Python: MODULE WORDS... . The command itself installs what it
# needs; only Python is installed here. Without one, a word that asks for help is answered all the
# same.

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
module=$1
shift
serves() {
    # Debian's python3-minimal lacks much of the library, and those before 3.11 have no tomllib.
    python3 -c 'import json, tomllib, xml.etree.ElementTree' 2>/dev/null
}
if ! serves; then
    text=$scripts/tools/$module.py
    [ -f "$text" ] || text=$scripts/tools/$module/__main__.py
    for word in "$@"; do
        case $word in
            -h | --help)
                sed -n '/^[A-Z_]* = """/,/^"""/ { s/^.*"""\\\{0,1\}$//; p; }' "$text"
                exit 0
                ;;
        esac
    done
    "$scripts/setup" python
    if ! serves; then
        echo "error: the python3 in PATH is older than 3.11, or lacks parts of its library." \
            "Put Debian's own first, in /usr/bin." >&2
        exit 1
    fi
fi
exec env PYTHONPATH="$scripts" PYTHONDONTWRITEBYTECODE=1 python3 -m "tools.$module" "$@"
