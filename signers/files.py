"""Opening files that somebody else may have put there: regular ones alone, and never waiting.

A named pipe lets its reader wait for ever, a device may do anything, and a sparse file says any size.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO

_PART = 1 << 20


def open_file(path: str | os.PathLike[str], *, follow: bool = True) -> BinaryIO:
    """Open a regular file to read it; without ``follow`` a symbolic link is none.

    Raises :class:`OSError`, for everything else that can be opened too.
    """
    # before it is opened: a device may act on that
    _check(path, os.stat(path, follow_symlinks=follow))  # noqa: PTH116 - takes text too
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW)
    handle = os.open(path, flags)
    try:
        _check(path, os.fstat(handle))  # it may be another one by now
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_file(path: str | os.PathLike[str], limit: int, *, follow: bool = True) -> bytes:
    """Return the bytes of a regular file. Raises :class:`OSError`, also above ``limit`` bytes."""
    with open_file(path, follow=follow) as file:
        return read_open(file, limit)


def read_open(file: BinaryIO, limit: int) -> bytes:
    """Return the bytes of an open file. Raises :class:`OSError` above ``limit`` bytes."""
    size = os.fstat(file.fileno()).st_size
    if size > limit:
        raise OSError(errno.EFBIG, f"it has {size} bytes, at most {limit} are read")
    # asked for a size, the file object takes as much memory at once
    data = file.read(size + 1)
    while len(data) > size and len(data) <= limit:  # it grew, or does not tell its size
        more = file.read(min(_PART, limit + 1 - len(data)))
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
