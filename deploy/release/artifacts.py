"""The artifacts of a release, built twice from the commit: a build that differs is an error."""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from deploy.release.commands import run
from deploy.release.errors import ReleaseError
from deploy.release.source import Source, export

Kind = Literal["wheel", "sdist", "chart", "manifest", "image"]
REGISTRY = "localhost"
"""The registry in the names of artifacts. A release has none: whoever publishes it chooses one."""
NAME = "provenance-chains"


@dataclass(frozen=True, slots=True)
class Artifact:
    """One artifact: a file, or an image of the layout in ``image/``."""

    kind: Kind
    path: str
    """Its path in the folder of the release; of an image that of the layout."""
    digest: str
    """``sha256:HEX`` of the file, or of the image's manifest or index."""
    media_type: str = ""
    platform: str = ""
    """``OS/ARCHITECTURE`` of one of an image's platforms; empty for the index, and for files."""
    inputs: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """What it was built from besides the commit: package URLs with ``sha256:HEX``."""

    @property
    def name(self) -> str:
        """A name for people and for files: ``wheel``, ``image``, ``image-linux-arm64``."""
        return "-".join([self.kind, *self.platform.split("/")]) if self.platform else self.kind

    @property
    def hex(self) -> str:
        """The digest without its algorithm."""
        return self.digest.partition(":")[2]

    @property
    def image(self) -> str:
        """The name by which policies know it: ``localhost/provenance-chains/wheel@sha256:HEX``."""
        return f"{self.repository}@{self.digest}"

    @property
    def repository(self) -> str:
        """The name of the subject in statements about it."""
        return f"{REGISTRY}/{NAME}" if self.kind == "image" else f"{REGISTRY}/{NAME}/{self.kind}"


def sha256_of(path: Path) -> str:
    """Return ``sha256:HEX`` of a file."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def build_twice(build: Callable[[Path, Path], Path], root: Path, source: Source, out: Path) -> Path:
    """Run a build in two exports of the commit, hold that both give the same bytes, and keep the file.

    ``build`` gets the export and a folder for its result, and returns the file. Raises
    :class:`ReleaseError`.
    """
    with tempfile.TemporaryDirectory(prefix="chains-release-") as folder:
        made = []
        # of different lengths, so that a path inside an artifact is found
        for name in ("first", "the-second-one"):
            into = Path(folder) / f"{name}-out"
            into.mkdir()
            made.append(build(export(root, source, Path(folder) / name), into))
        digests = [sha256_of(path) for path in made]
        if digests[0] != digests[1] or made[0].name != made[1].name:
            raise ReleaseError(
                f"{made[0].name}: built twice, {digests[0]} and {digests[1]}: not reproducible"
            )
        target = out / made[0].name
        shutil.copyfile(made[0], target)
    return target


def build_package(kind: Literal["wheel", "sdist"], root: Path, source: Source, out: Path) -> Artifact:
    """Build the wheel or the source distribution with the locked hatchling of this environment."""

    def build(tree: Path, into: Path) -> Path:
        command: list[str | Path] = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", into]
        run(command, tree, {"SOURCE_DATE_EPOCH": str(source.epoch), "PYTHONDONTWRITEBYTECODE": "1"})
        (made,) = into.iterdir()
        return made

    path = build_twice(build, root, source, out)
    if source.version not in path.name:
        raise ReleaseError(f"{path.name}: expected version {source.version}")
    return Artifact(kind, path.name, sha256_of(path))
