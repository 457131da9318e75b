"""The command that installs the packages of an optional feature.

The distribution itself is on no package index, so ``pip install 'provenance-chains[EXTRA]'`` would find
nothing, or somebody else's package. The packages of an extra are on the usual indexes, and our metadata lists
them.
"""

from __future__ import annotations

import re
import shlex

DISTRIBUTION = "provenance-chains"
_OF_EXTRA = re.compile(r"^(?P<requirement>[^;]+?)\s*;.*\bextra\s*==\s*['\"](?P<extra>[a-z0-9-]+)['\"]")


def install_hint(extra: str) -> str:
    """Return the command that installs the packages of an extra, as the next step of an error.

    Without metadata of the installation, only the extra's name is known.
    """
    packages = _packages(extra)
    if not packages:
        return f"install {DISTRIBUTION} with its extra {extra}"
    return f"pip install {shlex.join(packages)} brings what is needed"


def _packages(extra: str) -> list[str]:
    # slow to import, and only needed for an error
    from importlib.metadata import PackageNotFoundError, requires  # noqa: PLC0415

    try:
        listed = requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        return []
    found = (_OF_EXTRA.match(line) for line in listed)
    return [match["requirement"] for match in found if match is not None and match["extra"] == extra]
