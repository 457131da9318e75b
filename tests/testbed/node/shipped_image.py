"""The controller's image, built from ``deploy/Dockerfile`` with buildah, without a container engine.

The base image of the Dockerfile comes from a registry that may not be reachable. A stand-in with the same
name is made of Debian's own packages. Both are stored in the testbed's cache, under names that depend on
their content. Package indexes that builds need are read from this machine's configuration and mounted, so
that they are in no layer.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.testbed.build import BuildError, cache, locked, say

ROOT = Path(__file__).parents[3]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
IGNORE = ROOT / "deploy" / "Dockerfile.dockerignore"
PACKAGES = "python3,python3-venv,python3-pip,ca-certificates"
SUITE = "bookworm"
# Debian's own pip, 23.0, cannot install locked requirements of extras with hashes; the real base has this one
PIP = "pip==24.0"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
KEPT = 2
"""The number of built images in the cache."""
LAYERS_KEPT = 150
SECONDS = 1800
# that of the project's environment has no pip
_PYTHON: str = getattr(sys, "_base_executable", sys.executable)


def shipped_image() -> Path:
    """Return an OCI image layout with the image, which is built unless the cache has it.

    Raises :class:`BuildError` with the output of the build.
    """
    folder = cache() / "images"
    folder.mkdir(exist_ok=True)
    target = folder / f"chains-{_key()}"
    if not target.exists():
        with locked("shipped-image"):
            if not target.exists():
                _build(target)
                _forget(folder)
    target.touch()
    return target


def _key() -> str:
    """Return a name for the state of everything that determines the image."""
    digest = hashlib.sha256()
    for path in (Path(__file__), *_context()):
        digest.update(f"\n{path.relative_to(ROOT)} ".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _context() -> Iterator[Path]:
    """Yield the Dockerfile and every file that it may copy."""
    yield from (DOCKERFILE, IGNORE)
    for name in IGNORE.read_text().split():
        if name.startswith("!"):
            path = ROOT / name[1:]
            found = sorted(path.rglob("*")) if path.is_dir() else [path]
            yield from (each for each in found if each.is_file() and "__pycache__" not in each.parts)


def _build(target: Path) -> None:
    say(f"building the controller's image {target.name}")
    started = time.monotonic()
    base = re.search(r"^FROM (\S+)", DOCKERFILE.read_text(), re.MULTILINE)
    assert base is not None
    archive = stand_in()
    storage = target.parent / f"storage-of-{archive.stem}"
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".building-") as scratch:
        buildah = _Buildah(storage, Path(scratch))
        buildah.bound()
        buildah.add_base(base[1], archive)
        made = Path(scratch) / "layout"
        buildah.build(made)
        made.replace(target)
    say(f"built {target.name} in {time.monotonic() - started:.0f} s")


def _forget(folder: Path) -> None:
    """Remove the images that were not used for the longest time."""
    found = sorted(folder.glob("chains-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in found[KEPT:]:
        shutil.rmtree(path)


class _Buildah:
    """Buildah with its own storage, which keeps the layers of the dependencies between builds."""

    def __init__(self, storage: Path, scratch: Path) -> None:
        self._storage, self._scratch = storage, scratch

    def bound(self) -> None:
        """Delete the storage after many builds, because each leaves something there."""
        if len(list((self._storage / "overlay").glob("*"))) > LAYERS_KEPT:
            shutil.rmtree(self._storage)

    def add_base(self, name: str, archive: Path) -> None:
        """Make a base image from an archive of its root folder, unless it exists."""
        if name in self._run("images", "--format", "{{.Name}}:{{.Tag}}").split():
            return
        container = self._run("from", "scratch").strip()
        self._run("add", "--quiet", container, archive, "/")
        self._run("config", "--env", "PATH=/usr/local/bin:/usr/bin:/bin", container)
        self._run("commit", "--quiet", container, name)
        self._run("rm", container)

    def build(self, into: Path) -> None:
        """Build the Dockerfile and write the image to an OCI image layout."""
        mounts = [f"--volume={path}:{at}:ro" for path, at in self._configuration()]
        self._run(
            "bud", "--isolation=chroot", "--network=host", "--pull-never", "--format=oci", "--layers", *mounts,
            f"--file={DOCKERFILE}", f"--ignorefile={IGNORE}", "--tag=chains", ROOT,
        )  # fmt: skip
        self._run("push", "--quiet", "chains", f"oci:{into}")
        self._run("rmi", "chains")

    def _configuration(self) -> Iterator[tuple[Path, str]]:
        """Yield the files with this machine's package index for pip and uv, and where these look for them."""
        listed = run([_PYTHON, "-m", "pip", "config", "list"])
        found = dict(re.findall(r"^\S+?\.([\w-]+)='(.*)'$", listed, re.MULTILINE))
        names = ("index-url", "extra-index-url", "trusted-host", "proxy")
        lines = [f"{name} = {found[name]}" for name in names if name in found]
        if CERTIFICATES.exists():
            lines.append(f"cert = {CERTIFICATES}")
            yield CERTIFICATES, str(CERTIFICATES)
        pip, uv = self._scratch / "pip.conf", self._scratch / "uv.toml"
        pip.write_text("\n".join(["[global]", "timeout = 180", *lines]) + "\n")
        index = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("UV_INDEX_URL") or found.get("index-url")
        uv.write_text("native-tls = true\n" + (f'index-url = "{index}"\n' if index else ""))
        yield pip, "/etc/pip.conf"
        yield uv, "/etc/uv/uv.toml"

    def _run(self, *command: str | Path) -> str:
        # mounts of its own, so that none is left on the machine
        private = ("unshare", "--mount", "--propagation", "private")
        storage = ("--root", self._storage, "--runroot", self._scratch / "run", "--storage-driver", "overlay")
        return run([*private, "buildah", *storage, *command])


def stand_in() -> Path:
    """Return an archive of a root folder with Debian's Python, which is made unless the cache has it.

    Raises :class:`BuildError` with the output.
    """
    named = hashlib.sha256(f"{SUITE} {PACKAGES} {PIP}".encode()).hexdigest()[:16]
    target = cache() / f"python-base-{named}.tar"
    if not target.exists():
        with locked("python-base"):
            if not target.exists():
                _make_stand_in(target)
    return target


def _make_stand_in(target: Path) -> None:
    say(f"making {target.name} of Debian's packages")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".making-") as scratch:
        wheels, made = Path(scratch) / "wheels", Path(scratch) / "base.tar"
        run([_PYTHON, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", wheels, PIP])
        hook = (
            'ln -s python3 "$1/usr/bin/python"; rm "$1"/usr/lib/python3.*/EXTERNALLY-MANAGED; '
            f'rm "$1"/usr/share/python-wheels/pip-*; cp {wheels}/* "$1/usr/share/python-wheels/"'
        )
        command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}"]
        run([*command, f"--customize-hook={hook}", SUITE, made, _mirror()])
        made.replace(target)
    say(f"made {target.name} in {time.monotonic() - started:.0f} s")


def _mirror() -> str:
    """Return this machine's source of Debian packages."""
    for path in sorted(Path("/etc/apt").rglob("*")):
        if path.suffix in {".list", ".sources"} and (
            found := re.search(r"^(?!#).*?(https?://\S+/debian)/?(?:\s|$)", path.read_text(), re.MULTILINE)
        ):
            return found[1]
    raise BuildError("/etc/apt names no archive of Debian's packages")


def run(command: Sequence[str | Path]) -> str:
    shown = " ".join(map(str, command))
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{shown}: {error}") from error
    if done.returncode:
        raise BuildError(f"{shown}: exit {done.returncode}\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout
