"""A query as data: terms of a key and a value, all of which must hold.

Queries with the same terms are equal, whatever the order in which they were written, and so are their texts.
Source of times: RFC 3339.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from chains.text import rfc3339

_PLAIN = re.compile(r'[^\s"*]+')
"""A value that needs no quotes."""
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DECEMBER = 12


class Key(StrEnum):
    """The keys of the language. The order is that of the canonical text."""

    HASH = "hash"
    DIGEST = "digest"
    COMMIT = "commit"
    IMAGE = "image"
    INPUT = "input"
    STEP_IMAGE = "step-image"
    RUN = "run"
    NAME = "name"
    NAMESPACE = "namespace"
    PIPELINE = "pipeline"
    TASK = "task"
    TRIGGER = "trigger"
    SENDER = "sender"
    ACCOUNT = "account"
    NODE = "node"
    REPO = "repo"
    BUILDER = "builder"
    SIGNER = "signer"
    TYPE = "type"
    LEVEL = "level"
    VERDICT = "verdict"
    POLICY = "policy"
    RESULT = "result"
    VERIFIER = "verifier"
    OUTCOME = "outcome"
    FROM = "from"
    TO = "to"
    LAST = "last"


ONE_VALUE = frozenset(
    (
        Key.NAMESPACE,
        Key.PIPELINE,
        Key.TRIGGER,
        Key.SENDER,
        Key.ACCOUNT,
        Key.NODE,
        Key.BUILDER,
        Key.SIGNER,
        Key.TYPE,
        Key.LEVEL,
        Key.VERDICT,
        Key.RESULT,
        Key.VERIFIER,
        Key.OUTCOME,
    )
)
"""Keys of which a piece of evidence has one value, so that two different values never fit together."""

_LABELS = {
    Key.HASH: "digest or commit",
    Key.INPUT: "an input",
    Key.STEP_IMAGE: "a step image",
    Key.IMAGE: "an image",
    Key.NAME: "a name",
    Key.TASK: "a task",
    Key.ACCOUNT: "service account",
    Key.REPO: "repository",
    Key.TYPE: "predicate type",
    Key.LEVEL: "isolation level",
}


class Unit(StrEnum):
    """How exactly a moment is given."""

    MONTH = "month"
    DAY = "day"
    SECOND = "second"


class Span(StrEnum):
    """The units of an age."""

    MINUTES = "m"
    HOURS = "h"
    DAYS = "d"
    WEEKS = "w"


_SPANS = {Span.MINUTES: "minute", Span.HOURS: "hour", Span.DAYS: "day", Span.WEEKS: "week"}


@dataclass(frozen=True, slots=True)
class Word:
    """A text that has to be equal, or with ``is_prefix`` to begin so."""

    text: str
    is_prefix: bool = False

    def __str__(self) -> str:
        return _quoted(self.text) + ("*" if self.is_prefix else "")

    @property
    def shown(self) -> str:
        """The text for a person."""
        return self.text


@dataclass(frozen=True, slots=True)
class Digest:
    """A digest or its beginning: ``hex`` in lower case; ``algorithm`` is empty if none was given."""

    hex: str
    algorithm: str = ""

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}" if self.algorithm else self.hex

    @property
    def is_prefix(self) -> bool:
        """Whether no digest is as short as this."""
        return len(self.hex) not in LENGTHS

    @property
    def shown(self) -> str:
        """The text for a person."""
        return str(self)


LENGTHS = {40: "sha1", 64: "sha256", 96: "sha384", 128: "sha512"}
"""The usual algorithm by the number of hex digits."""


@dataclass(frozen=True, slots=True)
class RunWanted:
    """A run: by ``uid``, or by name with or without its namespace and kind."""

    uid: str = ""
    name: str = ""
    namespace: str = ""
    kind: str = ""
    is_prefix: bool = False

    def __str__(self) -> str:
        return _quoted(self.shown) + ("*" if self.is_prefix else "")

    @property
    def shown(self) -> str:
        """The text for a person."""
        return self.uid or "/".join(filter(None, (self.kind, self.namespace, self.name)))


@dataclass(frozen=True, slots=True)
class Moment:
    """A time in UTC: the whole of a month or a day, or one second."""

    start: datetime
    unit: Unit = Unit.SECOND

    def __str__(self) -> str:
        text = rfc3339(self.start)
        return {Unit.MONTH: text[:7], Unit.DAY: text[:10], Unit.SECOND: text}[self.unit]

    @property
    def end(self) -> datetime:
        """The first moment that no longer belongs to a month or a day; one second is its own end."""
        match self.unit:
            case Unit.MONTH if self.start.month == _DECEMBER:
                return self.start.replace(year=self.start.year + 1, month=1)
            case Unit.MONTH:
                return self.start.replace(month=self.start.month + 1)
            case Unit.DAY:
                return self.start + timedelta(days=1)
        return self.start

    @property
    def shown(self) -> str:
        """The time for a person, such as ``1 Oct 2026``."""
        month = f"{_MONTHS[self.start.month - 1]} {self.start.year}"
        if self.unit is Unit.MONTH:
            return month
        day = f"{self.start.day} {month}"
        return day if self.unit is Unit.DAY else f"{day} {self.start:%H:%M:%S} UTC"


@dataclass(frozen=True, slots=True)
class Age:
    """A time before now."""

    number: int
    span: Span

    def __str__(self) -> str:
        return f"{self.number}{self.span}"

    @property
    def length(self) -> timedelta:
        """How long it is."""
        return timedelta(**{f"{_SPANS[self.span]}s": self.number})

    @property
    def shown(self) -> str:
        """The time for a person, such as ``7 days``."""
        noun = _SPANS[self.span]
        return noun if self.number == 1 else f"{self.number} {noun}s"


Value = Word | Digest | RunWanted | Moment | Age


@dataclass(frozen=True, slots=True)
class Term:
    """One condition."""

    key: Key
    value: Value
    is_negated: bool = False

    def __str__(self) -> str:
        return f"{'-' if self.is_negated else ''}{self.key}:{self.value}"

    @property
    def words(self) -> str:
        """The condition in words, such as ``namespace is shop``. Values are as they were written."""
        shown = self.value.shown
        match self.value:
            case Age():
                return f"in the last {shown}"
            case Moment() if self.key is Key.FROM:
                return f"from {shown}"
            case Moment(unit=unit):
                return f"before {shown}" if unit is Unit.SECOND else f"to the end of {shown}"
            case Word(is_prefix=True) | RunWanted(is_prefix=True) | Digest(is_prefix=True):
                verb = "does not begin with" if self.is_negated else "begins with"
            case _:
                verb = "is not" if self.is_negated else "is"
        return f"{_LABELS.get(self.key, self.key)} {verb} {shown}"


@dataclass(frozen=True, slots=True)
class Query:
    """Terms that must all hold. Without terms it is everything."""

    terms: tuple[Term, ...] = ()

    def __post_init__(self) -> None:
        order = list(Key)
        distinct = {str(term): term for term in self.terms}.items()
        ordered = sorted(distinct, key=lambda item: (order.index(item[1].key), item[0]))
        object.__setattr__(self, "terms", tuple(term for _, term in ordered))

    def __str__(self) -> str:
        return " ".join(map(str, self.terms))

    @property
    def words(self) -> tuple[str, ...]:
        """Each term in words."""
        return tuple(term.words for term in self.terms)

    def of(self, *keys: Key) -> tuple[Term, ...]:
        """Return the terms with one of these keys."""
        return tuple(term for term in self.terms if term.key in keys)

    def since(self, now: datetime) -> datetime | None:
        """Return the first moment that the query includes, or None for no bound. ``now`` counts for ages."""
        for term in self.of(Key.FROM, Key.LAST):
            match term.value:
                case Moment(start=start):
                    return start
                case Age():
                    return now.astimezone(UTC) - term.value.length
        return None

    def until(self) -> datetime | None:
        """Return the first moment after those that the query includes, or None for no bound."""
        return next((term.value.end for term in self.of(Key.TO) if isinstance(term.value, Moment)), None)


def _quoted(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
