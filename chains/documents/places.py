"""Where the values of a JSON or YAML file stand: line and column, for messages about hand-written files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from chains.documents.load import load_documents

Path = tuple[str | int, ...]
"""The keys and list positions that lead from a document to one of its values."""
Place = tuple[int, int]
"""Line and column, both counted from 1."""


@dataclass(frozen=True, slots=True)
class PlacedDocument:
    """One document of a file: its plain value, and where its parts stand.

    ``places`` is empty where the file's JSON is no YAML (a tab before a value, for instance).
    """

    value: Any
    places: dict[Path, Place] = field(default_factory=dict)

    def place(self, path: Path) -> Place:
        """Return where a value stands, or the nearest part that holds it; ``(0, 0)`` where it is unknown."""
        for length in range(len(path), -1, -1):
            found = self.places.get(path[:length])
            if found is not None:
                return found
        return (0, 0)


def load_placed(data: bytes, name: str) -> list[PlacedDocument]:
    """Return the documents of a file with the places of their values; empty documents are left out.

    The limits are those of :func:`chains.documents.load.load_documents`, which reads the values. Raises
    :class:`InputError` beginning with ``name``.
    """
    values = load_documents(data, name)
    # the values were read within limits, without aliases; only now is it safe to build YAML's nodes
    try:
        nodes = [node for node in yaml.compose_all(data, Loader=yaml.CSafeLoader) if node is not None]
    except (yaml.YAMLError, UnicodeError):
        nodes = []
    if len(nodes) != len(values):
        return [PlacedDocument(value) for value in values]
    return [PlacedDocument(value, dict(_places(node))) for value, node in zip(values, nodes, strict=True)]


def _places(root: yaml.Node) -> Iterator[tuple[Path, Place]]:
    """Give every path below a node with its place: for the value of a key, the place of the key."""
    waiting: list[tuple[Path, Place, yaml.Node]] = [((), _start(root), root)]
    while waiting:
        path, place, node = waiting.pop()
        yield path, place
        if isinstance(node, yaml.MappingNode):
            waiting += [((*path, key.value), _start(key), value) for key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            waiting += [((*path, at), _start(item), item) for at, item in enumerate(node.value)]


def _start(node: yaml.Node) -> Place:
    return node.start_mark.line + 1, node.start_mark.column + 1
