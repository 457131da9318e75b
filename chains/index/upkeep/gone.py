"""Evidence that is gone: places of a store in the index that a reading of the whole store did not meet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from chains.index.codes import clean, original, place_parts
from chains.index.codes import place as place_text
from chains.index.reading import Place
from chains.index.tables import location, place, term

if TYPE_CHECKING:
    from sqlalchemy import Connection, Select

_LONG = 400
"""Characters of a place, far below what the index cuts."""
_DIGEST = 32
"""Bytes of a SHA-256."""
_MOST_UNREAD = 1000
_SHORTEST = 8
"""Characters of the name of something unread that are looked for in places."""


@dataclass(frozen=True, slots=True)
class GonePlace:
    """A row of ``location``."""

    attestation: int
    digest: bytes
    place: int
    end: bytes


class Seen:
    """The places that a reading of a store met. Each takes about 60 bytes; nobody can choose the hashes."""

    def __init__(self) -> None:
        self._whole: set[int] = set()
        self._pieces: set[int] = set()
        self.unread: dict[str, None] = {}

    def whole(self, at: str) -> None:
        """Note a place of which the store said that nothing there has changed."""
        if len(at) > _LONG:  # the index may have cut it
            folder, end = place_parts(at, b"")
            self._whole.add(hash((clean(folder), end)))
        else:
            self._whole.add(hash(at))

    def piece(self, one: Place) -> None:
        """Note a piece of evidence."""
        folder, end = place_parts(one.location, one.digest)
        self._pieces.add(hash((one.digest, clean(folder), end)))

    def skip(self, locations: Iterable[str]) -> None:
        """Note places that could not be read."""
        self.unread |= dict.fromkeys(locations)

    def has(self, digest: bytes, folder: str, end: bytes) -> bool:
        """Whether the reading met these bytes at this place; ``folder`` is as it is in the index."""
        if self._whole:
            # several pieces may lie at one place: digests of their signatures tell them apart
            own = (end or digest)[:_DIGEST]
            text = original(folder) if "\\" in folder else folder
            if hash(text + own.hex()) in self._whole or hash((folder, own)) in self._whole:
                return True
        return hash((digest, folder, end)) in self._pieces


def gone_places(connection: Connection, number: int, seen: Seen, known_unread: set[str]) -> list[GonePlace]:
    """Return the places of a store that are gone, none if something may lie where nothing could be read.

    What could not be read protects the places with its name. Something unread that has the name of no place,
    and was not unread before (``known_unread``), may stand for any of them.
    """
    missing = []
    has, read = seen.has, connection.execute(_places(number))
    for attestation, digest, at, end, folder in read:
        if not has(digest, folder, end):
            one = GonePlace(attestation, bytes(digest), at, bytes(end))
            missing.append((one, place_text(folder, one.end, one.digest)))
    if not missing or not seen.unread:
        return [one for one, _ in missing]
    if len(seen.unread) > _MOST_UNREAD:
        return []
    names = {name for text in seen.unread if len(name := text.rstrip("/").rpartition("/")[2]) >= _SHORTEST}
    places = [at for _, at in missing]
    used = {name for name in names if any(name in at for at in places)}
    for text in seen.unread:
        if text not in known_unread and text.rstrip("/").rpartition("/")[2] not in used:
            return []
    return [one for one, at in missing if not any(name in at for name in used)]


def _places(number: int) -> Select[Any]:
    """Return the question for the places of a store: there may be millions."""
    return (
        select(location.c.attestation, location.c.digest, location.c.place, location.c.end, term.c.text)
        .join(place, place.c.id == location.c.place)
        .join(term, term.c.id == place.c.folder)
        .where(place.c.store == number)
        .execution_options(yield_per=10_000)
    )
