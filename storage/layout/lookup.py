"""Which entries of an index name a subject, a tag or a run, without looking through all of them each time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from storage import lean_json
from storage.formats.manifest_evidence import BUNDLE_PREFIX, RUN_UID

REF_NAME = "org.opencontainers.image.ref.name"
SUBJECT = "provenance.chains/subject"
"""The subjects of a bundle as ``algorithm:hex``, separated by commas."""


class Lookup:
    """The places of entries by what they name: their tag, their subjects and their runs' UIDs."""

    def __init__(self, rows: Sequence[bytes]) -> None:
        self._rows = rows
        self._places: dict[str, list[int]] = {}
        self._foreign: list[str] = []
        for place, row in enumerate(rows):
            entry = lean_json.loads(row)
            for word in named(entry):
                self._places.setdefault(word, []).append(place)
            if is_foreign_bundle(row):
                self._foreign.append(str(entry.get("digest")))

    def naming(self, words: Collection[str]) -> Iterator[dict[str, Any]]:
        """Yield the entries that name one of these words, in the order of the index."""
        places = {place for word in words for place in self._places.get(word, ())}
        return (lean_json.loads(self._rows[place]) for place in sorted(places))

    def foreign_bundles(self) -> Iterator[str]:
        """Yield the digests of the manifests of bundles of other tools, in the order of the index."""
        return iter(self._foreign)


def named(entry: Mapping[str, Any]) -> set[str]:
    """Return what an entry names: its tag, its subjects and the UIDs of its runs."""
    words = {
        annotation(entry, REF_NAME),
        *annotation(entry, SUBJECT).split(","),
        *annotation(entry, RUN_UID).split(","),
    }
    return words - {""}


def is_foreign_bundle(row: bytes) -> bool:
    """Whether an entry is the bundle of another tool. Only its manifest says what it is about."""
    return BUNDLE_PREFIX.encode() in row and SUBJECT.encode() not in row


def annotation(entry: Mapping[str, Any], key: str) -> str:
    """Return an annotation of an entry, empty where it has none."""
    annotations = entry.get("annotations")
    value = annotations.get(key) if isinstance(annotations, dict) else None
    return value if isinstance(value, str) else ""
