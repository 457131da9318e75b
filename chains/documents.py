"""JSON and YAML text become plain objects: limits first, clear words for what is wrong.

YAML comes without aliases (a few lines of them expand to gigabytes), without duplicate keys and with times
left as text, as Kubernetes has them.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import orjson
import yaml

from chains.errors import InputError

MAX_DOCUMENT = 1 << 30
"""Bytes of one JSON file; a List of a hundred thousand runs fits."""
MAX_YAML = 64 << 20
"""Bytes of one YAML file; YAML is read a hundred times slower than JSON."""


class _Loader(yaml.CSafeLoader):
    """Safe YAML without aliases, duplicate keys and guessed times."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != "tag:yaml.org,2002:str":
                raise yaml.MarkedYAMLError(
                    problem=f"keys must be strings, got {key!r}", problem_mark=key_node.start_mark
                )
            if key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key!r} comes twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


_Loader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
    for first, pairs in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def read_bytes(path: Path, limit: int = MAX_DOCUMENT) -> bytes:
    """Read a file. Raises :class:`InputError` when it cannot be read or is larger than ``limit`` bytes."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    if len(data) > limit:
        raise InputError(f"{path}: larger than {limit >> 20} MiB; split it")
    return data


def load_documents(data: bytes, name: str) -> list[Any]:
    """Return the documents in ``data``: one for JSON, any number for YAML.

    Raises :class:`InputError` beginning with ``name``.
    """
    start = data[:256].lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if not start:
        if not data.strip():
            raise InputError(f"{name}: empty; expected a run as JSON or YAML")
        start = b"-"
    looks_like_yaml = name.endswith((".yaml", ".yml"))
    if start in {b"{", b"["}:
        try:
            return [orjson.loads(data.removeprefix(b"\xef\xbb\xbf"))]
        except orjson.JSONDecodeError as error:
            if not looks_like_yaml:
                raise InputError(f"{name}: not JSON: {error}") from error
    return _load_yaml(data, name)


def _load_yaml(data: bytes, name: str) -> list[Any]:
    if len(data) > MAX_YAML:
        raise InputError(f"{name}: more than {MAX_YAML >> 20} MiB of YAML; export it as JSON")
    try:
        # the C parser resolves aliases before anything can be refused, hence a look at the events first
        if b"*" in data and any(
            isinstance(event, yaml.AliasEvent) for event in yaml.parse(data, yaml.CSafeLoader)
        ):
            raise InputError(f"{name}: yaml aliases are refused; write the value out")
        return [document for document in yaml.load_all(data, Loader=_Loader) if document is not None]
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or "bad character"
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InputError(f"{name}: not YAML: {problem}{where}") from error
    except (RecursionError, ValueError) as error:
        raise InputError(f"{name}: not YAML: {error}") from error
