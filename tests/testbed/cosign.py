"""cosign as an independent verifier, offline. Its keys have an empty password."""

from __future__ import annotations

from pathlib import Path

from tests.testbed.commands import Command

Cosign = Command


def cosign_in(program: Path, home: Path) -> Cosign:
    """Return cosign with the home folder ``home``; call it with its arguments."""
    return Cosign("cosign", program, home, {"COSIGN_PASSWORD": "", "SIGSTORE_NO_CACHE": "true"})
