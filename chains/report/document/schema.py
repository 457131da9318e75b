"""The JSON Schema of a report, made from its types. ``docs/report.schema.json`` is the published copy.

``python docs/generate_report_schema.py`` writes it.
"""

from __future__ import annotations

import inspect
import types
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints, is_typeddict

import orjson

from chains.report.document.format import SCHEMA, Artifact, Attestation, Head, Run

_PLAIN: dict[Any, str] = {str: "string", int: "integer", bool: "boolean"}


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a report."""
    known: dict[str, Any] = {}
    made = _object(Head, known)
    for name, row in (("runs", Run), ("artifacts", Artifact), ("attestations", Attestation)):
        made["properties"][name] = {"type": "array", "items": _of(row, known)}
    made["properties"] = dict(sorted(made["properties"].items()))
    made["required"] = list(made["properties"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA,
        "title": "Report of provenance-chains",
        **made,
        "$defs": dict(sorted(known.items())),
    }


def schema_bytes() -> bytes:
    """Return the JSON Schema as it is published."""
    return orjson.dumps(json_schema(), option=orjson.OPT_INDENT_2) + b"\n"


def _of(kind: Any, known: dict[str, Any]) -> dict[str, Any]:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _of(arguments[0], known) | {"description": arguments[1]}
    if origin is Literal:
        words = list(arguments)
        return {"const": words[0]} if len(words) == 1 else {"type": "string", "enum": words}
    if origin is list:
        return {"type": "array", "items": _of(arguments[0], known)}
    if origin is types.UnionType:
        return _union(arguments, known)
    if kind in _PLAIN:
        return {"type": _PLAIN[kind]} | ({"minimum": 0} if kind is int else {})
    name = kind.__name__
    if name not in known:
        known[name] = {}  # a type may have itself as a member
        known[name] = _object(kind, known)
    return {"$ref": f"#/$defs/{name}"}


def _union(kinds: tuple[Any, ...], known: dict[str, Any]) -> dict[str, Any]:
    if all(kind in _PLAIN or kind is types.NoneType for kind in kinds):
        return {"type": [_PLAIN.get(kind, "null") for kind in kinds]}
    return {"anyOf": [{"type": "null"} if kind is types.NoneType else _of(kind, known) for kind in kinds]}


def _object(kind: Any, known: dict[str, Any]) -> dict[str, Any]:
    assert is_typeddict(kind)  # noqa: S101 - every other type was handled
    members = get_type_hints(kind, include_extras=True)
    return {
        "type": "object",
        "description": inspect.cleandoc(kind.__doc__ or "").replace("\n", " "),
        "additionalProperties": False,
        "required": list(members),
        "properties": {name: _of(member, known) for name, member in members.items()},
    }
