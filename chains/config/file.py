"""Reads the data of a ConfigMap from a file: a manifest, a List, several documents, or only the data.

The limits of ``chains.documents`` apply, and the 1 MiB that Kubernetes allows for a ConfigMap.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from chains.documents.load import load_documents, read_bytes
from chains.errors import ConfigError, InputError, Problem
from signers.errors import FormatError
from signers.strict_json import kind_of, parse_object
from storage import lean_json

CONFIG_MAP = "chains-config"
NAME = "chains-config"
MAX_CONFIG = 1 << 20
"""The largest configuration file, in bytes."""


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """The data of one file, the problems of its form, and the problems of entries that were left out."""

    data: dict[str, str]
    problems: tuple[Problem, ...] = ()
    unusable: tuple[Problem, ...] = ()


def load_config_file(path: Path) -> dict[str, str]:
    """Return the data of a configuration file; ``-`` is standard input.

    Unquoted booleans and integers become strings, which Kubernetes requires. Raises :class:`ConfigError` for
    any other value that is not a string, and for a file without a configuration.
    """
    file = read_config_file(path)
    if file.unusable:
        raise ConfigError(f"{path}:", file.unusable)
    return file.data


def read_config_file(path: Path) -> ConfigFile:
    """Return the data of a configuration file and the problems of its form.

    The file is JSON or YAML. It has ConfigMaps, also in a List or in several documents, or only the data. Of
    several ConfigMaps, the one named ``chains-config`` is used. Raises :class:`ConfigError` if there is no
    configuration, and for duplicate keys, aliases or more than 1 MiB.
    """
    try:
        documents = _documents(path)
    except (InputError, FormatError) as error:
        raise ConfigError(str(error)) from error
    maps = [item for document in documents for item in _objects(document)]
    if not maps and len(documents) == 1 and isinstance(documents[0], dict) and "kind" not in documents[0]:
        plain = documents[0]
        nested = plain.get("data")
        return _read_entries(nested if isinstance(nested, dict) else plain, manifest=False)
    chosen = _choose(path, [item for item in maps if item.get("kind") == "ConfigMap"], maps)
    data = chosen.get("data")
    if data is not None and not isinstance(data, dict):
        raise ConfigError(f"{path}: data of ConfigMap {_name(chosen)} must be an object, got {kind_of(data)}")
    file = _read_entries(data or {}, manifest=True)
    if _name(chosen) == NAME:
        return file
    message = f"the ConfigMap is named {_name(chosen)}; a controller reads the one named {NAME}"
    return ConfigFile(
        file.data, (*file.problems, Problem("metadata.name", "warning", message)), file.unusable
    )


def _documents(path: Path) -> list[Any]:
    name = "standard input" if str(path) == "-" else str(path)
    if str(path) == "-":
        data = sys.stdin.buffer.read(MAX_CONFIG + 1)
        if len(data) > MAX_CONFIG:
            raise InputError(f"{name}: larger than {MAX_CONFIG >> 20} MiB, the most a ConfigMap can be")
    else:
        data = read_bytes(path, MAX_CONFIG)
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data.strip():
        raise InputError(f"{name}: empty; expected a ConfigMap or its data")
    if data.lstrip()[:1] == b"{" and _is_json(data):
        return [parse_object(data, name, MAX_CONFIG)]
    return load_documents(data, name)


def _is_json(data: bytes) -> bool:
    # JSON is read by the parser that refuses duplicate names; anything else can be YAML
    try:
        lean_json.loads(data)
    except lean_json.TooMany:
        return True  # that parser reports it
    except orjson.JSONDecodeError:
        return False
    return True


def _objects(document: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(document, dict) or not isinstance(document.get("kind"), str):
        return
    items = document.get("items")
    if document["kind"].endswith("List") and isinstance(items, list):
        inner = document["kind"].removesuffix("List")
        for item in items:
            # kubectl omits the kind in the items of a typed list
            yield from _objects({"kind": inner, **item} if inner and isinstance(item, dict) else item)
    else:
        yield document


def _name(item: dict[str, Any]) -> str:
    metadata = item.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return name if isinstance(name, str) else "(without a name)"


def _choose(path: Path, maps: list[dict[str, Any]], objects: list[dict[str, Any]]) -> dict[str, Any]:
    named = [item for item in maps if _name(item) == NAME]
    if len(named) == 1:
        return named[0]
    if len(maps) == 1:
        return maps[0]
    if named:
        raise ConfigError(f"{path}: holds {len(named)} ConfigMaps named {NAME}; pass a file with one of them")
    if maps:
        names = ", ".join(_name(item) for item in maps[:5])
        raise ConfigError(f"{path}: holds {len(maps)} ConfigMaps and none is named {NAME}: {names}")
    kinds = ", ".join(sorted({item["kind"] for item in objects})[:5]) or "nothing of either"
    raise ConfigError(f"{path}: expected a ConfigMap or its data, got {kinds}")


def _read_entries(entries: dict[str, Any], *, manifest: bool) -> ConfigFile:
    data: dict[str, str] = {}
    problems: list[Problem] = []
    unusable: list[Problem] = []
    for name, value in entries.items():
        text = _text(value)
        if text is None:
            message = f"expected a string, got {kind_of(value)}; write it in quotes"
            unusable.append(Problem(name, "error", message))
            continue
        data[name] = text
        if not isinstance(value, str):
            advice = (
                "kubernetes refuses a ConfigMap with it; write it in quotes"
                if manifest
                else "write it in quotes"
            )
            found = text if isinstance(value, bool) else kind_of(value)
            message = f"expected a string, got {found}; {advice}"
            problems.append(Problem(name, "error" if manifest else "warning", message))
    return ConfigFile(data, tuple(problems), tuple(unusable))


def _text(value: Any) -> str | None:
    """Return a value as the user wrote it, or ``None`` if the parser has lost the spelling."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else None
