"""The entries of a ledger as lines of canonical JSON.

Canonical: members sorted by name, no white space, no member that is empty, times in UTC with microseconds. A
line that is not exactly what :func:`write_entry` writes for its own content is refused, so each entry has one
form, and the bytes of the line are the leaf of the Merkle tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any

import orjson

from chains.audit.ledger.entries import (
    MOST_NAMES,
    MOST_RECEIPTS,
    OF_RUNS,
    Configured,
    Disposition,
    Ended,
    Entry,
    EntryKind,
    Exemption,
    GapEntry,
    Heartbeat,
    Keys,
    Receipt,
    Run,
    RunEntry,
    Succeeds,
    moment,
    parse_moment,
)
from chains.audit.ledger.errors import LedgerError
from chains.text import plain

LONGEST_LINE = 64 * 1024
"""Bytes of the longest entry, without the line break."""


def write_entry(entry: Entry) -> bytes:
    """Return the line of an entry, without the line break.

    Raises :class:`LedgerError` if it is longer than :data:`LONGEST_LINE`, or no text can hold it.
    """
    written: dict[str, Any] = {"at": moment(entry.at), "kind": entry.kind.value}
    for name, member, form in _FORMS[entry.kind][1]:
        value = _WRITE[form](getattr(entry, name))
        if value not in _LEFT_OUT and not (form is _Form.FLAG and not value):
            written[member] = value
    try:
        line = orjson.dumps(written, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:
        raise LedgerError(f"a {entry.kind} entry cannot be written: {error}") from error
    if len(line) > LONGEST_LINE:
        raise LedgerError(f"a {entry.kind} entry has {len(line)} bytes, at most {LONGEST_LINE} are written")
    return line


def parse_entry(line: bytes) -> Entry:
    """Return the entry of a line without its line break.

    Raises :class:`LedgerError` for anything that :func:`write_entry` would not have written.
    """
    if len(line) > LONGEST_LINE:
        raise LedgerError(f"an entry has {len(line)} bytes, at most {LONGEST_LINE} are read")
    try:
        found = orjson.loads(line)
        kind = EntryKind(found["kind"])
        made, members = _FORMS[kind]
        fields: dict[str, Any] = {"at": parse_moment(found["at"]), "kind": kind}
        for name, member, form in members:
            is_absent = form in _ABSENT and member not in found
            fields[name] = _ABSENT[form] if is_absent else _READ[form](found[member])
        entry: Entry = made(**fields)
        # one form for each entry: this also refuses unknown, repeated and empty members
        is_same = write_entry(entry) == line
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LedgerError(f"not an entry of a ledger: {plain(str(error)[:200])}") from error
    if not is_same:
        raise LedgerError("an entry is not in the one form that is written: it was changed or added by hand")
    return entry


class _Form(StrEnum):
    """How a field is written."""

    TEXT = "text"
    TEXTS = "texts"
    TIME = "time"
    COUNT = "count"
    FLAG = "flag"
    MAYBE = "maybe"
    RUN = "run"
    RECEIPTS = "receipts"


_LEFT_OUT: tuple[object, ...] = ("", None, [])
"""Values of absent members. A flag is left out if it is false, too."""


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a member is not text")
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError("a member is not a count")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("a member is neither true nor false")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if len(value) > MOST_NAMES:
        raise ValueError("a member has too many values")
    return tuple(map(_text, value))


def _write_run(run: Run) -> dict[str, str]:
    return {name: value for name in Run.__slots__ if (value := getattr(run, name))}


def _read_run(value: Any) -> Run:
    run = Run(**{**dict.fromkeys(Run.__slots__, ""), **{name: _text(text) for name, text in value.items()}})
    if not run.uid:
        raise ValueError("a run without UID")
    return run


def _write_receipts(receipts: Iterable[Receipt]) -> list[dict[str, str]]:
    return [{name: value for name in Receipt.__slots__ if (value := getattr(one, name))} for one in receipts]


def _read_receipts(value: Any) -> tuple[Receipt, ...]:
    if len(value) > MOST_RECEIPTS:
        raise ValueError("too many receipts")
    empty = dict.fromkeys(Receipt.__slots__, "")
    return tuple(Receipt(**{**empty, **{name: _text(text) for name, text in one.items()}}) for one in value)


def _same(value: Any) -> Any:
    return value


_WRITE: Mapping[_Form, Callable[[Any], Any]] = {
    _Form.TEXT: _same,
    _Form.TEXTS: list,
    _Form.TIME: moment,
    _Form.COUNT: _same,
    _Form.FLAG: _same,
    _Form.MAYBE: _same,
    _Form.RUN: _write_run,
    _Form.RECEIPTS: _write_receipts,
}
_READ: Mapping[_Form, Callable[[Any], Any]] = {
    _Form.TEXT: _text,
    _Form.TEXTS: _texts,
    _Form.TIME: parse_moment,
    _Form.COUNT: _count,
    _Form.FLAG: _flag,
    _Form.MAYBE: _flag,
    _Form.RUN: _read_run,
    _Form.RECEIPTS: _read_receipts,
}
_ABSENT: Mapping[_Form, object] = {
    _Form.TEXT: "",
    _Form.TEXTS: (),
    _Form.FLAG: False,
    _Form.MAYBE: None,
    _Form.RECEIPTS: (),
}
"""The values of absent members."""
_Members = tuple[tuple[str, str, _Form], ...]
_RUN_MEMBERS: _Members = (
    ("run", "run", _Form.RUN),
    ("created", "created", _Form.TEXT),
    ("completed", "completed", _Form.TEXT),
    ("succeeded", "succeeded", _Form.MAYBE),
    ("reason", "reason", _Form.TEXT),
    ("receipts", "receipts", _Form.RECEIPTS),
    ("is_late", "late", _Form.FLAG),
)
_FORMS: Mapping[EntryKind, tuple[Callable[..., Entry], _Members]] = {
    **dict.fromkeys(OF_RUNS, (RunEntry, _RUN_MEMBERS)),
    EntryKind.GAP: (
        GapEntry,
        (
            ("start", "from", _Form.TIME),
            ("until", "until", _Form.TIME),
            ("reason", "reason", _Form.TEXT),
        ),
    ),
    EntryKind.HEARTBEAT: (
        Heartbeat,
        (("opened", "open", _Form.COUNT), ("pending", "pending", _Form.COUNT), ("ends", "ends", _Form.FLAG)),
    ),
    EntryKind.CONFIG: (Configured, (("digest", "digest", _Form.TEXT), ("changed", "changed", _Form.TEXTS))),
    EntryKind.KEYS: (Keys, (("signers", "signers", _Form.TEXTS), ("ledger", "ledger", _Form.TEXT))),
    EntryKind.ENDED: (Ended, (("successors", "successors", _Form.TEXTS),)),
    EntryKind.SUCCEEDS: (
        Succeeds,
        (("log", "log", _Form.TEXT), ("size", "size", _Form.COUNT), ("root", "root", _Form.TEXT)),
    ),
    EntryKind.EXEMPTION: (
        Exemption,
        (
            ("what", "what", _Form.TEXT),
            ("by", "by", _Form.TEXT),
            ("reason", "reason", _Form.TEXT),
            ("until", "until", _Form.TEXT),
        ),
    ),
    EntryKind.DISPOSITION: (
        Disposition,
        (
            ("digest", "digest", _Form.TEXT),
            ("location", "location", _Form.TEXT),
            ("by", "by", _Form.TEXT),
            ("reason", "reason", _Form.TEXT),
            ("uid", "uid", _Form.TEXT),
        ),
    ),
}
