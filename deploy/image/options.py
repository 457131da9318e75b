"""The command line, its environment, and what is taken from git if neither says it."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import debian
import lock
import python_packages
from errors import ImageError

HERE = Path(__file__).resolve().parent
NATIVE = {"x86_64": "amd64", "aarch64": "arm64"}
ARCHITECTURES = sorted(debian.MULTIARCH)
VARIANTS: dict[str, tuple[str, ...]] = {
    "slim": ("controller",),
    "default": ("controller", "keyless"),
    # the extra "cluster" is for command lines outside of clusters
    "full": tuple(name for name in python_packages.extras() if name != "cluster"),
}


def parsed(arguments: Sequence[str] | None, about: str | None) -> argparse.Namespace:
    """Return the options, checked. Exits with 2 and a sentence if they are wrong."""
    parser = argparse.ArgumentParser(
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Environment, used without the option: CHAINS_IMAGE_ARCH, CHAINS_IMAGE_VARIANT, "
        "CHAINS_IMAGE_EXTRA, CHAINS_IMAGE_MIRROR, CHAINS_IMAGE_CACHE; lists are separated by spaces. "
        "SOURCE_DATE_EPOCH: the time of the image, by default that of the last commit.",
    )
    add = parser.add_argument
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="the OCI image layout to write; an existing layout is replaced",
    )
    target.add_argument("--root", type=Path, metavar="DIR", help="only the root folder, for one architecture")
    add(
        "--arch",
        action="append",
        help=f"{' or '.join(ARCHITECTURES)}; default: all, for --root this machine's",
    )
    add(
        "--variant",
        default=os.environ.get("CHAINS_IMAGE_VARIANT") or "default",
        help=f"the extras: {_told()}",
    )
    add("--extra", action="append", metavar="NAME", help="one more extra of pyproject.toml")
    add("--wheel", type=Path, metavar="FILE", help="the project's wheel; default: built from this source")
    add(
        "--lock",
        type=Path,
        default=HERE / "base.lock.json",
        metavar="FILE",
        help="the base's Debian packages",
    )
    add("--mirror", action="append", metavar="URL", help="root of Debian's archives; default: apt's, or "
        f"{lock.PUBLIC}; {lock.SNAPSHOT} keeps old versions")  # fmt: skip
    add("--cache", type=Path, default=_default_cache(), metavar="DIR", help="default: %(default)s")
    add("--fresh", action="store_true", help="build every layer again, even if the cache has it")
    add("--revision", help="the commit that the label names; default: that of git")
    add("--output", choices=("text", "json"), default="text", help="how the result is told on stdout")
    options = parser.parse_args(arguments)
    options.arch = options.arch or os.environ.get("CHAINS_IMAGE_ARCH", "").split()
    options.arch = sorted(set(options.arch)) or ([native()] if options.root else ARCHITECTURES)
    options.extra = options.extra or os.environ.get("CHAINS_IMAGE_EXTRA", "").split()
    known = python_packages.extras()
    for what, values, expected in (
        ("architecture", options.arch, ARCHITECTURES),
        ("variant", [options.variant], VARIANTS),
        ("extra", options.extra, known),
    ):
        for value in values:
            if value not in expected:
                parser.error(f"unknown {what} {value!r}: expected one of {', '.join(expected)}")
    if options.root and len(options.arch) != 1:
        parser.error(f"--root needs one architecture, got {', '.join(options.arch)}: pass one --arch")
    return options


def _told() -> str:
    return (
        "; ".join(f"{name}: {', '.join(extras)}" for name, extras in VARIANTS.items() if name != "full")
        + "; full: all"
    )


def _default_cache() -> Path:
    named = os.environ.get("CHAINS_IMAGE_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(named) if named else base / "provenance-chains" / "image"


def native() -> str:
    """Return this machine's architecture. Raises :class:`ImageError` if the lock has no Python for it."""
    native = NATIVE.get(platform.machine()) if sys.platform == "linux" else None
    if native is None:
        raise ImageError(
            f"this is {sys.platform} on {platform.machine()}: expected Linux on amd64 or arm64, "
            "whose Python the lock has: build deploy/Dockerfile with a container engine instead"
        )
    return native


def epoch() -> int:
    """Return ``SOURCE_DATE_EPOCH``, or the time of the last commit."""
    named = os.environ.get("SOURCE_DATE_EPOCH") or _git("log", "-1", "--format=%ct")
    if not named.isdecimal():
        raise ImageError(
            f"SOURCE_DATE_EPOCH: expected seconds since 1970, got {named!r}: set it to the time of the commit"
        )
    return int(named)


def revision() -> str:
    """Return the commit, marked if the source differs from it; nothing if this is no checkout."""
    commit = _git("rev-parse", "HEAD")
    return f"{commit}-changed" if commit and _git("status", "--porcelain") else commit


def _git(*command: str) -> str:
    """Return git's answer, or nothing if this is no checkout."""
    git = shutil.which("git")
    if git is None or not (python_packages.ROOT / ".git").exists():
        return ""
    done = subprocess.run(
        [git, *command], cwd=python_packages.ROOT, check=False, capture_output=True, text=True
    )
    return done.stdout.strip() if done.returncode == 0 else ""
