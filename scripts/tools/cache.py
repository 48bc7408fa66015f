# SPDX-License-Identifier: GPL-2.0-only
"""Builds kept under the cache folder, keyed by the content they are made from."""

import hashlib
import shutil
import tempfile
from pathlib import Path

from . import console, paths


def key(*inputs):
    """A short key over strings, and over the contents of files and folders (Path)."""
    digest = hashlib.sha256()
    for item in inputs:
        if isinstance(item, Path):
            for file in _files(item):
                digest.update(
                    f"{file.relative_to(item.parent)}\0{file.stat().st_mode & 0o111}\0".encode()
                )
                digest.update(hashlib.sha256(file.read_bytes()).digest())
        else:
            digest.update(f"{item}\0".encode())
    return digest.hexdigest()[:16]


def _files(item):
    if item.is_file():
        return [item]
    return sorted(f for f in item.rglob("*") if f.is_file() and "__pycache__" not in f.parts)


def build(name, inputs, make, says=None):
    """The folder NAME-KEY of the cache; `make(folder)` fills it when it is not there yet.

    A build that fails or is interrupted leaves nothing behind.
    """
    folder = paths.CACHE / f"{name}-{key(*inputs)}"
    if folder.is_dir():
        return folder
    paths.CACHE.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"{name}-making-", dir=paths.CACHE))
    try:
        with console.step(says or f"building {name}"):
            scratch.chmod(0o755)
            make(scratch)
        _place(scratch, folder)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return folder


def _place(scratch, folder):
    """Gives a finished build its name, unless another command was first."""
    try:
        scratch.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
        shutil.rmtree(scratch)
