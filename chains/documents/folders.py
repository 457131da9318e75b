"""The files in a folder and everything below it, in an order that does not change."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def files_below(
    folder: Path,
    suffixes: tuple[str, ...],
    unreadable: Callable[[OSError], None],
    *,
    skip_hidden: bool = False,
) -> list[Path]:
    """Return the files with one of these suffixes, links included.

    ``skip_hidden`` leaves out folders below it that begin with a dot, such as ``.chains`` and ``.git``.
    A folder that cannot be listed goes to ``unreadable``. A folder that links lead to twice is listed once.
    """
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    for place, folders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        state = Path(place).stat()
        if (state.st_dev, state.st_ino) in seen:
            folders.clear()  # a link to a folder that was visited already
            continue
        seen.add((state.st_dev, state.st_ino))
        folders[:] = sorted(one for one in folders if not (skip_hidden and one.startswith(".")))
        found += [Path(place, file) for file in sorted(files) if file.endswith(suffixes)]
    return found
