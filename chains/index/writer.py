"""Writes entries into an index, and how far the store was read, in one transaction.

Writing the same entries twice changes nothing, so that a transaction whose end is unknown can be repeated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import and_, bindparam, delete, func, select, update

from chains.index.batch import Batch
from chains.index.codes import Verdict, What, clean, original, place_parts
from chains.index.reading import Entry, Place
from chains.index.rows import Ids, Pending, by_digest
from chains.index.tables import attestation, location, place, store, unread
from chains.index.upkeep.gone import GonePlace, Seen, gone_places
from chains.index.upkeep.renewal import of_digests, related, unplaced

if TYPE_CHECKING:
    from sqlalchemy import Connection

T = TypeVar("T")
_DIGEST = 32
_DIGESTS = (_DIGEST, 2 * _DIGEST)
"""Bytes of a digest, and of one with that of a signature behind it."""


@dataclass(frozen=True, slots=True)
class Unread:
    """Something that could not be read: its place, its digest as far as it is known, and why."""

    location: str
    digest: str
    reason: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a store was read: parts in all, parts read, and the time if it was read to the end."""

    total: int
    read: int
    updated: int | None = None


class WholePlaces:
    """The places of a store whose evidence is in the index, all of it: places that end with a digest.

    What was read together was written together. 32 bytes stay in memory for each place.
    """

    def __init__(self, number: int, unread: set[str]) -> None:
        self._number, self._unread = number, unread
        self._ends: dict[str, bytes] = {}

    def has(self, location: str, load: Callable[[int, str], bytes]) -> bool:
        """Return whether this is one of them; ``load`` gets the ends of the places with a beginning."""
        folder, end = place_parts(location, b"")
        if len(end) != _DIGEST or clean(location) in self._unread:
            return False
        if folder not in self._ends:
            self._ends[folder] = load(self._number, folder)
        ends = self._ends[folder]
        low, high = 0, len(ends) // _DIGEST
        while low < high:
            middle = (low + high) // 2
            at = ends[middle * _DIGEST : (middle + 1) * _DIGEST]
            if at == end:
                return True
            low, high = (middle + 1, high) if at < end else (low, middle)
        return False


class Writer:
    """Writes through one connection. Make a new one after a transaction that failed."""

    def __init__(self, connection: Connection, *, is_build: bool) -> None:
        self._connection, self._is_build = connection, is_build
        with connection.begin():
            self._ids = Ids(connection)

    def look(self, question: Callable[[Connection], T]) -> T:
        """Return the answer to a question."""
        with self._connection.begin():
            return question(self._connection)

    def last(self) -> int:
        """Return the greatest id of a statement, 0 for an empty index."""
        return self.look(lambda it: it.execute(select(func.max(attestation.c.id))).scalar() or 0)

    def stores(self) -> set[int]:
        """Return the ids of all stores of the index."""
        return self.look(lambda it: set(it.execute(select(store.c.id)).scalars()))

    def unread(self, number: int) -> set[str]:
        """Return the places of a store that could not be read."""
        asked = select(unread.c.location).where(unread.c.store == number)
        return self.look(lambda it: {original(one) for one in it.execute(asked).scalars()})

    def gone(self, number: int, seen: Seen, known_unread: set[str]) -> list[GonePlace]:
        """Return the places of a store that are gone; see :func:`gone_places`."""
        return self.look(lambda it: gone_places(it, number, seen, known_unread))

    def about(self, digests: Iterable[bytes], last: int) -> set[int]:
        """Return the statements about artifacts with these digests, with an id up to ``last``."""
        return self.look(lambda it: of_digests(it, digests, last, is_build=self._is_build))

    def related(self, numbers: Collection[int], *, by_image: bool) -> list[list[int]]:
        """Return these statements and those that depend on the same, in groups; see :func:`related`."""
        return self.look(lambda it: related(it, numbers, by_image=by_image, is_build=self._is_build))

    def renew(
        self,
        group: Sequence[int],
        gone: Sequence[GonePlace],
        entries: Mapping[int, Sequence[Entry]],
        checked: int,
    ) -> int | None:
        """Write statements again from ``entries`` by store, without the places that are ``gone``.

        Return how many lie nowhere any more and were removed. None if one of the others is not among the
        entries: then nothing is changed.
        """
        merged = {number: _merged(some) for number, some in entries.items()}
        with self._connection.begin() as transaction:
            for one in gone:
                self._connection.execute(
                    delete(location).where(
                        location.c.attestation == one.attestation,
                        location.c.digest == one.digest,
                        location.c.place == one.place,
                        location.c.end == one.end,
                    )
                )
            removed = unplaced(self._connection, group)
            asked = select(attestation.c.digest).where(attestation.c.id.in_(set(group) - removed))
            wanted = {bytes(one) for one in self._connection.execute(asked).scalars()}
            if not wanted <= {digest for some in merged.values() for digest in some}:
                transaction.rollback()
                return None
            batch = Batch(self._connection, self._ids, 0, checked, is_build=self._is_build)
            batch.unsettle(group)
            batch.drop(removed)
            batch.save()
            for number, some in merged.items():
                known = {digest: entry for digest, entry in some.items() if digest in wanted}
                again = Batch(self._connection, self._ids, number, checked, is_build=self._is_build)
                again.write(known)
        return len(removed)

    def store(self, url: str) -> int:
        """Return the id of a store, which gets a row if it has none."""
        with self._connection.begin():
            found = self._connection.execute(select(store.c.id).where(store.c.url == clean(url))).scalar()
            if found is None:
                found = self._ids.new(store)
                self._connection.execute(
                    store.insert().values(id=found, url=clean(url), parts=0, read=0, updated=0)
                )
        return int(found)

    def known(self, number: int, places: Iterable[Place]) -> set[Place]:
        """Return the places of a store that the index has already, with the same bytes."""
        by_key: dict[tuple[bytes, int, bytes], Place] = {}
        with self._connection.begin():
            for one in places:
                folder, end = place_parts(one.location, one.digest)
                at = self._ids.known_place(number, folder, one.form)
                if at is not None:
                    by_key[one.digest, at, end] = one
            columns = (location.c.digest, location.c.place, location.c.end)
            rows = by_digest(self._connection, {digest for digest, _, _ in by_key}, *columns)
            keys = {(bytes(digest), at, bytes(end)) for digest, at, end in rows}
        return {one for key, one in by_key.items() if key in keys}

    def whole(self, number: int) -> WholePlaces:
        """Return the places of a store about which nothing is left to read."""
        with self._connection.begin():
            asked = select(unread.c.location).where(unread.c.store == number)
            return WholePlaces(number, set(self._connection.execute(asked).scalars()))

    def ends(self, number: int, folder: str) -> bytes:
        """Return the digests with which the places of a store below a beginning end, in order."""
        found = bytearray()
        with self._connection.begin():
            word = self._ids.known(What.PLACE, folder)
            places = select(place.c.id).where(place.c.store == number, place.c.folder == word)
            asked = (
                select(location.c.end).where(location.c.place.in_(places)).distinct().order_by(location.c.end)
            )
            for (end,) in self._connection.execute(asked.execution_options(yield_per=10_000)):
                if len(end) in _DIGESTS:
                    found += bytes(end)[:_DIGEST]
        return bytes(found)

    def write(
        self, number: int, entries: Sequence[Entry], skipped: Sequence[Unread], checked: int, far: Progress
    ) -> Counter[Verdict]:
        """Write entries of the store with this id, what of it could not be read, and how far it was read.

        Return how many statements were new, by verdict.
        """
        merged = _merged(entries)
        with self._connection.begin():
            batch = Batch(self._connection, self._ids, number, checked, is_build=self._is_build)
            new = batch.write(merged)
            self._skip(number, skipped, checked)
            self._far(number, far)
        return new

    def add(self, number: int, entries: Sequence[Entry], checked: int) -> Counter[Verdict]:
        """Write entries of the store with this id, of which nothing else was read.

        Return how many statements were new, by verdict.
        """
        with self._connection.begin():
            batch = Batch(self._connection, self._ids, number, checked, is_build=self._is_build)
            return batch.write(_merged(entries))

    def _skip(self, number: int, skipped: Sequence[Unread], checked: int) -> None:
        rows = {
            (clean(one.location), clean(one.digest[:100])): (
                number,
                clean(one.location),
                clean(one.digest[:100]),
                clean(one.reason),
                checked,
            )
            for one in skipped
        }
        gone = delete(unread).where(
            and_(
                unread.c.store == number,
                unread.c.location == bindparam("place"),
                unread.c.digest == bindparam("hash"),
            )
        )
        if rows:
            self._connection.execute(gone, [{"place": place, "hash": digest} for place, digest in rows])
            pending = Pending()
            pending.extend(unread, rows.values())
            pending.insert(self._connection)

    def _far(self, number: int, far: Progress) -> None:
        values: dict[str, int] = {"parts": far.total, "read": far.read}
        if far.updated is not None:
            values["updated"] = far.updated
            # what could not be read before and was not met again is there no more, or can be read now
            gone = delete(unread).where(unread.c.store == number, unread.c.checked < far.updated)
            self._connection.execute(gone)
        self._connection.execute(update(store).where(store.c.id == number).values(**values))


def _merged(entries: Iterable[Entry]) -> dict[bytes, Entry]:
    """Return one entry for each statement, from all of its copies."""
    merged: dict[bytes, Entry] = {}
    for entry in entries:
        known = merged.get(entry.digest)
        merged[entry.digest] = entry if known is None else known.join(entry)
    return merged
