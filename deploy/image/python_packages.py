"""The Python packages of the image, for any architecture: those of ``uv.lock`` with hashes, and our wheel.

uv installs them into a folder for a platform; nothing of the platform is run. What an installer writes about
itself and its machine is removed, so that the folder depends on the wheels alone.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from errors import ImageError

ROOT = Path(__file__).resolve().parents[2]
SITE = "usr/local/lib/python3.11/dist-packages"
"""In the image. Debian's Python looks here for packages that are not Debian's."""
PLATFORM = {"amd64": "x86_64-manylinux_2_36", "arm64": "aarch64-manylinux_2_36"}
"""The machine and the version of glibc in the base."""
VERSION = "3.11"
_ABOUT_THE_INSTALLATION = {"INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json"}


def extras() -> tuple[str, ...]:
    """Return the names of all extras, sorted."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return tuple(sorted(project["optional-dependencies"]))


def version() -> str:
    """Return the project's version, without an import of it."""
    text = (ROOT / "chains/__init__.py").read_text()
    return re.findall(r'^__version__ = "(.+)"$', text, re.MULTILINE)[0]


def requirements(wanted: Sequence[str]) -> str:
    """Return the locked requirements of the project with some extras, with hashes."""
    options = [f"--extra={name}" for name in wanted]
    return _uv(
        "export", "--frozen", "--no-dev", *options, "--no-emit-project", "--no-header", "--no-annotate"
    )


def build_wheel(scratch: Path, epoch: int) -> Path:
    """Build the project's wheel with the locked build system; return its path."""
    locked = scratch / "build-requirements.txt"
    locked.write_text(
        _uv(
            "export", "--frozen", "--only-group", "build", "--no-emit-project", "--no-header", "--no-annotate"
        )
    )
    target = scratch / "wheel"
    command = ("build", "--wheel", "--no-create-gitignore", "--out-dir", target, "--python", sys.executable)
    _uv(*command, "--require-hashes", "--build-constraints", locked, epoch=epoch)
    (wheel,) = target.glob("*.whl")
    return wheel


def install(wanted: str, architecture: str, root: Path) -> None:
    """Install requirements with hashes into the image's folder for packages, below ``root``."""
    listed = root.with_name(f"{root.name}.txt")
    listed.write_text(wanted)
    _install(architecture, root, "--require-hashes", "--requirement", listed)


def install_wheel(wheel: Path, architecture: str, root: Path) -> None:
    """Install the project's wheel below ``root``, with the command."""
    _install(architecture, root, wheel)
    command = root / "usr/local/bin/chains"
    command.parent.mkdir(parents=True)
    command.write_text(
        "#!/usr/bin/python3\nimport sys\n\nfrom chains.__main__ import main\n\nif __name__ == '__main__':\n"
        "    sys.exit(main())\n"
    )
    command.chmod(0o755)


def _install(architecture: str, root: Path, *what: str | Path) -> None:
    site = root / SITE
    site.mkdir(parents=True)
    options = (
        "--python",
        sys.executable,
        "--python-version",
        VERSION,
        "--python-platform",
        PLATFORM[architecture],
    )
    _uv("pip", "install", "--target", site, *options, "--no-deps", "--only-binary", ":all:", *what)
    # commands of other packages, for which nobody looks in this image
    shutil.rmtree(site / "bin", ignore_errors=True)
    for path in sorted(site.iterdir()):
        if path.name in {".lock", "__pycache__"}:
            _remove(path)
        elif path.name.endswith(".dist-info"):
            for name in _ABOUT_THE_INSTALLATION:
                (path / name).unlink(missing_ok=True)
            _record(path, site)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _record(info: Path, site: Path) -> None:
    """Write the list of a package's files again: those that exist, sorted, with the hashes they have."""
    record = info / "RECORD"
    names = {row[0] for row in csv.reader(io.StringIO(record.read_text())) if row}
    rows = []
    for name in sorted(names):
        path = site / name
        if path == record:
            rows.append([name, "", ""])
        elif path.is_file():
            data = path.read_bytes()
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            rows.append([name, f"sha256={digest}", str(len(data))])
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    record.unlink()  # it may be a link into uv's cache
    record.write_text(text.getvalue())


def uv() -> str:
    """Return the path of uv. Raises :class:`ImageError` without it."""
    found = shutil.which("uv") or shutil.which("uv", path=ROOT / ".uv" / "bin")
    if found is None:
        pinned = re.search(r"uv==\S+", (Path(__file__).parent / "uv-requirements.txt").read_text())
        raise ImageError(f"uv is not installed: pip install {pinned[0] if pinned else 'uv'}")
    return found


def _uv(*command: str | Path, epoch: int | None = None) -> str:
    environment = dict(os.environ)
    if epoch is not None:
        environment["SOURCE_DATE_EPOCH"] = str(epoch)
    done = subprocess.run(
        [uv(), "--quiet", "--no-progress", *command],
        cwd=ROOT, env=environment, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode:
        raise ImageError(
            f"uv {command[0]}: exit {done.returncode}: {_without_passwords(done.stderr.strip())[-2000:]}"
        )
    return done.stdout


def _without_passwords(text: str) -> str:
    return re.sub(r"//[^/@\s]*@", "//", text)
