"""What a game day may write. Everything else is refused before kubectl is called."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from drill.errors import OutOfLimitError

PREFIX = "gameday-"
"""How the names of objects begin that a game day creates."""
LABEL = "provenance.chains/gameday"


@dataclass(frozen=True, slots=True)
class Touch:
    """One kind of write.

    ``verb`` is create, replace or delete. A ``name`` that ends in ``*`` is the beginning of names.
    """

    verb: str
    kind: str
    namespace: str
    name: str
    why: str = ""

    def covers(self, verb: str, kind: str, namespace: str, name: str) -> bool:
        """Whether a write is one of this kind."""
        named = (
            name.startswith(self.name[:-1]) if self.name.endswith("*") else bool(name) and name == self.name
        )
        return named and (verb, kind, namespace) == (self.verb, self.kind, self.namespace)

    def __str__(self) -> str:
        where = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.verb} {self.kind} {where}" + (f" ({self.why})" if self.why else "")


class Limit:
    """The writes that are allowed now."""

    def __init__(self, touches: Iterable[Touch] = ()) -> None:
        self.touches = list(dict.fromkeys(touches))

    def allow(self, touches: Iterable[Touch]) -> None:
        """Allow more."""
        self.touches = list(dict.fromkeys([*self.touches, *touches]))

    def check(self, verb: str, kind: str, namespace: str, name: str) -> None:
        """Raise :class:`OutOfLimitError` unless the write is allowed."""
        if not any(each.covers(verb, kind, namespace, name) for each in self.touches):
            where = f"{namespace}/{name}" if namespace else name
            raise OutOfLimitError(f"refused: {verb} {kind} {where} is outside of the limit of this game day")

    def to_json(self) -> list[dict[str, str]]:
        """Return the limit for the state file."""
        return [asdict(each) for each in self.touches]

    @classmethod
    def from_json(cls, found: Any) -> Limit:
        """Return the limit of a state file."""
        return cls(Touch(**{str(key): str(value) for key, value in each.items()}) for each in found)
