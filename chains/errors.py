"""The exceptions of ``chains``.

:class:`ChainsError`              exit code 1
 ├─ :class:`UsageError`           2: the command line is wrong
 ├─ :class:`ConfigError`          2: the configuration cannot be used; has every problem
 │   └─ :class:`UnreachableError` 2: a service of the configuration does not answer now
 ├─ :class:`InputError`           1: a run or file cannot be read
 │   └─ :class:`AbsentError`      2: a file that somebody named is not there
 └─ :class:`EvidenceError`        1: signed bytes are malformed
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal


class ChainsError(Exception):
    """The base class. Its text is for the user."""

    exit_code = 1

    @property
    def lines(self) -> tuple[str, ...]:
        """The text for a person: the first line, then details."""
        return (str(self),)


class UsageError(ChainsError):
    """The command line cannot be carried out as it is written."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a configuration, for the user. It never holds a secret value.

    ``error`` means that the key is refused, or that settings or evidence would be lost. ``warning`` means
    that it works but is risky or has no effect. ``suggestion`` is the key or value that was probably meant,
    else empty.
    """

    key: str
    severity: Literal["error", "warning"]
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        hint = f"; did you mean {self.suggestion}?" if self.suggestion else ""
        return f"{self.key}: {self.message}{hint}"


class ConfigError(ChainsError):
    """A configuration cannot be used. ``problems`` says what is wrong with which key."""

    exit_code = 2

    def __init__(self, message: str = "", problems: Iterable[Problem] = ()) -> None:
        self.problems = tuple(problems)
        told = "; ".join(map(str, self.problems))
        super().__init__(f"{message} {told}".strip())
        self._message = message

    @property
    def lines(self) -> tuple[str, ...]:
        """The message, then each problem on its own line."""
        told = tuple(map(str, self.problems))
        return (self._message, *told) if self._message or not told else told


class UnreachableError(ConfigError):
    """A configuration cannot be used now, because a service that it names does not answer."""


class InputError(ChainsError):
    """A run or a file cannot be read."""


class AbsentError(InputError):
    """A file that the command line or the configuration names is not there."""

    exit_code = 2


class EvidenceError(ChainsError):
    """Signed bytes are malformed."""
