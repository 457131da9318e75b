"""The revocation list as a document: JSON with a version, which only rises.

::

    {"version": 7, "issued": "2026-11-29T12:00:00Z", "expires": "2027-01-31T00:00:00Z",
     "entries": [{"key": "SHA256:…", "since": "2026-11-20T08:00:00Z", "reason": "laptop stolen"}]}

``expires`` and the ``since`` of an entry are optional. Unknown members are errors: a misspelt ``expires``
would make a list valid forever. ``docs/revocations.schema.json`` is the same as JSON Schema.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

import orjson

from chains.revocation.entry import (
    LONGEST_NAME,
    Entry,
    Identity,
    Kind,
    Name,
    check_name,
    check_value,
    exact_time,
    in_order,
)
from signers.errors import FormatError, SignerRejected
from signers.keys.public_key import PublicKey
from signers.strict_json import member, objects, parse_object

LARGEST = 20 * 1024 * 1024
"""Bytes of the largest document, which is also the largest payload of an envelope."""
MOST_VALUES = 4_000_000
"""JSON values of one document, counted generously: colons of texts count, too."""
MOST_ENTRIES = 100_000
MOST_EXPRESSIONS = 200
"""Identities with a regular expression, which are compared one after the other."""
MOST_PEMS = 1000
MOST_VERSION = (1 << 53) - 1
"""The highest version: the largest whole number that every JSON reader keeps."""
_FIELDS = frozenset({"version", "issued", "expires", "entries"})
_ABOUT = (*Kind, "pem")
_ENTRY_FIELDS = frozenset({*_ABOUT, "since", "until", "reason"})
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)", re.ASCII)


@dataclass(frozen=True)
class RevocationList:
    """A revocation list. ``digest`` is the SHA-256 of its document's bytes, ``sha256:HEX``.

    Its tables are made when they are first asked, once for everybody who shares the list.
    """

    version: int
    issued: datetime
    entries: tuple[Entry, ...] = ()
    expires: datetime | None = None
    digest: str = ""

    def is_over(self, now: datetime) -> bool:
        """Whether a newer list should have come by now."""
        return self.expires is not None and now >= self.expires

    @cached_property
    def kinds(self) -> frozenset[Kind]:
        """Every kind of which it has an entry."""
        return frozenset(entry.kind for entry in self.entries)

    @cached_property
    def by_value(self) -> Mapping[tuple[Kind, str], Entry]:
        """The entries without an identity by what they are about."""
        return {(entry.kind, entry.value): entry for entry in self.entries if entry.identity is None}

    @cached_property
    def by_identity(self) -> Mapping[tuple[str, str], Sequence[Entry]]:
        """The entries of exact identities by identity and issuer; one may have several windows."""
        found: dict[tuple[str, str], list[Entry]] = {}
        for entry in self.entries:
            if entry.identity is not None and entry.identity.is_exact:
                found.setdefault((entry.identity.san.value, entry.identity.issuer.value), []).append(entry)
        return found

    @cached_property
    def expressions(self) -> Sequence[Entry]:
        """The entries of identities with a regular expression."""
        return [one for one in self.entries if one.identity is not None and not one.identity.is_exact]


def parse_list(data: bytes, source: str = "revocation list") -> RevocationList:
    """Read a document. Raises :class:`FormatError` naming ``source``."""
    members = parse_object(data, source, LARGEST, MOST_VALUES)
    _refuse_unknown(members, _FIELDS, source)
    version = member(members, "version", int, source)
    if isinstance(version, bool) or not 1 <= version <= MOST_VERSION:
        raise FormatError(f"{source}: version: expected a whole number from 1 to {MOST_VERSION}")
    issued = _moment(members, "issued", source)
    if issued is None:
        raise FormatError(f"{source}: issued is missing")
    expires = _moment(members, "expires", source)
    if expires is not None and expires <= issued:
        raise FormatError(f"{source}: expires is not after issued")
    items = objects(member(members, "entries", list, source), f"{source}: entry")
    if len(items) > MOST_ENTRIES:
        raise FormatError(f"{source}: {len(items)} entries, at most {MOST_ENTRIES} are read")
    if sum("pem" in item for item in items) > MOST_PEMS:
        raise FormatError(f"{source}: more than {MOST_PEMS} keys in PEM: write their ids, SHA256:…")
    entries = tuple(_entry(item, f"{source}: entry {number}") for number, item in enumerate(items, 1))
    _check_together(entries, source)
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    return RevocationList(version, issued, entries, expires, digest)


def write_list(found: RevocationList) -> bytes:
    """Return the document of a list: indented, its entries in order, a line break at the end."""
    written: dict[str, object] = {"version": found.version, "issued": exact_time(found.issued)}
    if found.expires is not None:
        written["expires"] = exact_time(found.expires)
    written["entries"] = [entry.to_json() for entry in in_order(found.entries)]
    return orjson.dumps(written, option=orjson.OPT_INDENT_2) + b"\n"


def _check_together(entries: tuple[Entry, ...], source: str) -> None:
    seen: set[tuple[str, str]] = set()
    for entry in entries:
        if entry.subject in seen:
            raise FormatError(f"{source}: {entry.kind.value} {entry.name[:200]!r} is listed twice")
        seen.add(entry.subject)
    expressions = sum(entry.identity is not None and not entry.identity.is_exact for entry in entries)
    if expressions > MOST_EXPRESSIONS:
        raise FormatError(f"{source}: {expressions} regular expressions, at most {MOST_EXPRESSIONS} are read")


def _entry(item: Mapping[str, object], what: str) -> Entry:
    _refuse_unknown(item, _ENTRY_FIELDS, what)
    about = [name for name in _ABOUT if name in item]
    if len(about) != 1:
        got = " and ".join(about) or "none"
        raise FormatError(f"{what}: expected exactly one of {', '.join(_ABOUT)}, got {got}")
    reason = member(item, "reason", str, what)
    if not reason or len(reason) > LONGEST_NAME:
        raise FormatError(f"{what}: reason: expected 1 to {LONGEST_NAME} characters, got {len(reason)}")
    since, until = _moment(item, "since", what), _moment(item, "until", what)
    name = about[0]
    if until is not None and name != Kind.IDENTITY:
        raise FormatError(f"{what}: until is for identities alone: what else is revoked stays revoked")
    if since is not None and until is not None and until <= since:
        raise FormatError(f"{what}: until is not after since")
    if name == "pem":
        return Entry(Kind.KEY, _keyid(member(item, "pem", str, what), what), reason, since)
    kind = Kind(name)
    if kind is Kind.IDENTITY:
        identity = _identity(member(item, "identity", dict, what), what)
        return Entry(kind, "", reason, since, until, identity)
    try:
        return Entry(kind, check_value(kind, member(item, name, str, what)), reason, since)
    except FormatError as error:
        raise error if str(error).startswith(what) else FormatError(f"{what}: {error}") from error


def _keyid(pem: str, what: str) -> str:
    try:
        return PublicKey.from_pem(pem.encode()).keyid
    except (SignerRejected, ValueError) as error:
        raise FormatError(f"{what}: pem: {error}") from error


def _identity(value: Mapping[str, object], what: str) -> Identity:
    _refuse_unknown(value, frozenset({"san", "sanRegexp", "issuer", "issuerRegexp"}), f"{what}: identity")
    names = []
    for exact, regexp in (("san", "sanRegexp"), ("issuer", "issuerRegexp")):
        if (exact in value) == (regexp in value):
            raise FormatError(f"{what}: identity: expected one of {exact} and {regexp}")
        given = exact if exact in value else regexp
        text = member(value, given, str, f"{what}: identity")
        names.append(check_name(Name(text, given == regexp), f"{what}: identity: {given}"))
    return Identity(*names)


def _moment(members: Mapping[str, object], name: str, what: str) -> datetime | None:
    if name not in members:
        return None
    text = member(members, name, str, what)
    moment = read_time(text)
    if moment is None:
        raise FormatError(f"{what}: {name}: expected a time such as 2026-01-31T00:00:00Z, got {text[:40]!r}")
    return moment


def read_time(text: str) -> datetime | None:
    """Return a time of RFC 3339 in UTC, None for anything else."""
    if not _MOMENT.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _refuse_unknown(members: Mapping[str, object], known: frozenset[str], what: str) -> None:
    unknown = sorted(members.keys() - known)
    if unknown:
        raise FormatError(f"{what}: unknown field {unknown[0][:40]!r}: expected {', '.join(sorted(known))}")
