"""Writes entries into an index, and how far the store was read, in one transaction.

Writing the same entries twice changes nothing, so that a transaction whose end is unknown can be repeated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import and_, bindparam, delete, func, select, text, update

from chains.index.codes import Role, Verdict, What, clean, digest_bytes, place_parts
from chains.index.names import name_of, source_of
from chains.index.reading import Entry, Place
from chains.index.rows import Ids, Pending, chunks
from chains.index.runs import RunRow, Shared, load_runs, own_shared, save_runs
from chains.index.tables import (
    attestation,
    day,
    location,
    log_entry,
    material,
    named,
    store,
    subject,
    summary,
    term,
    unread,
    verified_time,
)
from chains.lineage.statement_facts import Role as InputRole

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

_ROLES = {
    InputRole.STEP_IMAGE: Role.STEP_IMAGE,
    InputRole.TASK: Role.TASK,
    InputRole.SOURCE: Role.SOURCE,
    InputRole.DEPENDENCY: Role.DEPENDENCY,
}
_DAY = 86400
_DIGEST = 32
_DIGESTS = (_DIGEST, 2 * _DIGEST)
"""Bytes of a digest, and of one with that of a signature behind it."""
_COUNT = text(
    "INSERT INTO day (namespace, day, predicate, level, verdict, n) "
    "VALUES (:namespace, :day, :predicate, :level, :verdict, :n) "
    "ON CONFLICT (namespace, day, predicate, level, verdict) DO UPDATE SET n = day.n + excluded.n"
)
_Group = tuple[int | None, int, int, int, int]
"""Namespace, day, predicate, level and verdict."""


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


@dataclass(frozen=True, slots=True)
class Written:
    """What one transaction added: statements that were new, by verdict."""

    new: Counter[Verdict]


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

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        with connection.begin():
            self._ids = Ids(connection)

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
        for place in places:
            folder, end = place_parts(place.location, place.digest)
            word = self._ids.known(What.PLACE, folder)
            if word is not None:
                by_key[place.digest, word, end] = place
        found = set()
        columns = (location.c.digest, location.c.folder, location.c.end)
        with self._connection.begin():
            for some in chunks({key[0] for key in by_key}):
                asked = select(*columns).where(location.c.digest.in_(some), location.c.store == number)
                for digest, word, end in self._connection.execute(asked):
                    at = by_key.get((bytes(digest), word, bytes(end)))
                    if at is not None:
                        found.add(at)
        return found

    def whole(self, number: int) -> WholePlaces:
        """Return the places of a store about which nothing is left to read."""
        with self._connection.begin():
            asked = select(unread.c.location).where(unread.c.store == number)
            return WholePlaces(number, set(self._connection.execute(asked).scalars()))

    def ends(self, number: int, folder: str) -> bytes:
        """Return the digests with which the places of a store below a beginning end, in order."""
        word = self._ids.known(What.PLACE, folder)
        found = bytearray()
        asked = (
            select(location.c.end)
            .where(location.c.store == number, location.c.folder == word)
            .distinct()
            .order_by(location.c.end)
        )
        with self._connection.begin():
            for (end,) in self._connection.execute(asked.execution_options(yield_per=10_000)):
                if len(end) in _DIGESTS:
                    found += bytes(end)[:_DIGEST]
        return bytes(found)

    def write(
        self, number: int, entries: Sequence[Entry], skipped: Sequence[Unread], checked: int, far: Progress
    ) -> Written:
        """Write entries of the store with this id, what of it could not be read, and how far it was read."""
        merged: dict[bytes, Entry] = {}
        for entry in entries:
            known = merged.get(entry.digest)
            merged[entry.digest] = entry if known is None else known.join(entry)
        with self._connection.begin():
            batch = _Batch(self._connection, self._ids, number, checked)
            written = batch.write(merged)
            self._skip(number, skipped, checked)
            self._far(number, far)
        return written

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


class _Batch:
    """The rows of one transaction."""

    def __init__(self, connection: Connection, ids: Ids, number: int, checked: int) -> None:
        self._connection, self._ids = connection, ids
        self._store, self._checked = number, checked
        self._pending = Pending()
        self._days: Counter[_Group] = Counter()

    def write(self, merged: dict[bytes, Entry]) -> Written:
        there = self._there(merged)
        runs = load_runs(self._connection, self._ids, {one.uid for one in merged.values() if one.uid})
        numbers = {
            digest: there[digest][0] if digest in there else self._ids.new(attestation) for digest in merged
        }
        for digest, entry in merged.items():
            if entry.uid:
                runs[entry.uid].take(entry, numbers[digest], self._ids)
        self._update_shared(runs)
        added: Counter[Verdict] = Counter()
        for digest, entry in merged.items():
            row = runs.get(entry.uid)
            has_run = row is not None and entry.verdict is Verdict.VERIFIED
            shared = row.shared if row is not None and has_run else own_shared(entry, self._ids)
            if digest not in there:
                added[entry.verdict] += 1
                self._insert(numbers[digest], entry, row, shared)
            else:
                self._join(numbers[digest], there[digest][1], entry, row, shared)
        self._places({numbers[digest]: entry for digest, entry in merged.items()}, there)
        save_runs(self._connection, self._ids, runs.values(), self._pending)
        self._pending.extend(term, self._ids.take_new())
        self._pending.insert(self._connection)
        self._count()
        return Written(added)

    def _there(self, merged: dict[bytes, Entry]) -> dict[bytes, tuple[int, int]]:
        """Return id and verdict of those that the index has."""
        found: dict[bytes, tuple[int, int]] = {}
        columns = (attestation.c.digest, attestation.c.id, attestation.c.verdict)
        for some in chunks(merged):
            for digest, number, verdict in self._connection.execute(
                select(*columns).where(attestation.c.digest.in_(some))
            ):
                found[bytes(digest)] = (number, verdict)
        return found

    def _update_shared(self, runs: dict[str, RunRow]) -> None:
        """Give what is now known about a run to its attestations that were there before."""
        for row in runs.values():
            before, shared = row.before, row.shared
            if before is None or before == shared:
                continue
            of_run = and_(attestation.c.run == row.values["id"], attestation.c.verdict == 0)
            counted = (attestation.c.finished, attestation.c.predicate, func.count())
            groups = select(*counted).where(of_run).group_by(*counted[:2])
            for finished, predicate, n in self._connection.execute(groups):
                for one, sign in ((before, -n), (shared, n)):
                    self._days[one.namespace, finished // _DAY, predicate, one.level, 0] += sign
            self._connection.execute(update(attestation).where(of_run).values(**shared.values()))

    def _insert(self, number: int, entry: Entry, row: RunRow | None, shared: Shared) -> None:
        ids, facts, finished = self._ids, entry.facts, entry.finished
        predicate = ids.word(What.PREDICATE, facts.predicate_type)
        self._pending.add(
            attestation,
            number,
            entry.digest,
            row.values["id"] if row else None,
            predicate,
            ids.maybe(What.SIGNER, entry.signer),
            int(entry.verdict),
            ids.maybe(What.REASON, entry.reason),
            clean(entry.detail) or None,
            self._checked,
            entry.size,
            finished,
            *shared.values().values(),
        )
        self._days[shared.namespace, finished // _DAY, predicate, shared.level, int(entry.verdict)] += 1
        names = {(ids.word(What.TASK, task), Role.TASK) for task in facts.tasks}
        subjects = set()
        for product in facts.products:
            name = ids.word(What.NAME, name_of(product.name))
            names.add((name, Role.SUBJECT))
            for digest in product.digests:
                algorithm, _, value = digest.partition(":")
                subjects.add((digest_bytes(value), ids.word(What.ALGORITHM, algorithm), name))
        self._pending.extend(subject, ((one, finished, number, word, name) for one, word, name in subjects))
        materials = set()
        for used in facts.inputs:
            role = _ROLES[used.role]
            name = ids.word(What.NAME, source_of(used.uri) if role is Role.SOURCE else name_of(used.uri))
            names.add((name, role))
            for digest in used.digests or (":",):
                algorithm, _, value = digest.partition(":")
                materials.add(
                    (
                        digest_bytes(value) if value else b"",
                        ids.word(What.ALGORITHM, algorithm),
                        int(role),
                        name,
                    )
                )
        self._pending.extend(
            material, ((one, finished, number, word, role, name) for one, word, role, name in materials)
        )
        self._pending.extend(named, ((name, int(role), finished, number) for name, role in names))
        self._proofs(number, entry.times, entry.logged)
        self._summary(number, entry)

    def _proofs(self, number: int, times: set[tuple[int, str]], logged: set[tuple[int, str]]) -> None:
        word = self._ids.word
        self._pending.extend(verified_time, ((number, one, word(What.AUTHORITY, by)) for one, by in times))
        self._pending.extend(log_entry, ((word(What.AUTHORITY, by), one, number) for one, by in logged))

    def _summary(self, number: int, entry: Entry) -> None:
        said = entry.summary
        if said is None:
            return
        digest = said.policy_digest.removeprefix("sha256:")
        self._pending.add(
            summary,
            number,
            self._ids.maybe(What.VERIFIER, said.verifier_id),
            self._ids.maybe(What.RESOURCE, said.resource_uri),
            self._ids.maybe(What.POLICY, said.policy_uri),
            digest_bytes(digest) if digest else None,
            said.is_passed,
            clean(" ".join(said.levels)),
            int(said.verified_at.timestamp()) if said.verified_at else None,
        )

    def _join(self, number: int, verdict: int, entry: Entry, row: RunRow | None, shared: Shared) -> None:
        """Add what another copy shows of an attestation that is there; a copy that verifies decides."""
        if entry.verdict is not Verdict.VERIFIED:
            return
        if verdict != Verdict.VERIFIED:
            columns = (
                attestation.c[name] for name in ("namespace", "finished", "predicate", "level", "verdict")
            )
            namespace, finished, predicate, level, old = self._connection.execute(
                select(*columns).where(attestation.c.id == number)
            ).one()
            self._days[namespace, finished // _DAY, predicate, level, old] -= 1
            self._days[shared.namespace, finished // _DAY, predicate, shared.level, 0] += 1
            values = {
                "verdict": 0,
                "run": row.values["id"] if row else None,
                "signer": self._ids.maybe(What.SIGNER, entry.signer),
                "reason": None,
                "detail": None,
                "checked": self._checked,
            } | shared.values()
            self._connection.execute(update(attestation).where(attestation.c.id == number).values(**values))
        self._proofs(
            number,
            entry.times - self._shown(number, verified_time, "time"),
            entry.logged - self._shown(number, log_entry, "log_index"),
        )

    def _shown(self, number: int, table: Table, column: str) -> set[tuple[int, str]]:
        asked = (
            select(table.c[column], term.c.text)
            .join(term, term.c.id == table.c.authority)
            .where(table.c.attestation == number)
        )
        return {(one, by) for one, by in self._connection.execute(asked)}

    def _places(self, by_number: dict[int, Entry], there: dict[bytes, tuple[int, int]]) -> None:
        rows: dict[tuple[bytes, int, bytes], tuple[int, int]] = {}
        for number, entry in by_number.items():
            for place in entry.places:
                folder, end = place_parts(place.location, place.digest)
                key = (place.digest, self._ids.word(What.PLACE, folder), end)
                rows[key] = (number, self._ids.word(What.FORMAT, place.form))
        old = {key[0] for key, (number, _) in rows.items() if by_number[number].digest in there}
        for some in chunks(old):
            asked = select(location.c.digest, location.c.folder, location.c.end).where(
                location.c.digest.in_(some), location.c.store == self._store
            )
            for digest, folder_, end in self._connection.execute(asked):
                rows.pop((bytes(digest), folder_, bytes(end)), None)
        self._pending.extend(
            location,
            (
                (digest, self._store, folder_, end, number, form)
                for (digest, folder_, end), (number, form) in rows.items()
            ),
        )

    def _count(self) -> None:
        totals: Counter[_Group] = Counter()
        for (namespace, *rest), n in self._days.items():
            totals[(0, *rest)] += n  # type: ignore[index]
            if namespace is not None:
                totals[(namespace, *rest)] += n  # type: ignore[index]
        names = ("namespace", "day", "predicate", "level", "verdict")
        rows = [dict(zip(names, group, strict=True)) | {"n": n} for group, n in totals.items() if n]
        if rows:
            self._connection.execute(_COUNT, rows)
        if any(n < 0 for n in totals.values()):
            self._connection.execute(delete(day).where(day.c.n == 0))
