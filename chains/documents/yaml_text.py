"""YAML text becomes plain objects, as JSON would have them.

There are no aliases (a few lines of them expand to gigabytes) and no duplicate keys. Times stay text, as in
Kubernetes.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

from chains.documents.decode import MOST_LEVELS
from chains.errors import InputError

MAX_DEPTH = MOST_LEVELS
MAX_YAML_VALUES = 200_000
"""In one YAML file: each takes 600 bytes of memory and 20 microseconds while it is read."""
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


# times stay text and "=" is a word, as Kubernetes has them; so are numbers of base 60 and infinities
_TAG = "tag:yaml.org,2002:"
_OURS = {_TAG + "timestamp", _TAG + "value", _TAG + "int", _TAG + "float"}
_Loader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0] not in _OURS]
    for first, pairs in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
_INT = r"[-+]?(?:0b[01_]+|0[0-7_]*|[1-9][0-9_]*|0x[0-9a-fA-F_]+)"
_FLOAT = r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
_TEXT = _TAG + "str"
"""The one tag that a document may have. Others make what JSON cannot hold, or read a number in another way:
one of base 60 for longer than anybody waits."""
_Loader.add_implicit_resolver(_TAG + "int", re.compile(f"^(?:{_INT})$"), list("-+0123456789"))
_Loader.add_implicit_resolver(_TAG + "float", re.compile(f"^(?:{_FLOAT})$"), list("-+.0123456789"))


def load_yaml(data: bytes, name: str) -> list[Any]:
    """Return the documents in ``data``, any number. Raises :class:`InputError` beginning with ``name``."""
    if len(data) > MAX_YAML:
        raise InputError(f"{name}: more than {MAX_YAML >> 20} MiB of YAML; export it as JSON")
    try:
        _look_at_events(data, name)
        return [document for document in yaml.load_all(data, Loader=_Loader) if document is not None]
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or "bad character"
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InputError(f"{name}: not YAML: {problem}{where}") from error
    except (RecursionError, ValueError) as error:
        raise InputError(f"{name}: not YAML: {error}") from error


def _look_at_events(data: bytes, name: str) -> None:
    """Refuse aliases, and nesting that the C parser would answer with a crash, before anything is built."""
    depth = values = 0
    for event in yaml.parse(data, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise InputError(f"{name}: yaml aliases are refused; write the value out")
        if isinstance(event, yaml.NodeEvent):
            tag = str(getattr(event, "tag", None) or _TEXT)
            if tag != _TEXT:
                raise InputError(
                    f"{name}: not YAML as JSON has it: tag {tag[:64]!r}; write the value without it"
                )
            values += 1
            if values > MAX_YAML_VALUES:
                raise InputError(f"{name}: more than {MAX_YAML_VALUES} values of YAML; export it as JSON")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise InputError(f"{name}: not YAML: more than {MAX_DEPTH} levels of nesting")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
