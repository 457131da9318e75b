"""Which program makes a report: its version, and a digest over its installed files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from chains import DISTRIBUTION, __version__
from chains.report.document.format import Tool

_PACKAGES = ("chains", "signers", "storage")
_LEFT_OUT = frozenset({".pyc", ".pyo"})


def this_program() -> Tool:
    """Return name, version and digest of this program.

    The digest is the SHA-256 over a line for each file of its three packages, ordered by path: the SHA-256
    in hex, two blanks and the path, as ``sha256sum`` writes it.
    """
    root = Path(__file__).resolve().parents[3]
    lines = hashlib.sha256()
    for package in _PACKAGES:
        for path in sorted(
            one for one in (root / package).rglob("*") if one.is_file() and one.suffix not in _LEFT_OUT
        ):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            lines.update(f"{digest}  {path.relative_to(root).as_posix()}\n".encode(errors="backslashreplace"))
    return {
        "name": DISTRIBUTION,
        "version": __version__,
        "digest": f"sha256:{lines.hexdigest()}",
    }
