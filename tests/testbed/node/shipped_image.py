"""The controller's image, built by ``deploy/image/build.py`` as a user would, in the testbed's cache.

If Debian's archive has a newer version of a locked package and no longer the locked one, the newest versions
are used, so that tests do not fail because of a security update; that is said loudly.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.testbed.build import BuildError, cache, locked, say

ROOT = Path(__file__).parents[3]
SCRIPTS = ROOT / "deploy" / "image"
SOURCE = ("pyproject.toml", "uv.lock", "README.md", "LICENSE", "chains", "signers", "storage", "deploy/image")
"""All that the image depends on, apart from what the locks name."""
TIME = "1700000000"
"""``SOURCE_DATE_EPOCH``, so that the image of the same files is the same after every commit."""
KEPT = 12
"""The number of built images in the cache."""
SECONDS = 1800
NOT_FETCHED = 3


def shipped_image(variant: str = "default", architectures: Sequence[str] = ("amd64",)) -> Path:
    """Return an OCI image layout with a variant of the image, which is built unless the cache has it.

    Raises :class:`BuildError` with the output of the build.
    """
    folder = cache() / "images"
    folder.mkdir(exist_ok=True)
    target = folder / f"chains-{_key(variant, architectures)}"
    if not target.exists():
        with locked("shipped-image"):
            if not target.exists():
                say(f"building the image {target.name} ({variant})")
                started = time.monotonic()
                build("--out", target, "--variant", variant, *(f"--arch={each}" for each in architectures))
                say(f"built {target.name} in {time.monotonic() - started:.0f} s")
                _forget(folder)
    target.touch()
    return target


def source_files() -> Iterator[Path]:
    """Yield every file that the image depends on, relative to the repository's root."""
    for name in SOURCE:
        path = ROOT / name
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (
            each.relative_to(ROOT) for each in found if each.is_file() and "__pycache__" not in each.parts
        )


def build(*options: str | Path) -> str:
    """Run the script with the testbed's cache and return its output. Raises :class:`BuildError`."""
    try:
        return _build(*options)
    except NotFetchedError as error:
        say(f"!!! the lock of the image's base is out of date, so the newest packages are used: {error}")
    with tempfile.TemporaryDirectory() as scratch:
        renewed = Path(scratch) / "base.lock.json"
        run([sys.executable, SCRIPTS / "refresh_lock.py", "--lock", renewed])
        return _build(*options, "--lock", renewed)


def _build(*options: str | Path) -> str:
    command = [sys.executable, SCRIPTS / "build.py", "--cache", cache() / "image", "--revision", ""]
    return run([*command, *options])


class NotFetchedError(BuildError):
    """No mirror has a locked package."""


def _key(variant: str, architectures: Sequence[str]) -> str:
    """Return a name for the state of everything that determines the image."""
    digest = hashlib.sha256(json.dumps([variant, *architectures]).encode())
    for path in source_files():
        digest.update(f"\n{path} ".encode() + hashlib.sha256((ROOT / path).read_bytes()).digest())
    return digest.hexdigest()[:16]


def _forget(folder: Path) -> None:
    """Remove the images that were not used for the longest time."""
    found = sorted(folder.glob("chains-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in found[KEPT:]:
        shutil.rmtree(path)


def run(command: Sequence[str | Path]) -> str:
    shown = " ".join(map(str, command))
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL,
            env={**os.environ, "SOURCE_DATE_EPOCH": TIME},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{shown}: {error}") from error
    if done.returncode:
        wrong = NotFetchedError if done.returncode == NOT_FETCHED else BuildError
        raise wrong(f"{shown}: exit {done.returncode}\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout
