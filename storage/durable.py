"""Writes files atomically: a file is complete or absent. It is written under another name and renamed."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from storage.errors import StoreRejected, StoreUnavailable

_MAY_PASS = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EIO,
        errno.EAGAIN,
        errno.EBUSY,
        errno.EMFILE,
        errno.ENFILE,
        errno.ESTALE,
    }
)


def replace_file(path: Path, data: bytes, *, fsync: bool = False) -> None:
    """Replace the content of ``path``. After any failure it has either the old or the new content."""
    # In the same folder, because a rename is atomic only within one file system.
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    try:
        write_new(os.fspath(temporary), data, fsync=fsync)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if fsync:
        # The rename itself is durable only after the folder was synced.
        sync_folder(path.parent)


def write_new(path: str, data: bytes, *, fsync: bool = False) -> None:
    """Write a file that no other process uses yet. Raises :class:`OSError`; the file may then be partial."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        # write() may write a part only.
        written = os.write(handle, data)
        while written < len(data):
            written += os.write(handle, memoryview(data)[written:])
        if fsync:
            os.fsync(handle)
    finally:
        os.close(handle)


def sync_files(paths: Iterable[str]) -> None:
    """Flush the contents of files to disk."""
    for path in paths:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sync_folder(folder: Path) -> None:
    """Flush the names in ``folder`` to disk."""
    sync_files([os.fspath(folder)])


def problem(verb: str, path: Path, error: OSError) -> StoreRejected | StoreUnavailable:
    """Return the exception for a failed file operation.

    A full disk, an I/O error and the like may pass, so they are :class:`StoreUnavailable`.
    """
    text = f"cannot {verb} {path}: {error.strerror or error}"
    if error.errno in _MAY_PASS:
        return StoreUnavailable(text)
    return StoreRejected(text)
