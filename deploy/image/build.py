#!/usr/bin/env python3
"""Build the image as an OCI image layout, without a container engine, and the same every time.

    python3 deploy/image/build.py --out DIR [--arch amd64 --arch arm64] [--variant default] [--extra NAME]

It needs Linux on amd64 or arm64, Python 3.11 or newer, and uv; it needs no root, and nothing of another
architecture is run. Exit codes: 0 built, 1 not built (DIR is as before), 2 wrong options, 3 not built because
no mirror has a locked package. See docs/image.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import debian
import layout
import lock
import options
import python_packages
import target
from errors import ImageError, NotFetchedError
from layer import Layer, Task

HERE = Path(__file__).resolve().parent
TITLE = "provenance-chains"
KEPT = 30 * 24 * 3600
"""How long layers that are not used stay in the cache, in seconds."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Build as the command line says; return the exit code."""
    try:
        given = options.parsed(arguments, __doc__)
        with tempfile.TemporaryDirectory(dir=_folder(given.cache), prefix=".building-") as scratch:
            told = Build(given, Path(scratch)).run()
    except (ImageError, OSError) as error:
        print(f"build.py: {error}", file=sys.stderr)
        return 3 if isinstance(error, NotFetchedError) else 1
    if given.output == "json":
        print(json.dumps(told, indent=2))
        return 0
    for image in told["images"]:
        compressed, unpacked = (
            sum(each[key] for each in image["layers"]) / 1e6 for key in ("size", "unpacked")
        )
        print(f"{image['architecture']}: {compressed:.1f} MB compressed, {unpacked:.1f} MB unpacked")
    print(f"{told['name']} {told['digest']}")
    return 0


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path.resolve()


class Build:
    """One build, whose intermediate files are in ``scratch``, inside the cache."""

    def __init__(self, given: argparse.Namespace, scratch: Path) -> None:
        self._given, self._scratch, self._cache = given, scratch, scratch.parent
        self._native = options.native()
        self._lock = lock.read(given.lock)
        self._mirrors = given.mirror or lock.mirrors()
        self._extras = tuple(sorted({*options.VARIANTS[given.variant], *given.extra}))
        self._epoch = options.epoch()

    def run(self) -> dict[str, Any]:
        """Write what is wanted; return what it is. Raises :class:`ImageError`."""
        out: Path = self._given.out or self._given.root
        target.check(out, is_layout=self._given.root is None)
        wheel: Path | None = self._given.wheel
        wheel = wheel.resolve() if wheel else python_packages.build_wheel(self._scratch, self._epoch)
        wanted = python_packages.requirements(self._extras)
        self._python = self._interpreter()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            architectures = self._given.arch
            # those that take longest first
            packages = [pool.submit(self._packages, each, wanted) for each in architectures]
            bases = [pool.submit(self._base, each) for each in architectures]
            projects = [pool.submit(self._project, each, wheel) for each in architectures]
            layers = [
                [each.result() for each in three] for three in zip(bases, packages, projects, strict=True)
            ]
        images = [layout.Image(name, three) for name, three in zip(self._given.arch, layers, strict=True)]
        made = self._scratch / "made"
        made.mkdir()
        name = "-".join([python_packages.version(), *self._suffix()])
        if self._given.root:
            for _, path, _ in images[0].layers:
                target.extract(path, made)
            digest = ""
        else:
            digest = layout.write(images, self._labels(), self._epoch, name, made)["digest"]
        target.replace(made, out)
        _forget(self._cache / "layers")
        told = [
            {"architecture": each.architecture, "layers": [layer for _, _, layer in each.layers]}
            for each in images
        ]
        return {"name": name, "digest": digest, "extras": self._extras, "images": told}

    def _suffix(self) -> list[str]:
        variant = self._given.variant
        return ([] if variant == "default" else [variant]) + sorted(
            set(self._given.extra) - set(options.VARIANTS[variant])
        )

    def _labels(self) -> dict[str, str]:
        revision = self._given.revision
        labels = {
            "title": TITLE,
            "description": "Supply-chain provenance for Tekton",
            "version": python_packages.version(),
            "licenses": "Apache-2.0",
            "revision": options.revision() if revision is None else revision,
        }
        own = {"variant": "-".join(self._suffix()) or "default", "extras": " ".join(self._extras)}
        return {f"org.opencontainers.image.{key}": value for key, value in labels.items() if value} | {
            f"provenance.chains/{key}": value for key, value in own.items()
        }

    def _interpreter(self) -> list[str | Path]:
        """Return the command of the locked Python, which runs from a folder, with its own libraries."""
        key = _key(*(each.sha256 for each in self._lock.of(self._native)), _source("debian.py"))
        root = self._cache / f"python-{key}"
        if not root.exists():
            made = self._scratch / "python"
            packages = lock.fetch(self._lock, self._native, self._mirrors, self._cache / "debs")
            debian.unpack(packages, self._native, made)
            target.publish(made, root)
        libraries = root / "usr/lib" / debian.MULTIARCH[self._native]
        loader = libraries / debian.LOADER[self._native]
        return [loader, "--library-path", libraries, root / "usr/bin" / debian.PYTHON]

    def _base(self, architecture: str) -> tuple[str, Path, Layer]:
        def fill(root: Path) -> None:
            packages = lock.fetch(self._lock, architecture, self._mirrors, self._cache / "debs")
            debian.unpack(packages, architecture, root)

        content = [each.sha256 for each in self._lock.of(architecture)]
        return self._layer("Debian packages", content, architecture, fill, "usr/lib", _time(self._lock.time))

    def _packages(self, architecture: str, wanted: str) -> tuple[str, Path, Layer]:
        def fill(root: Path) -> None:
            python_packages.install(wanted, architecture, root)

        modified = _time(self._lock.time)
        return self._layer("Python packages", [wanted], architecture, fill, python_packages.SITE, modified)

    def _project(self, architecture: str, wheel: Path) -> tuple[str, Path, Layer]:
        def fill(root: Path) -> None:
            python_packages.install_wheel(wheel, architecture, root)

        content = hashlib.sha256(wheel.read_bytes()).hexdigest()
        return self._layer(TITLE, [content], architecture, fill, python_packages.SITE, self._epoch)

    def _layer(
        self,
        what: str,
        content: Sequence[str],
        architecture: str,
        fill: Callable[[Path], None],
        modules: str,
        modified: int,
    ) -> tuple[str, Path, Layer]:
        """Return a layer from the cache, or make it there."""
        sources = [path.read_text() for path in sorted(HERE.glob("*.py"))]
        key = _key(what, *content, architecture, modules, str(modified), str(self._python[-1]), *sources)
        folder = _folder(self._cache / "layers")
        file, about = folder / f"{key}.tar.gz", folder / f"{key}.json"
        if self._given.fresh or not _whole(file, about):
            name = f"{what} {architecture}".replace(" ", "-")
            root, made = self._scratch / name, self._scratch / f"{name}.tar.gz"
            root.mkdir()
            fill(root)
            task: Task = {"root": str(root), "compile": [modules], "time": modified, "target": str(made)}
            described = self._run_layer(task)
            made.replace(file)
            about.with_suffix(".new").write_text(described)
            about.with_suffix(".new").replace(about)
        for path in (file, about):
            path.touch()
        layer: Layer = json.loads(about.read_bytes())
        return what, file, layer

    def _run_layer(self, task: Task) -> str:
        python = self._python
        home = Path(python[-1]).parents[1]
        environment = {
            "PYTHONHOME": str(home),
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            "LC_ALL": "C.UTF-8",
        }
        done = subprocess.run(
            [*python, "-s", "-S", "-X", "utf8", HERE / "layer.py"], input=json.dumps(task), env=environment,
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise ImageError(f"the locked Python cannot make {task['target']}: {done.stderr[-2000:]}")
        return done.stdout


def _whole(file: Path, about: Path) -> bool:
    """Return whether the cache has a layer with the content that it had when it was made."""
    try:
        digest: str = json.loads(about.read_bytes())["digest"]
        return digest == f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
    except (OSError, ValueError, KeyError):
        return False


def _forget(layers: Path) -> None:
    """Remove layers that no build has used for a long time."""
    for path in layers.iterdir():
        if time.time() - path.stat().st_mtime > KEPT:
            path.unlink(missing_ok=True)


def _time(text: str) -> int:
    return int(datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp())


def _source(name: str) -> str:
    return (HERE / name).read_text()


def _key(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


if __name__ == "__main__":
    sys.exit(main())
