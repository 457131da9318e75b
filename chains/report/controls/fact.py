"""What a fact is: a name, a kind, and one sentence; its value comes from a report document."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from chains.report.controls.tally import Tally

Value = bool | int | Fraction | None
"""The value of a fact. None: the report does not say it."""


class Kind(StrEnum):
    """What the value of a fact is."""

    FLAG = "flag"
    COUNT = "count"
    PERCENT = "percent"

    @property
    def words(self) -> str:
        """The kind in words, for messages."""
        return {"flag": "true or false", "count": "a number", "percent": "a percentage"}[self.value]


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact about a report. ``measure`` computes its value, ``query`` is the command that computes it again.

    In a query, ``{from}`` and ``{to}`` stand for the period of the report.
    """

    name: str
    kind: Kind
    text: str
    query: str
    measure: Callable[[Tally], Value]


def shown(value: Value, kind: Kind) -> str:
    """Return a value for people. A percentage is rounded down, so that 100 % means all."""
    if value is None:
        return "not in the report"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if kind is Kind.PERCENT:
        tenths = int(value * 10)
        return f"{tenths // 10} %" if tenths % 10 == 0 else f"{tenths // 10}.{tenths % 10} %"
    return f"{value:,}"
