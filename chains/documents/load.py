"""JSON and YAML text becomes plain objects. Limits are checked first, and errors name what is wrong."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from chains.documents.decode import Unreadable, decode
from chains.documents.lists import split_list
from chains.errors import AbsentError, InputError
from chains.text import why_of
from signers.errors import FormatError
from signers.strict_json import Shape, check_shape
from storage.files import read_file
from storage.lean_json import MOST_VALUES, values_in

MAX_DOCUMENT = 1 << 30
"""The most bytes of one JSON file. A List of a hundred thousand runs fits."""
_BOM = b"\xef\xbb\xbf"
_SPACE = _BOM + b" \t\r\n"


def read_bytes(path: Path, limit: int = MAX_DOCUMENT) -> bytes:
    """Read a file.

    Raises :class:`AbsentError` if it is not there, and :class:`InputError` if it cannot be read, is not a
    regular file (a pipe could block for ever), or is larger than ``limit`` bytes.
    """
    try:
        return read_file(path, limit)
    except (OSError, ValueError) as error:
        code = getattr(error, "errno", 0)
        if code == errno.EINVAL:
            raise InputError(f"{path}: not a regular file; pass - to read standard input") from error
        if code == errno.EFBIG:
            raise InputError(f"{path}: larger than {limit >> 20} MiB; split it") from error
        why = why_of(error) if isinstance(error, OSError) else error
        if code in {errno.ENOENT, errno.ENOTDIR}:
            raise AbsentError(f"{path}: {why}") from error
        raise InputError(f"{path}: {why}") from error


def read_standard_input(limit: int = MAX_DOCUMENT) -> bytes:
    """Read standard input. Raises :class:`InputError` if it is closed or larger than ``limit`` bytes."""
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

    Raises :class:`InputError` starting with ``name``.
    """
    start = data[:256].lstrip(_SPACE)[:1]
    if not start:
        if not data.strip():
            raise InputError(f"{name}: empty; expected a run as JSON or YAML")
        start = b"-"
    looks_like_yaml = name.endswith((".yaml", ".yml"))
    # YAML may begin with a brace too, so a file named as YAML is tried as YAML when it is not JSON
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
    from chains.documents.yaml_text import load_yaml  # noqa: PLC0415 - JSON, the usual case, does not need PyYAML

    return load_yaml(data, name)


def is_large(data: bytes) -> bool:
    """Return whether ``data`` is JSON with more values than one object may have, so it must be a list."""
    return data[:256].lstrip(_SPACE)[:1] in {b"{", b"["} and values_in(data) > MOST_VALUES


def load_list(data: bytes, name: str) -> Iterator[tuple[dict[str, Any] | None, str]]:
    """Yield the objects of a JSON list for which :func:`is_large` is true, as :func:`load_documents` would.

    Each comes with its problem: an object that cannot be read is None. An item of a typed list gets its kind
    and version, which kubectl leaves out. Raises :class:`InputError` starting with ``name`` if it is no list
    or not JSON; then no object was yielded.
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
    """Return an item of a List, with the kind and version that kubectl leaves out in a typed one."""
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
    """Raise for equal keys, of which readers take different ones. The standard parser shows all pairs."""
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
"""The members of every Kubernetes object. Those further down depend on the kind."""


def check_object_names(document: Any, name: str) -> None:
    """Raise :class:`InputError` for a member that other readers take for one that every object has."""
    try:
        check_shape(document if isinstance(document, dict) else {}, _OBJECT, name)
    except FormatError as error:
        raise InputError(f"{error}; readers would disagree about it") from error
