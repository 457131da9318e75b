"""The room's errors.

:class:`ChainsError`              exit code 1
 ├─ :class:`UsageError`           2: wrong words on the command line
 ├─ :class:`ConfigError`          2: a configuration that cannot be used
 ├─ :class:`InputError`           1: a run or file that cannot be read
 └─ :class:`EvidenceError`        1: signed bytes that are not what they should be
"""

from __future__ import annotations


class ChainsError(Exception):
    """Base of the room's errors; the text is for the user."""

    exit_code = 1


class UsageError(ChainsError):
    """The command line cannot be carried out as written."""

    exit_code = 2


class InputError(ChainsError):
    """A run or a file cannot be read."""


class EvidenceError(ChainsError):
    """Signed bytes are not what they should be."""
