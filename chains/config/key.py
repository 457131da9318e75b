"""One key of the configuration: its allowed values, how a value is parsed, and how it is shown.

A parsed value is text in one spelling. A value that cannot be parsed is ``None``, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from chains.config.extra_signers import parse_extra_signers
from chains.config.selection import parse_labels, parse_since


class Kind(StrEnum):
    """What the value of a key is."""

    ENUM = "enum"
    BOOL = "bool"
    LIST = "list"
    URL = "url"
    PATH = "path"
    TEXT = "text"
    PATTERN = "pattern"
    NUMBER = "number"
    LABELS = "labels"
    SINCE = "since"
    SIGNERS = "signers"
    DURATION = "duration"


_SHOWN = 60
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))
_GO_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
"""The characters that Go's ``strings.TrimSpace`` removes; ``str.strip`` removes more."""


@dataclass(frozen=True, slots=True)
class ConfigKey:
    """One key. Values are text in one spelling: ``true`` or ``false``, lists sorted and joined by ``,``."""

    name: str
    kind: Kind
    default: str
    doc: str
    values: tuple[str, ...] = ()
    """The allowed words of an ``enum`` or ``list``."""
    schemes: tuple[str, ...] = ()
    """The allowed schemes of a ``url``. Only lint checks them; a wrong scheme fails when the URL is used."""
    ours: bool = False
    """Whether the key is ours, so that Tekton Chains does not know it."""
    ours_values: tuple[str, ...] = ()
    """The words of ``values`` that Tekton Chains refuses."""
    secret: bool = False
    """Whether the value is secret and never shown."""
    lenient: bool = False
    """Whether an invalid value is ignored, so that the default applies, instead of being refused."""

    def read(self, raw: str) -> str | None:
        """Return the value in its one spelling, or ``None`` if it is invalid."""
        if self.kind == Kind.BOOL:
            return "true" if raw in _TRUE else "false" if raw in _FALSE else None
        if self.kind == Kind.ENUM:
            return raw if raw in self.values else None
        if self.kind == Kind.LIST:
            words = self.words(raw)
            return ",".join(sorted(words)) if words <= set(self.values) else None
        check = _CHECKS.get(self.kind)
        return raw if check is None or not raw or check(raw) else None

    def words(self, raw: str) -> set[str]:
        """Return the trimmed words of a ``list``. The empty value has no words; it disables an artifact."""
        return {word.strip(_GO_SPACE) for word in raw.split(",")} if raw else set()

    def why(self, raw: str) -> str:
        """Return what is wrong in a value with several parts, without any part that can be secret."""
        if self.kind == Kind.SIGNERS:
            try:
                parse_extra_signers(raw)
            except ValueError as error:
                return str(error)
        return ""

    def shown(self, raw: str) -> str:
        """Return a value for a message: without secrets and passwords of URLs, and shortened."""
        if self.secret:
            return "a value that is not shown"
        if self.kind == Kind.URL and "https" not in self.schemes:
            # the user may have pasted a token instead of a key reference
            scheme, colon, _ = raw.partition("://")
            return repr(f"{scheme[:_SHOWN]}://…") if colon else "a value without a scheme, which is not shown"
        text = re.sub(r"//[^/@]*@", "//…@", raw)
        return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")

    def expected(self) -> str:
        """Return the allowed values in words."""
        if self.kind == Kind.BOOL:
            return "true or false"
        if self.kind == Kind.URL:
            return " or ".join(
                f"{scheme}:…" if scheme == "pkcs11" else f"{scheme}://…" for scheme in self.schemes
            )
        words = ", ".join(self.values)
        if self.kind == Kind.LIST:
            return f'"" or a comma-separated list of {words}'
        return f"one of {words}" if len(self.values) > 1 else words or _EXPECTED.get(self.kind, "text")


_EXPECTED = {
    "path": "an absolute path",
    "pattern": "a regular expression",
    "number": "a number that is not negative",
    "labels": "a label selector such as team=a,tier in (b,c)",
    "since": "a time such as 2026-01-31T00:00:00Z, or an age such as 36h or 7d",
    "signers": "a list of signers",
    "duration": "a whole number of seconds, minutes, hours or days such as 90s, 30m, 1h or 2d, or 0",
}


def _can(read: Callable[[str], object]) -> Callable[[str], bool]:
    def check(raw: str) -> bool:
        try:
            read(raw)
        except (re.error, ValueError, OverflowError, RecursionError):
            return False
        return True

    return check


def _read_number(raw: str) -> float:
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", raw):
        raise ValueError(raw)
    return float(raw)


def read_duration(raw: str) -> float:
    """Return the seconds of a duration such as ``90s``, ``30m``, ``1h``, ``2d`` or ``0``.

    Raises :class:`ValueError`.
    """
    found = re.fullmatch(r"([0-9]{1,6})([smhd])|0", raw)
    if found is None:
        raise ValueError(raw)
    return float(found[1] or 0) * _SECONDS.get(found[2], 1)


_CHECKS: Mapping[str, Callable[[str], bool]] = {
    "pattern": _can(re.compile),
    "number": _can(_read_number),
    "labels": _can(parse_labels),
    "signers": _can(parse_extra_signers),
    "duration": _can(read_duration),
    "since": _can(lambda raw: parse_since(raw, datetime.now(UTC))),
}
