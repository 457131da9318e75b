"""The optional features of the installation: their packages, which are there, and the command for the others.

The distribution itself is on no package index, so ``pip install 'provenance-chains[EXTRA]'`` would find
nothing, or somebody else's package. The packages of an extra are on the usual indexes, and our metadata lists
them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

DISTRIBUTION = "provenance-chains"
_OF_EXTRA = re.compile(r"^(?P<requirement>[^;]+?)\s*;.*\bextra\s*==\s*['\"](?P<extra>[a-z0-9-]+)['\"]")
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def install_hint(extra: str) -> str:
    """Return the command that installs the packages of an extra, as the next step of an error.

    Without metadata of the installation, only the extra's name is known.
    """
    packages = [requirement for name, requirement in _requirements() if name == extra]
    if not packages:
        return f"install {DISTRIBUTION} with its extra {extra}"
    return f"pip install {shlex.join(packages)} brings what is needed"


def packages_of_extras() -> Mapping[str, Mapping[str, str]]:
    """Return the packages of each extra, in the order of names, with the installed versions.

    The version of a package that is not installed is empty. Without metadata of the installation there are no
    extras.
    """
    found: dict[str, dict[str, str]] = {}
    for extra, requirement in sorted(_requirements()):
        name = _NAME.match(requirement)
        if name is not None:
            found.setdefault(extra, {})[name[0]] = _version_of(name[0])
    return found


def _version_of(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - see _requirements

    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _requirements() -> list[tuple[str, str]]:
    """Return each extra with one of its requirements."""
    # slow to import, and only needed for an error or for "chains version"
    from importlib.metadata import PackageNotFoundError, requires  # noqa: PLC0415

    try:
        listed = requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        return []
    found = (_OF_EXTRA.match(line) for line in listed)
    return [(match["extra"], match["requirement"]) for match in found if match is not None]
