"""What a scenario is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from drill.evidence import Finding
from drill.game import Game
from drill.limit import Touch
from drill.runs import Run


class Scenario(ABC):
    """A fault. One that ``lasts`` is undone after a while; another one is over at once."""

    name: ClassVar[str]
    breaks: ClassVar[str]
    """What it breaks, as a sentence without its full stop."""
    lasts: ClassVar[bool] = False
    stops_all: ClassVar[bool] = False
    """Whether no run can be attested while it lasts."""
    stops_creation: ClassVar[bool] = False
    """Whether no run may be created while it lasts."""

    @abstractmethod
    def touches(self, game: Game) -> list[Touch]:
        """Return everything that it may write.

        Raises :class:`NotApplicableError` if the cluster does not have what it breaks, and
        :class:`UndecidedError` if it cannot be played with these options.
        """

    def commands(self, game: Game) -> list[str]:
        """Return the commands of the user that it runs."""
        del game
        return []

    @abstractmethod
    def inject(self, game: Game) -> None:
        """Break it, after noting in the journal how to undo that. Returns when it is in force."""

    def fact(self, game: Game, runs: Sequence[Run], found: dict[str, Finding]) -> str:
        """Return a further fact for the report. Raises :class:`UndecidedError` if the fault did nothing."""
        del game, runs, found
        return ""
