"""Packs a Helm chart as ``helm package`` does, but with the same bytes every time."""

from __future__ import annotations

import gzip
import tarfile
from io import BytesIO
from pathlib import Path

from deploy.release.source import Source


def chart_folders(tree: Path) -> list[Path]:
    """Return the folders of the charts."""
    return sorted(path.parent for path in (tree / "deploy/helm").glob("*/Chart.yaml"))


def chart(folder: Path, source: Source, into: Path) -> Path:
    """Write ``NAME-VERSION.tgz``: files in the order of names, owned by root, with the time of the commit."""
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        # helm wants Chart.yaml, whatever else there is
        for path in sorted(one for one in folder.rglob("*") if one.is_file()):
            data = path.read_bytes()
            entry = tarfile.TarInfo(f"{folder.name}/{path.relative_to(folder).as_posix()}")
            entry.size, entry.mtime, entry.mode = len(data), source.epoch, 0o644
            archive.addfile(entry, BytesIO(data))
    made = into / f"{folder.name}-{source.version}.tgz"
    made.write_bytes(gzip.compress(packed.getvalue(), mtime=source.epoch))
    return made
