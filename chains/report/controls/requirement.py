"""A requirement of a control: a fact, and what it has to be. ``coverage >= 100``, ``ledger-unbroken``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from operator import eq, ge, le

from chains.report.controls.fact import Fact, Kind, Value

_COMPARE = {"=": eq, ">=": ge, "<=": le}
PATTERN = r"[a-z][a-z0-9-]{0,62}(?: (?:=|>=|<=) [0-9]{1,9})?"
"""How a requirement is written: the name of a fact, alone or compared with a whole number."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """What a fact has to be. ``operator`` is empty for a fact that is true or false, which has to be true."""

    fact: str
    operator: str = ""
    number: int = 0

    @classmethod
    def parse(cls, text: str, facts: Mapping[str, Fact]) -> Requirement:
        """Return the requirement of a text. Raises :class:`ValueError` that says what is wrong with it."""
        if re.fullmatch(PATTERN, text) is None:
            raise ValueError("expected a fact, or a fact compared with a whole number: coverage >= 100")
        name, *rest = text.split(" ")
        fact = facts.get(name)
        if fact is None:
            raise ValueError(f"there is no fact {name!r}")
        if fact.kind is Kind.FLAG and rest:
            raise ValueError(f"{name} is true or false: write {name} alone")
        if fact.kind is not Kind.FLAG and not rest:
            raise ValueError(f"{name} is {fact.kind.words}: compare it, as in {name} >= 1")
        if not rest:
            return cls(name)
        operator, number = rest[0], int(rest[1])
        if fact.kind is Kind.PERCENT and number > _ALL:
            raise ValueError(f"{name} is a percentage: {number} can never be reached")
        if operator == ">=" and number == 0:
            raise ValueError(f"{name} >= 0 always holds: it demands nothing")
        if fact.kind is Kind.PERCENT and operator == "<=" and number == _ALL:
            raise ValueError(f"{name} <= {_ALL} always holds: it demands nothing")
        return cls(name, operator, number)

    def holds(self, value: Value) -> bool:
        """Whether it holds for the fact's value. What the report does not say (None) never holds."""
        if value is None:
            return False
        if not self.operator:
            return value is True
        if isinstance(value, bool):
            return False
        return bool(_COMPARE[self.operator](Fraction(value), self.number))

    def __str__(self) -> str:
        return f"{self.fact} {self.operator} {self.number}" if self.operator else self.fact


_ALL = 100
