"""Reads files whose path or content an attacker may control. Only regular files are opened.

Opening a named pipe would block until a writer appears, opening a device can have side effects, and the
reported size of a sparse file says nothing about memory.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from functools import partial
from typing import BinaryIO

_PART = 1 << 20
"""Bytes that are read at a time from a file that is larger than it reported."""


def open_file(path: str | os.PathLike[str], *, follow: bool = True) -> BinaryIO:
    """Open a regular file for reading. With ``follow=False`` a symbolic link is refused.

    Raises :class:`OSError` when the file cannot be opened or is not a regular file.
    """
    handle, _ = _open(path, follow=follow)
    try:
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_file(path: str | os.PathLike[str], limit: int, *, follow: bool = True) -> bytes:
    """Return the bytes of a regular file. Raises :class:`OSError`, also for more than ``limit`` bytes."""
    # Without a file object, which takes longer to make than a small file to read.
    handle, size = _open(path, follow=follow)
    try:
        return _read(partial(os.read, handle), size, limit)
    finally:
        os.close(handle)


def read_open(file: BinaryIO, limit: int) -> bytes:
    """Return the bytes of an open file. Raises :class:`OSError` for more than ``limit`` bytes."""
    return _read(file.read, os.fstat(file.fileno()).st_size, limit)


def _open(path: str | os.PathLike[str], *, follow: bool) -> tuple[int, int]:
    """Open a regular file and return its handle and size."""
    # Check the type before opening, because opening a device can have side effects.
    _check(path, os.stat(path, follow_symlinks=follow))  # noqa: PTH116 - accepts str too
    # O_NONBLOCK: if the path was replaced by a named pipe after the check, open() must not block. O_NOCTTY: a
    # terminal must not become the process's controlling terminal.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW)
    handle = os.open(path, flags)
    try:
        state = os.fstat(handle)
        _check(path, state)  # the path may have been replaced since the first check
    except BaseException:
        os.close(handle)
        raise
    return handle, state.st_size


def _read(read: Callable[[int], bytes], size: int, limit: int) -> bytes:
    """Read a file that reported a size to its end."""
    if size > limit:
        raise OSError(errno.EFBIG, f"it has {size} bytes, at most {limit} are read")
    # read(n) allocates n bytes at once, so ask for the size of the file and not for the limit.
    data = read(size + 1)
    # A read may return less than was asked for, and the file may be longer than it reported, as in /proc.
    while len(data) <= limit:
        # One byte more than the limit is enough to know that the file is too large.
        more = read(min(_PART, limit + 1 - len(data)))
        if not more:
            break
        data += more
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit} bytes")
    return data


def _check(path: str | os.PathLike[str], state: os.stat_result) -> None:
    if stat.S_ISDIR(state.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(state.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", os.fspath(path))
