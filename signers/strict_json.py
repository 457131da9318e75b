"""JSON from outside, read so that no other reader can see something else in the same bytes.

Go matches field names without regard to case, protobuf also takes ``payload_type`` for ``payloadType``, most
readers let the last of two equal names win: evidence that uses any of this is refused, not interpreted.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Iterable, Mapping
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
"""In one document: a value takes up to 120 bytes of memory, however short its text is."""
_MARKS = (b"[", b"{", b",", b":")
_URL_SAFE = str.maketrans("-_", "+/")


def parse_object(data: bytes, what: str, limit: int, most: int = MOST_VALUES) -> dict[str, object]:
    """Return the JSON object that ``data`` holds, with exact integers of any size.

    Guarantees RFC 8259 JSON in UTF-8 without a byte order mark, NaN, lone surrogates or two members of the
    same name at any depth. Raises :class:`FormatError`, naming ``what``, also above ``limit`` bytes and
    ``most`` values.
    """
    if len(data) > limit:
        raise FormatError(f"{what} has {len(data)} bytes, at most {limit} are read")
    expect_few(data, what, most)
    try:
        orjson.loads(data)  # the strict one; json then finds equal names, which orjson merges
        value: object = json.loads(data.decode(), object_pairs_hook=_unique)
    except RecursionError as exc:
        raise FormatError(f"{what} is nested too deeply") from exc
    except ValueError as exc:
        raise FormatError(f"{what} is not JSON with one reading: {str(exc)[:160]}") from exc
    if not isinstance(value, dict):
        raise FormatError(f"{what} must be a JSON object, got {kind_of(value)}")
    return value


def expect_few(data: bytes, what: str, most: int = MOST_VALUES) -> None:
    """Raise :class:`FormatError` when JSON may have more than ``most`` values.

    Every value but the first stands behind one of four characters. Those within strings count too, so the
    count is never too low.
    """
    found = 1 + sum(data.count(mark) for mark in _MARKS)
    if found > most:
        raise FormatError(f"{what} has some {found} values, at most {most} are read")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members: dict[str, object] = {}
    for name, value in pairs:
        if name in members:
            raise ValueError(f"two members are named {name[:64]!r}")
        members[name] = value
    return members


Shape = Mapping[str, "Shape | None"]
"""The names of an object with fixed names, each with the shape of its value (an object, or the objects of an
array); ``None`` where the value is no object or its names are anybody's, such as annotations and parameters.
``a|b`` are two spellings of one name, of which an object has at most one."""


def check_names(members: Mapping[str, object], known: Iterable[str], what: str) -> None:
    """Raise :class:`FormatError` for a member that another reader could take for one of ``known``.

    Go's ``encoding/json`` folds names as Unicode does (``\u017f`` is an s), protobuf's JSON takes
    ``payload_type`` and the ``type`` behind ``_type`` too. Members with other names pass: DSSE and in-toto
    want unknown fields to be ignored.
    """
    spellings = {one: name for name in known for one in name.split("|")}
    if len(members) > len(spellings.keys() & members.keys()):
        folded = {fold(one): one for one in spellings}
        for name in members.keys() - spellings.keys():
            meant = folded.get(fold(name))
            if meant is not None:
                raise FormatError(f"{what}: member {name[:64]!r} must be spelled {meant!r}")
    for name in known:
        if "|" in name and len(members.keys() & set(name.split("|"))) > 1:
            raise FormatError(f"{what}: has {' and '.join(name.split('|'))}, two spellings of one name")


def fold(name: str) -> str:
    """Return what names have in common that some reader takes for the same."""
    return name.replace("_", "").casefold()


def check_shape(value: object, shape: Shape, what: str) -> None:
    """Hold every object of ``shape`` to :func:`check_names`; values of other kinds are left to their reader.

    Raises :class:`FormatError`.
    """
    for one in value if isinstance(value, list) else (value,):
        if not isinstance(one, dict):
            continue
        check_names(one, shape, what)
        for name, below in shape.items():
            for spelling in name.split("|") if below is not None else ():
                if spelling in one:
                    check_shape(one[spelling], below or {}, f"{what}: {spelling}")


def member(members: Mapping[str, object], name: str, kind: type[T], what: str) -> T:
    """Return ``members[name]``, which must be there and of ``kind``; else raise :class:`FormatError`."""
    if name not in members:
        raise FormatError(f"{what}: {name} is missing")
    value = members[name]
    if not isinstance(value, kind):
        raise FormatError(f"{what}: {name} must be {_KINDS[kind]}, got {kind_of(value)}")
    return value


def objects(values: list[object], what: str) -> tuple[dict[str, object], ...]:
    """Return ``values`` as they are, each an object; else raise :class:`FormatError`."""
    found: list[dict[str, object]] = []
    for number, value in enumerate(values, 1):
        if not isinstance(value, dict):
            raise FormatError(f"{what} {number} must be an object, got {kind_of(value)}")
        found.append(value)
    return tuple(found)


def kind_of(value: object) -> str:
    """Return the JSON kind of ``value`` in words."""
    return _KINDS.get(type(value), type(value).__name__)


def decode_base64(text: str, what: str) -> bytes:
    """Decode standard or URL-safe base64 (RFC 4648 sections 4 and 5), padded, in its only spelling.

    One text has one value and one value has one text per alphabet, so nothing that is addressed by content
    can be spelled twice. Raises :class:`FormatError`.
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
    if len(text) % 4 or (rest and binascii.b2a_base64(raw[-rest:], newline=False).decode() != text[-4:]):
        raise FormatError(f"{what} is not base64: its end is not as RFC 4648 writes it")
    return raw
