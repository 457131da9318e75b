"""A real browser, and axe-core, with which its pages are checked for access.

Chromium is a package of the system (``.ci/run``).
"""

from __future__ import annotations

from pathlib import Path

from tests.testbed.build import BuildError
from tests.testbed.npm import package

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ("--no-sandbox", "--disable-dev-shm-usage")
AXE = (
    "axe-core",
    "4.14.1",
    "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
)


def axe_source() -> str:
    """Return the script that checks a page for access. Raises :class:`BuildError`."""
    return (package(*AXE) / "axe.min.js").read_text()


def chromium() -> str:
    """Return the path of the browser. Raises :class:`BuildError`."""
    if not CHROMIUM.exists():
        raise BuildError(f"{CHROMIUM} is missing: install chromium")
    return str(CHROMIUM)
