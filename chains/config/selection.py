"""Selects the finished runs to attest: the keys ``filter.*`` and ``backlog.since``.

Pure: the input is a raw run, the output is a reason to skip it, or nothing. A run of another controller is
not touched. A run that the configuration excludes is marked ``skipped`` with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

_TEKTON = frozenset(("", "tekton.dev/pipeline"))
"""The values of ``spec.managedBy`` for Tekton's own controller."""
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_NAME = r"(?:[A-Za-z0-9.-]{1,253}/)?[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?"
_SET = re.compile(rf"({_NAME})\s+(in|notin)\s+\(([^()]*)\)")
_EQUAL = re.compile(rf"({_NAME})\s*(==|=|!=)\s*({_VALUE})")
_EXISTS = re.compile(rf"(!?)\s*({_NAME})")
_BETWEEN = re.compile(r",(?![^()]*\))")

Matches = Callable[[Mapping[str, str]], bool]


@lru_cache(maxsize=64)
def parse_labels(text: str) -> tuple[Matches, ...]:
    """Return the requirements of a label selector in kubectl's notation; an empty selector has none.

    Requirements are ``a=b``, ``a!=b``, ``a in (b,c)``, ``a notin (b,c)``, ``a`` and ``!a``, joined by commas.
    As in kubectl, ``!=`` and ``notin`` match an absent label too. Raises :class:`ValueError`.
    """
    return tuple(_requirement(part.strip()) for part in _BETWEEN.split(text)) if text.strip() else ()


def _requirement(text: str) -> Matches:
    if found := _SET.fullmatch(text):
        name, operator, inner = found.groups()
        values = frozenset(word.strip() for word in inner.split(","))
        if not all(re.fullmatch(_VALUE, value) for value in values):
            raise ValueError(f"{text!r} is no requirement on labels")
        return _among(name, values, wanted=operator == "in")
    if found := _EQUAL.fullmatch(text):
        name, operator, value = found.groups()
        return _among(name, frozenset((value,)), wanted=operator != "!=")
    if found := _EXISTS.fullmatch(text):
        absent, name = bool(found[1]), found[2]
        return lambda labels: (name in labels) is not absent
    raise ValueError(f"{text!r} is no requirement on labels")


def _among(name: str, values: frozenset[str], *, wanted: bool) -> Matches:
    if wanted:
        return lambda labels: name in labels and labels[name] in values
    return lambda labels: labels.get(name) not in values


def is_age(text: str) -> bool:
    """Whether a text is an age, such as ``7d``, which means another time tomorrow."""
    return text[-1:] in _UNITS and text[:-1].isascii() and text[:-1].isdecimal()


def parse_since(text: str, now: datetime) -> datetime:
    """Parse an RFC 3339 time, or an age such as ``36h`` or ``7d`` before ``now``.

    A time without a zone is UTC. Raises :class:`ValueError`.
    """
    if is_age(text):
        try:
            return now - timedelta(**{_UNITS[text[-1]]: int(text[:-1])})
        except OverflowError as error:
            raise ValueError(f"{text!r} is longer ago than times reach") from error
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Why a finished run is excluded.

    ``is_old``: only because of its age, so ``chains backfill`` can attest it.
    """

    reason: str
    is_old: bool = False


@dataclass(frozen=True, slots=True)
class Selection:
    """The keys that select runs.

    ``managed_by`` has further values of ``spec.managedBy`` (``filter.managed-by``), ``labels`` the selector
    as written, ``skip`` the label or annotation with which a run asks to be excluded, ``since`` the cut-off
    as written.
    """

    managed_by: frozenset[str] = frozenset()
    labels: str = ""
    skip: str = ""
    since: str = ""

    def is_ours(self, raw: Mapping[str, Any]) -> bool:
        """Whether this controller attests runs of the run's manager (``filter.managed-by``)."""
        spec = raw.get("spec")
        manager = spec.get("managedBy") if isinstance(spec, dict) else None
        return not manager or manager in _TEKTON or manager in self.managed_by

    def left_out(self, raw: Mapping[str, Any], now: datetime) -> LeftOut | None:
        """Return why the configuration excludes a finished run, or None if it does not."""
        metadata = raw.get("metadata") or {}
        labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
        if self.skip and "true" in {labels.get(self.skip), annotations.get(self.skip)}:
            return LeftOut(f"left out: the run carries {self.skip}, which filter.skip allows")
        if not all(matches(labels) for matches in parse_labels(self.labels)):
            return LeftOut(f"left out: its labels are not those of filter.labels ({self.labels[:100]})")
        return self._too_old(raw, now)

    def _too_old(self, raw: Mapping[str, Any], now: datetime) -> LeftOut | None:
        if not self.since:
            return None
        ended = (raw.get("status") or {}).get("completionTime")
        try:
            old = datetime.fromisoformat(str(ended)) < parse_since(self.since, now)
        except (ValueError, TypeError):
            return None
        return LeftOut(f"left out: it ended before backlog.since {self.since}", is_old=True) if old else None
