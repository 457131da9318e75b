"""Files as the kubelet and CSI drivers mount them: all of a volume change at once.

A volume has a folder for each state. ``..data`` is a link to the newest, and each file a link through ``..data``. A
change renames a new ``..data`` over the old one, so a reader sees the old files or the new ones.
Source: Kubernetes, ``pkg/volume/util/atomic_writer.go`` (its description).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path


class Mounted:
    """A mounted volume."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._states = folder, 0
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, files: Mapping[str, bytes]) -> None:
        """Replace all files at once."""
        data = self.folder / "..data"
        old = data.resolve() if data.is_symlink() else None
        self._states += 1
        state = self.folder / f"..state-{self._states}"
        state.mkdir()
        for name, content in files.items():
            (state / name).write_bytes(content)
        new = self.folder / "..data_tmp"
        new.symlink_to(state.name)
        new.replace(data)
        for name in files:
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        for each in self.folder.iterdir():
            if not each.name.startswith("..") and each.name not in files:
                each.unlink()
        if old is not None:
            shutil.rmtree(old)
