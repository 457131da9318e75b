"""JSON and YAML text become plain objects: limits first, clear words for what is wrong.

YAML comes without aliases (a few lines of them expand to gigabytes), without duplicate keys and with times
left as text, as Kubernetes has them.
"""

from __future__ import annotations

import errno
import json
import re
import sys
from collections.abc import Hashable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from chains.documents.decode import MOST_LEVELS, Unreadable, decode
from chains.documents.lists import split_list
from chains.errors import InputError
from signers.errors import FormatError
from signers.strict_json import Shape, check_shape
from storage.files import read_file
from storage.lean_json import MOST_VALUES, values_in

MAX_DOCUMENT = 1 << 30
"""Bytes of one JSON file; a List of a hundred thousand runs fits."""
MAX_DEPTH = MOST_LEVELS
MAX_YAML_VALUES = 200_000
"""In one YAML file: each takes 600 bytes of memory and 20 microseconds while it is read."""
_BOM = b"\xef\xbb\xbf"
_SPACE = _BOM + b" \t\r\n"
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


def read_bytes(path: Path, limit: int = MAX_DOCUMENT) -> bytes:
    """Read a file.

    Raises :class:`InputError` when it cannot be read, is no file (a pipe could make us wait for ever) or is
    larger than ``limit`` bytes.
    """
    try:
        return read_file(path, limit)
    except (OSError, ValueError) as error:
        code = getattr(error, "errno", 0)
        if code == errno.EINVAL:
            raise InputError(f"{path}: not a regular file; pass - to read standard input") from error
        if code == errno.EFBIG:
            raise InputError(f"{path}: larger than {limit >> 20} MiB; split it") from error
        raise InputError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def read_standard_input(limit: int = MAX_DOCUMENT) -> bytes:
    """Read standard input. Raises :class:`InputError` when it is closed or larger than ``limit`` bytes."""
    if sys.stdin is None:
        raise InputError("standard input is closed")
    try:
        data = sys.stdin.buffer.read(limit + 1)
    except (OSError, ValueError) as error:
        raise InputError(f"standard input: {error}") from error
    if len(data) > limit:
        raise InputError(f"standard input: larger than {limit >> 20} MiB; split it")
    return data


def load_documents(data: bytes, name: str) -> list[Any]:
    """Return the documents in ``data``: one for JSON, any number for YAML.

    Raises :class:`InputError` beginning with ``name``.
    """
    start = data[:256].lstrip(_SPACE)[:1]
    if not start:
        if not data.strip():
            raise InputError(f"{name}: empty; expected a run as JSON or YAML")
        start = b"-"
    looks_like_yaml = name.endswith((".yaml", ".yml"))
    if start in {b"{", b"["}:
        try:
            document = decode(data.removeprefix(_BOM))
        except Unreadable as error:
            if not looks_like_yaml:
                why = str(error).removeprefix("not JSON: ")
                raise InputError(f"{name}: not JSON: {why}") from error
        else:
            _refuse_equal_keys(data, name)
            return [document]
    return _load_yaml(data, name)


def is_large(data: bytes) -> bool:
    """Whether ``data`` is JSON with more values than one object may have, so that it has to be a list."""
    return data[:256].lstrip(_SPACE)[:1] in {b"{", b"["} and values_in(data) > MOST_VALUES


def load_list(data: bytes, name: str) -> Iterator[tuple[dict[str, Any] | None, str]]:
    """Yield the objects of a list in JSON that :func:`is_large`, each as :func:`load_documents` would.

    In the place of an object that cannot be read stands None, beside what is wrong with it. An item of a
    typed list gets its kind and version, which kubectl leaves out. Raises :class:`InputError` beginning with
    ``name`` when it is no list or not JSON; no object was given then.
    """
    head, pieces = split_list(data.removeprefix(_BOM), name, partial(_refuse_twice, name))
    check_object_names(head, name)
    number = 0
    while pieces:
        number += 1
        try:
            item = decode(pieces.popleft())
        except Unreadable as error:
            yield None, f"{name}: object {number}: {error}"
            continue
        yield item_of(head, item), ""


def item_of(holder: Mapping[str, Any], item: Any) -> Any:
    """Return an item of a List, with the kind and version that kubectl leaves out of a typed one."""
    kind = str(holder.get("kind", "")).removesuffix("List")
    if kind and isinstance(item, dict) and "kind" not in item:
        return {"apiVersion": holder.get("apiVersion"), "kind": kind, **item}
    return item


def _refuse_twice(name: str, pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise InputError(f"{name}: key {key[:64]!r} comes twice in one object; readers would disagree")
        seen.add(key)


def _refuse_equal_keys(data: bytes, name: str) -> None:
    """Refuse what two readers would read differently: the standard parser shows every pair, orjson one."""
    try:
        json.loads(data.removeprefix(_BOM), object_pairs_hook=partial(_refuse_twice, name))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: not JSON: {error}") from error


_OBJECT: Shape = {
    **dict.fromkeys(("apiVersion", "kind", "spec", "status", "items")),
    "metadata": dict.fromkeys((
        "name", "namespace", "uid", "labels", "annotations", "ownerReferences", "creationTimestamp",
        "generation",
    )),
}  # fmt: skip
"""The names that every Kubernetes object has; those below differ with the kind."""


def check_object_names(document: Any, name: str) -> None:
    """Raise :class:`InputError` for a member that other readers take for one that every object has."""
    try:
        check_shape(document if isinstance(document, dict) else {}, _OBJECT, name)
    except FormatError as error:
        raise InputError(f"{error}; readers would disagree about it") from error


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


def _load_yaml(data: bytes, name: str) -> list[Any]:
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
