"""The artifacts of a release, built twice from the commit: a build that differs is an error."""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deploy.release.charts import chart, chart_folders
from deploy.release.commands import run
from deploy.release.errors import ReleaseError
from deploy.release.source import Source, export

Kind = Literal["wheel", "sdist", "chart", "manifest"]
PACKAGES: tuple[Kind, ...] = ("wheel", "sdist")
REGISTRY = "localhost"
"""The registry in the names of artifacts. A release has none: whoever publishes it chooses one."""
NAME = "provenance-chains"


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file of a release."""

    kind: Kind
    path: str
    """Its name in the folder of the release."""
    digest: str
    """``sha256:HEX`` of the file."""
    part: str = ""
    """Which chart or manifest it is; empty for the packages."""

    @property
    def name(self) -> str:
        """A name for people and for files: ``wheel``, ``chart-chains-web``, ``manifest-release``."""
        return "-".join([self.kind, self.part]) if self.part else self.kind

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
        return f"{REGISTRY}/{NAME}/{self.name}"


def sha256_of(path: Path) -> str:
    """Return ``sha256:HEX`` of a file."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def build_twice(
    build: Callable[[Path, Path], Sequence[Path]], root: Path, source: Source, out: Path
) -> list[Path]:
    """Run a build in two exports of the commit, hold that both give the same bytes, and keep the files.

    ``build`` gets the export and an empty folder for its results, and returns the files. Raises
    :class:`ReleaseError`.
    """
    with tempfile.TemporaryDirectory(prefix="chains-release-") as folder:
        made = []
        # of different lengths, so that a path inside an artifact is found
        for name in ("first", "the-second-one"):
            into = Path(folder) / f"{name}-out"
            into.mkdir()
            made.append(build(export(root, source, Path(folder) / name), into))
        first, second = ({path.name: sha256_of(path) for path in paths} for paths in made)
        for name in sorted(first | second):
            if first.get(name) != second.get(name):
                raise ReleaseError(
                    f"{name}: built twice, {first.get(name)} and {second.get(name)}: not reproducible"
                )
        return [Path(shutil.copyfile(path, out / path.name)) for path in made[0]]


def build_artifacts(root: Path, source: Source, out: Path, image: str) -> list[Artifact]:
    """Build packages and charts, and with ``image`` (``NAME@sha256:HEX``) the manifests of a release."""

    def build(tree: Path, into: Path) -> list[Path]:
        found = [package(kind, tree, source, into) for kind in PACKAGES]
        found += [chart(path, source, into) for path in chart_folders(tree)]
        return found + (manifests(tree, into, image) if image else [])

    listed = []
    for path in build_twice(build, root, source, out):
        kind = kind_of(path)
        part = {"chart": path.name.removesuffix(f"-{source.version}.tgz"), "manifest": path.stem}
        listed.append(Artifact(kind, path.name, sha256_of(path), part.get(kind, "")))
    return listed


def package(kind: str, tree: Path, source: Source, into: Path) -> Path:
    """Build the wheel or the source distribution with the locked hatchling of this environment."""
    made = into / kind
    command: list[str | Path] = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", made]
    run(command, tree, {"SOURCE_DATE_EPOCH": str(source.epoch), "PYTHONDONTWRITEBYTECODE": "1"})
    (path,) = made.iterdir()
    if source.version not in path.name:
        raise ReleaseError(f"{path.name}: expected version {source.version}")
    return path


def manifests(tree: Path, into: Path, image: str) -> list[Path]:
    """Write ``release.yaml`` and its companions with the image pinned by its digest."""
    made = into / "manifests"
    run([sys.executable, tree / "deploy/write_release.py", "--image", image, "--output", made], tree)
    return sorted(made.iterdir())


def kind_of(path: Path) -> Kind:
    """Return the kind of a file by its name."""
    kinds: dict[str, Kind] = {".whl": "wheel", ".gz": "sdist", ".tgz": "chart", ".yaml": "manifest"}
    return kinds[path.suffix]
