"""Tekton's run types as Go defines them: a raw object becomes what Go writes after reading it.

Chains reads runs into Go structs and writes parts of them into its statements. Go drops fields that the
structs do not have, adds defaults, writes quantities and durations in canonical form, and orders fields as
the structs do. ``schema.json`` holds these structs, one on each line, as ``[name, kind, options]`` for each
field. ``tests/testbed/peer`` prints them from the Go types, and a test keeps the two equal. Options: ``e``
omits an empty value, ``z`` omits a zero time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import orjson

from chains.errors import InputError
from chains.tekton.go_values import canonical_duration, canonical_quantity, fits_int64, kubernetes_time
from signers.strict_json import fold

Json = Any
_Reader = Callable[[Json, str, list[str]], Json]
"""(raw value or None, path, dropped paths) -> what Go writes."""

_EXCERPT = 60


def go_form(structure: str, raw: Json, dropped: list[str]) -> dict[str, Json]:
    """Return ``raw`` as Go writes the struct of this name, for example ``v1.TaskRun``.

    Appends the paths of fields that Go does not know to ``dropped``. Raises :class:`InputError` with the
    field for a value that Go cannot read.
    """
    written: dict[str, Json] = _structure(structure)(raw, "", dropped)
    return written


class _Alike(list[str]):
    """A list for dropped paths that keeps only those that look like a known field, as texts."""


def look_alikes(structure: str, raw: Json) -> list[str]:
    """Return the fields of ``raw`` that other readers take for fields of Go's types, as texts.

    The API server and Tekton compare names exactly. ``encoding/json`` and tools based on it ignore case.
    """
    found = _Alike()
    go_form(structure, raw, found)
    return found


def _wrong(path: str, expected: str, got: Json) -> InputError:
    text = repr(got)
    shown = text if len(text) <= _EXCERPT else text[:_EXCERPT] + "…"
    return InputError(f"field {path.lstrip('.') or '(top)'}: expected {expected}, got {shown}")


def _string(raw: Json, path: str, dropped: list[str]) -> Json:
    del dropped
    if raw is None:
        return ""
    if raw.__class__ is str:
        return raw
    raise _wrong(path, "a string", raw)


def _bool(raw: Json, path: str, dropped: list[str]) -> Json:
    del dropped
    if raw is None:
        return False
    if raw.__class__ is bool:
        return raw
    raise _wrong(path, "true or false", raw)


def _int(raw: Json, path: str, dropped: list[str]) -> Json:
    del dropped
    if raw is None:
        return 0
    if raw.__class__ is int and fits_int64(raw):
        return raw
    raise _wrong(path, "a whole number of 64 bits", raw)


def _float(raw: Json, path: str, dropped: list[str]) -> Json:
    del dropped
    if raw is None:
        return 0
    if raw.__class__ in {int, float}:
        return raw
    raise _wrong(path, "a number", raw)


def _raw(raw: Json, path: str, dropped: list[str]) -> Json:
    del path, dropped
    return raw


def _text(parse: Callable[[str], Json], expected: str, empty: Json) -> _Reader:
    def read(raw: Json, path: str, dropped: list[str]) -> Json:
        del dropped
        if raw is None:
            return empty
        if raw.__class__ is not str:
            raise _wrong(path, expected, raw)
        try:
            return parse(raw)
        except ValueError:
            raise _wrong(path, expected, raw) from None

    return read


def _quantity(raw: Json, path: str, dropped: list[str]) -> Json:
    del dropped
    if raw is None:
        return "0"
    if raw.__class__ in {str, int, float}:
        try:
            return canonical_quantity(str(raw))
        except ValueError:
            pass
    raise _wrong(path, "a quantity such as 500m or 1Gi", raw)


def _int_or_string(raw: Json, path: str, dropped: list[str]) -> Json:
    del dropped
    if raw is None:
        return 0
    if raw.__class__ in {str, int}:
        return raw
    raise _wrong(path, "a whole number or a string", raw)


def read_value(raw: Json) -> Json:
    """Return a param or result value: a string, a list of strings or a sorted mapping of strings.

    Any other value becomes its JSON text, as in Tekton's ``ParamValue``.
    """
    if raw.__class__ is str:
        return raw
    if raw is None:
        return ""
    if raw.__class__ is list and all(item is None or item.__class__ is str for item in raw):
        return [item or "" for item in raw]
    if raw.__class__ is dict and all(item is None or item.__class__ is str for item in raw.values()):
        return {key: raw[key] or "" for key in sorted(raw)}
    return orjson.dumps(raw).decode()


def _value(raw: Json, path: str, dropped: list[str]) -> Json:
    del path, dropped
    return read_value(raw)


_LEAVES: dict[str, _Reader] = {
    "string": _string,
    "bool": _bool,
    "int": _int,
    "float": _float,
    "bytes": _string,
    "raw": _raw,
    "value": _value,
    "time": _text(kubernetes_time, "an RFC 3339 time", None),
    "microtime": _text(kubernetes_time, "an RFC 3339 time", None),
    "duration": _text(canonical_duration, "a duration such as 1h30m", "0s"),
    "quantity": _quantity,
    "intorstring": _int_or_string,
}


def _list(item: _Reader) -> _Reader:
    def read(raw: Json, path: str, dropped: list[str]) -> Json:
        if raw is None:
            return None
        if raw.__class__ is not list:
            raise _wrong(path, "a list", raw)
        return [item(value, f"{path}[{index}]", dropped) for index, value in enumerate(raw)]

    return read


def _map(item: _Reader) -> _Reader:
    def read(raw: Json, path: str, dropped: list[str]) -> Json:
        if raw is None:
            return None
        if raw.__class__ is not dict:
            raise _wrong(path, "a mapping", raw)
        return {key: item(raw[key], f"{path}.{key}", dropped) for key in sorted(raw)}

    return read


def _pointer(target: _Reader) -> _Reader:
    def read(raw: Json, path: str, dropped: list[str]) -> Json:
        return None if raw is None else target(raw, path, dropped)

    return read


def _reader(kind: Json) -> _Reader:
    if isinstance(kind, list):
        wrap = {"list": _list, "map": _map, "ptr": _pointer}[kind[0]]
        return wrap(_reader(kind[1]))
    if kind.startswith("@"):
        name = kind[1:]

        def read(raw: Json, path: str, dropped: list[str]) -> Json:
            # looked up when it is used, because structs refer to themselves
            return _structure(name)(raw, path, dropped)

        return read
    return _LEAVES[kind]


def _is_structure(kind: Json) -> bool:
    return isinstance(kind, str) and (
        kind.startswith("@") or kind in {"time", "microtime", "quantity", "intorstring", "raw"}
    )


class _Structure:
    """One Go struct with its fields in order, compiled for reading."""

    __slots__ = ("_always", "_fields", "_names")

    def __init__(self, fields: list[list[Json]]) -> None:
        self._fields: list[tuple[str, _Reader, bool, bool]] = []
        for name, kind, options in fields:
            omits = "z" in options or ("e" in options and not _is_structure(kind))
            keeps_zero = isinstance(kind, list) and kind[0] == "ptr"
            self._fields.append((name, _reader(kind), omits, keeps_zero))
        self._names = frozenset(name for name, *_ in self._fields)
        self._always = tuple(field for field in self._fields if not field[2])

    def __call__(self, raw: Json, path: str, dropped: list[str]) -> dict[str, Json]:
        if raw is None:
            raw = {}
        elif raw.__class__ is not dict:
            raise _wrong(path, "a mapping", raw)
        written: dict[str, Json] = {}
        known = 0
        for name, read, omits, keeps_zero in self._fields:
            if name in raw:
                known += 1
                value = read(raw[name], f"{path}.{name}", dropped)
                # Go omits a field that is nil, or empty and not behind a pointer
                if not omits or value or (keeps_zero and raw[name] is not None):
                    written[name] = value
            elif not omits:
                written[name] = read(None, path, dropped)
        if known != len(raw):
            unknown = [name for name in raw if name not in self._names]
            if isinstance(dropped, _Alike):
                folded = {fold(name): name for name in self._names}
                dropped += [
                    f"{path}.{name}".lstrip(".") + f" must be spelled {folded[fold(name)]!r}"
                    for name in unknown
                    if fold(name) in folded
                ]
            else:
                dropped.extend(f"{path}.{name}".lstrip(".") for name in unknown)
        return written


@cache
def _schema() -> dict[str, list[list[Json]]]:
    # with the first run that is read: images are verified without it
    from importlib import resources  # noqa: PLC0415 - takes a part of the start of every command

    data = resources.files("chains.tekton").joinpath("schema.json").read_bytes()
    schema: dict[str, list[list[Json]]] = orjson.loads(data)
    return schema


_compiled: dict[str, _Structure] = {}


def _structure(name: str) -> _Structure:
    found = _compiled.get(name)
    if found is None:
        found = _compiled[name] = _Structure(_schema()[name])
    return found
