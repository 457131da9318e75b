"""The room's errors.

:class:`ChainsError`              exit code 1
 ├─ :class:`UsageError`           2: wrong words on the command line
 ├─ :class:`ConfigError`          2: a configuration that cannot be used, with every problem it has
 │   └─ :class:`UnreachableError` 2: one that a service keeps from being used for now
 ├─ :class:`InputError`           1: a run or file that cannot be read
 └─ :class:`EvidenceError`        1: signed bytes that are not what they should be
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal


class ChainsError(Exception):
    """Base of the room's errors; the text is for the user."""

    exit_code = 1

    @property
    def lines(self) -> tuple[str, ...]:
        """The text as a person reads it: the first line, and what belongs below it."""
        return (str(self),)


class UsageError(ChainsError):
    """The command line cannot be carried out as written."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a configuration, for the user; never holds a secret value.

    ``error`` means that it is refused or would lose settings or evidence, ``warning`` that it works but is
    risky or has no effect. ``suggestion`` is the key or value that was probably meant, else empty.
    """

    key: str
    severity: Literal["error", "warning"]
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        hint = f"; did you mean {self.suggestion}?" if self.suggestion else ""
        return f"{self.key}: {self.message}{hint}"


class ConfigError(ChainsError):
    """A configuration cannot be used; ``problems`` has what is wrong with which key."""

    exit_code = 2

    def __init__(self, message: str = "", problems: Iterable[Problem] = ()) -> None:
        self.problems = tuple(problems)
        told = "; ".join(map(str, self.problems))
        super().__init__(f"{message} {told}".strip())
        self._message = message

    @property
    def lines(self) -> tuple[str, ...]:
        """The message, and each problem on a line of its own."""
        told = tuple(map(str, self.problems))
        return (self._message, *told) if self._message or not told else told


class UnreachableError(ConfigError):
    """A configuration cannot be used now, since a service that it names does not answer; it may later."""


class InputError(ChainsError):
    """A run or a file cannot be read."""


class EvidenceError(ChainsError):
    """Signed bytes are not what they should be."""
