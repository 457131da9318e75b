"""Packages that npm publishes: fetched once by npm itself, compared with a digest, and kept in the testbed's cache.

Nothing of them is run by node, and no script of theirs is.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from base64 import b64encode
from pathlib import Path
from typing import Any

from tests.testbed.build import BuildError, cache, locked, say

VNU = (
    "vnu-jar",
    "26.9.27",
    "TkQd5DFfOaWC9ebtvozTsrH2Vaod3jYg+vrOeREzIXxBexLz9+rS2DNtjn7+RPUiZhgli0SghgBX6RJRNea0KA==",
)
"""The Nu Html Checker: its name, its version, and the SHA-512 of the package."""
_SECONDS = 300


def package(name: str, version: str, sha512: str) -> Path:
    """Return the folder of a package. Raises :class:`BuildError` if npm is missing or gave something else."""
    folder = cache() / f"npm-{name}-{version}"
    with locked(f"npm-{name}"):
        if folder.exists():
            return folder
        npm = shutil.which("npm")
        if npm is None:
            raise BuildError(f"{name} {version}: npm is not installed: apt-get install npm")
        say(f"fetching {name} {version}")
        with tempfile.TemporaryDirectory(dir=cache(), prefix=".installing-") as scratch:
            command = [npm, "pack", f"{name}@{version}", "--ignore-scripts", "--silent"]
            done = subprocess.run(
                command, cwd=scratch, timeout=_SECONDS, capture_output=True, text=True, check=False
            )  # fmt: skip
            packed = Path(scratch) / f"{name}-{version}.tgz"
            if done.returncode or not packed.is_file():
                raise BuildError(f"{name} {version}: not fetched\n{done.stdout}{done.stderr}")
            found = b64encode(hashlib.sha512(packed.read_bytes()).digest()).decode()
            if found != sha512:
                raise BuildError(f"{name} {version}: expected the SHA-512 {sha512}, got {found}")
            into = Path(scratch) / "into"
            with tarfile.open(packed) as archive:
                archive.extractall(into, filter="data")
            (into / "package").rename(folder)
    return folder


def html_problems(*pages: Path) -> list[dict[str, Any]]:
    """Return what the Nu Html Checker finds in HTML files, warnings too.

    Raises :class:`BuildError` if it, or Java, is missing.
    """
    java = shutil.which("java")
    if java is None:
        raise BuildError("the Nu Html Checker needs Java: apt-get install default-jre-headless")
    jar = package(*VNU) / "build" / "dist" / "vnu.jar"
    done = subprocess.run(
        [java, "-jar", str(jar), "--format", "json", "--exit-zero-always", "--stdout", *map(str, pages)],
        timeout=_SECONDS, capture_output=True, check=True,
    )  # fmt: skip
    found: list[dict[str, Any]] = json.loads(done.stdout)["messages"]
    return found
