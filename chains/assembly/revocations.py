"""From a file, references of keys and a state file to what is revoked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from chains.assembly.trust import open_listed_keys
from chains.config.parse import Config
from chains.errors import UsageError
from chains.revocation.memory import Memory
from chains.revocation.read import ListWanted, read_revocations
from chains.revocation.revocations import Revocations
from signers.keys.keyset import ListedKey

NO_MEMORY = "none"
"""The name of a state file with which nothing is remembered."""


def open_revocations(
    path: str | Path,
    keys: Sequence[str],
    *,
    state: str | Path = "",
    minimum: int = 0,
    config: Config | None = None,
    now: datetime | None = None,
) -> Revocations:
    """Read the revocation list in a file, signed by one of the keys, and remember its version.

    ``keys`` are references as of ``chains verify --key``. ``state`` is the file that remembers, by default
    :func:`default_state`; with ``"none"`` nothing is remembered, and ``minimum`` alone keeps old lists out.
    A list that cannot be used does not raise: with it, every answer is undecided. Raises :class:`UsageError`
    for keys that cannot be read, and without a place for the state file.
    """
    if not keys:
        raise UsageError(f"revocation list {path}: no key: name the keys that may sign it")
    return read_list(str(path), open_listed_keys(keys, config), state=state, minimum=minimum, now=now)


def read_list(
    path: str,
    keys: Sequence[ListedKey],
    *,
    state: str | Path = "",
    minimum: int = 0,
    now: datetime | None = None,
) -> Revocations:
    """Do what :func:`open_revocations` does, with keys that are open."""
    memory = None if str(state) == NO_MEMORY else Memory(Path(state) if str(state) else default_state())
    return read_revocations(ListWanted(path, keys, minimum, memory), now or datetime.now(UTC))


def default_state() -> Path:
    """Return where versions are remembered: ``$XDG_STATE_HOME`` or ``~/.local/state``.

    Raises :class:`UsageError` without a home folder.
    """
    base = os.environ.get("XDG_STATE_HOME", "")
    try:
        folder = Path(base) if base.startswith("/") else Path.home() / ".local" / "state"
    except RuntimeError as error:
        raise UsageError(
            "revocation lists need a state file, and there is no home folder: name one with "
            "--revocations-state FILE"
        ) from error
    return folder / "provenance-chains" / "revocations.json"
