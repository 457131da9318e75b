"""How redaction is configured, apart from the rules, so that a command which redacts nothing starts fast."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RedactionSettings:
    """The keys ``execution.redaction.*``: the key's file, variables that may be shown, an extra pattern."""

    key_file: str = ""
    shown: frozenset[str] = frozenset()
    arguments: str = ""
