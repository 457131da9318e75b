"""What is wrong with a policy document, with the place in its file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from chains.documents.places import Path
from chains.errors import ChainsError


class Severity(StrEnum):
    """An ``error`` keeps a policy from being used; a ``warning`` is a likely mistake in a usable policy."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. ``line`` and ``column`` count from 1 and are 0 where they are not known."""

    severity: Severity
    code: str
    message: str
    file: str = ""
    line: int = 0
    column: int = 0
    path: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the problem as ``policy lint --output json`` prints it."""
        return {
            "severity": self.severity.value,
            "code": self.code,
            "message": self.message,
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "path": self.path,
        }

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{where}: {self.severity.value}: {self.message} ({self.code})"


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem while its document is read: the place is known by its path alone."""

    path: Path
    code: str
    message: str
    severity: Severity = Severity.ERROR


Report = Callable[[Finding], None]
"""Takes what is found wrong."""


def dotted(path: Iterable[str | int]) -> str:
    """Return a path as people write it: ``spec.trust[0].builderId``."""
    written = ""
    for part in path:
        written += f"[{part}]" if isinstance(part, int) else f".{part}" if written else part
    return written


class ProblemsError(ChainsError):
    """A file cannot be used; ``problems`` has everything that is wrong with it."""

    exit_code = 2

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(map(str, self.problems)))

    @property
    def lines(self) -> tuple[str, ...]:
        """Each problem on a line of its own."""
        return tuple(map(str, self.problems))
