"""Where the result goes: a folder that is whole or not there at all."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from pathlib import Path

from errors import ImageError


def check(out: Path, *, is_layout: bool) -> None:
    """Refuse to replace a folder that no build has written. Raises :class:`ImageError`."""
    if (
        out.exists()
        and not (is_layout and (out / "oci-layout").is_file())
        and (not out.is_dir() or any(out.iterdir()))
    ):
        what = "an OCI image layout, or empty" if is_layout else "empty"
        raise ImageError(f"{out} exists: expected a folder that is {what}: choose another")


def replace(made: Path, out: Path) -> None:
    """Put a folder in the place of another, or of none; across file systems too."""
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    try:
        new, old = beside / "new", beside / "old"
        shutil.move(made, new)
        new.chmod(0o755)
        if out.exists():
            out.rename(old)
        new.rename(out)
    finally:
        shutil.rmtree(beside)


def publish(made: Path, target: Path) -> None:
    """Move a folder to a place where another build may put the same."""
    try:
        made.rename(target)
    except OSError:
        if not target.exists():  # else another build was first
            raise


def extract(layer: Path, root: Path) -> None:
    """Write the content of a layer that this build has made, with modes and times."""
    folders = []
    with tarfile.open(layer) as archive:
        for member in archive:
            path = root / member.name
            if member.issym():
                path.symlink_to(member.linkname)
                continue
            if member.isdir():
                path.mkdir(exist_ok=True)
                folders.append((path, member))
            else:
                content = archive.extractfile(member)
                path.write_bytes(content.read() if content else b"")
            path.chmod(member.mode)
            os.utime(path, (member.mtime, member.mtime))
    for path, member in folders:  # again, because writing into them has changed their times
        os.utime(path, (member.mtime, member.mtime))
