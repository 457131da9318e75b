"""Strict JSON for foreign documents: whatever two readers could read differently is refused.

Go matches member names without regard to case, protobuf accepts ``payload_type`` for ``payloadType``, and
most readers keep the last of two equal names. An attacker could use this to show a different document to each
verifier.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Collection, Mapping
from typing import TypeVar

import orjson

from signers.errors import FormatError

T = TypeVar("T")

_KINDS: dict[type, str] = {
    str: "a string",
    dict: "an object",
    list: "an array",
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "null",
}
MOST_VALUES = 200_000
"""The most JSON values in one document. A value takes up to 120 bytes of memory, however short its text."""
_MOST_WRITTEN = 1024 * 1024
"""Bytes of JSON that may be written again to compare them, which takes as much memory once more."""
_URL_SAFE = str.maketrans("-_", "+/")


def parse_object(data: bytes, what: str, limit: int, most: int = MOST_VALUES) -> dict[str, object]:
    """Return the JSON object in ``data``. Integers of any size are exact.

    Accepts only RFC 8259 JSON in UTF-8: no byte order mark, NaN, lone surrogates or repeated names at any
    depth. Raises :class:`FormatError`, naming ``what``, for everything else and above ``limit`` bytes or
    ``most`` values.
    """
    if len(data) > limit:
        raise FormatError(f"{what} has {len(data)} bytes, at most {limit} are read")
    expect_few(data, what, most)
    try:
        # Two parsers: orjson is strict about RFC 8259, json finds repeated names, which orjson merges.
        value: object = orjson.loads(data)
        if not _is_written_alike(value, data):
            value = _UNAMBIGUOUS.decode(data.decode())
    # Both parsers limit the depth, but json raises RecursionError instead of ValueError.
    except RecursionError as exc:
        raise FormatError(f"{what} is nested too deeply") from exc
    except ValueError as exc:
        raise FormatError(f"{what} is not unambiguous JSON: {str(exc)[:160]}") from exc
    if not isinstance(value, dict):
        raise FormatError(f"{what} must be a JSON object, got {kind_of(value)}")
    return value


def _is_written_alike(value: object, data: bytes) -> bool:
    """Whether the parsed ``value``, written again, gives these very bytes.

    Then nothing was merged or rounded: a repeated name is written once, and an integer that became a float is
    written as one. Compact JSON, as most signers write it, needs the slower parser in Python no more.
    """
    if len(data) > _MOST_WRITTEN:
        return False
    try:
        return orjson.dumps(value) == data
    except (orjson.JSONEncodeError, RecursionError):  # too deep to be written
        return False


def expect_few(data: bytes, what: str, most: int = MOST_VALUES) -> None:
    """Raise :class:`FormatError` if the JSON text may have more than ``most`` values."""
    values = values_in(data)
    if values > most:
        raise FormatError(f"{what} has some {values} values, at most {most} are read")


def values_in(data: bytes) -> int:
    """Return how many values JSON text may have.

    Every value except the first follows one of the characters ``[``, ``{``, ``,`` or ``:``. Counting them
    needs no parsing, and since those inside strings count too, the number is never too low.
    """
    return 1 + data.count(b"[") + data.count(b"{") + data.count(b",") + data.count(b":")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Build an object from its members. Raises :class:`ValueError` for a repeated name."""
    members: dict[str, object] = {}
    for name, value in pairs:
        if name in members:
            raise ValueError(f"two members are named {name[:64]!r}")
        members[name] = value
    return members


_UNAMBIGUOUS = json.JSONDecoder(object_pairs_hook=_unique)

Shape = Mapping[str, "Shape | None"]
"""The member names of a JSON object, each with the shape of its value. The shape of an array is that of its
elements. ``None`` means that the value is not an object, or that its names are free, such as those of
annotations and parameters. ``a|b`` are two spellings of one name, of which an object may have at most one."""


def check_names(members: Mapping[str, object], known: Collection[str], what: str) -> None:
    """Raise :class:`FormatError` for a member that another reader could take for one of ``known``.

    Go's ``encoding/json`` compares names with Unicode case folding (``\u017f`` equals s). Protobuf's JSON
    accepts ``payload_type``, and ``type`` for ``_type``. Members with any other unknown name pass, because
    DSSE and in-toto require that unknown fields are ignored.
    """
    # Fast path: if every member has an exact known spelling, none can be mistaken for another.
    if members.keys() <= (known.keys() if isinstance(known, dict) else frozenset(known)):
        return
    spellings = {spelling: name for name in known for spelling in name.split("|")}
    if len(members) > len(spellings.keys() & members.keys()):
        # Compare what is left in folded form: an unknown member that folds to a known name is ambiguous.
        folded = {fold(spelling): spelling for spelling in spellings}
        for name in members.keys() - spellings.keys():
            correct = folded.get(fold(name))
            if correct is not None:
                raise FormatError(f"{what}: member {name[:64]!r} must be spelled {correct!r}")
    for name in known:
        if "|" in name and len(members.keys() & set(name.split("|"))) > 1:
            raise FormatError(f"{what}: has {' and '.join(name.split('|'))}, two spellings of one name")


def fold(name: str) -> str:
    """Return a form of a member name that is equal for names some reader treats as the same."""
    return name.replace("_", "").casefold()


def check_shape(value: object, shape: Shape, what: str) -> None:
    """Call :func:`check_names` for every object that ``shape`` describes. Other values are not checked.

    Raises :class:`FormatError`.
    """
    for entry in value if isinstance(value, list) else (value,):
        if not isinstance(entry, dict):
            continue
        check_names(entry, shape, what)
        for name, inner in shape.items():
            if inner is None:
                continue
            # Only spellings that are present are descended into.
            for spelling in name.split("|"):
                if spelling in entry:
                    check_shape(entry[spelling], inner, f"{what}: {spelling}")


def member(members: Mapping[str, object], name: str, kind: type[T], what: str) -> T:
    """Return ``members[name]``. Raises :class:`FormatError` if it is missing or not of ``kind``."""
    if name not in members:
        raise FormatError(f"{what}: {name} is missing")
    value = members[name]
    if not isinstance(value, kind):
        raise FormatError(f"{what}: {name} must be {_KINDS[kind]}, got {kind_of(value)}")
    return value


def objects(values: list[object], what: str) -> tuple[dict[str, object], ...]:
    """Return ``values`` as a tuple of JSON objects. Raises :class:`FormatError` if one is not an object."""
    members: list[dict[str, object]] = []
    for number, value in enumerate(values, 1):
        if not isinstance(value, dict):
            raise FormatError(f"{what} {number} must be an object, got {kind_of(value)}")
        members.append(value)
    return tuple(members)


def kind_of(value: object) -> str:
    """Return the JSON type of ``value`` in words."""
    return _KINDS.get(type(value), type(value).__name__)


def decode_base64(text: str, what: str) -> bytes:
    """Decode padded base64, standard or URL-safe (RFC 4648 sections 4 and 5), in canonical form only.

    Every value has exactly one text in each alphabet. Otherwise content that is addressed by digest could be
    written in two ways. Raises :class:`FormatError`.
    """
    if "-" in text or "_" in text:
        if "+" in text or "/" in text:
            raise FormatError(f"{what} mixes standard and URL-safe base64")
        text = text.translate(_URL_SAFE)
    try:
        raw = binascii.a2b_base64(text, strict_mode=True)
    except ValueError as exc:
        raise FormatError(f"{what} is not base64: {exc}") from exc
    rest = len(raw) % 3
    # Python's decoder ignores the unused bits of the last group, so encode that group again and compare.
    if len(text) % 4 or (rest and binascii.b2a_base64(raw[-rest:], newline=False).decode() != text[-4:]):
        raise FormatError(f"{what} is not base64: its last group is not as RFC 4648 requires")
    return raw
