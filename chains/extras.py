"""How to install what an optional feature needs: the packages of an extra, by name.

The distribution itself is on no index, so ``pip install 'provenance-chains[EXTRA]'`` would find nothing or
somebody else's package. What an extra brings is on every index, and its metadata says what that is.
"""

from __future__ import annotations

import re
import shlex

DISTRIBUTION = "provenance-chains"
_OF_EXTRA = re.compile(r"^(?P<requirement>[^;]+?)\s*;.*\bextra\s*==\s*['\"](?P<extra>[a-z0-9-]+)['\"]")


def install_hint(extra: str) -> str:
    """Return the command that installs the packages of an extra, as the next step of an error.

    Where the installation has no metadata, the extra's name is all that is known.
    """
    packages = _packages(extra)
    if not packages:
        return f"install {DISTRIBUTION} with its extra {extra}"
    return f"pip install {shlex.join(packages)} brings what is needed"


def _packages(extra: str) -> list[str]:
    # it takes as long as everything else that "chains --help" imports, and only an error needs it
    from importlib.metadata import PackageNotFoundError, requires  # noqa: PLC0415

    try:
        listed = requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        return []
    found = (_OF_EXTRA.match(line) for line in listed)
    return [match["requirement"] for match in found if match is not None and match["extra"] == extra]
