"""The rows that entries give: of new statements, and what further copies of known ones add."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from sqlalchemy import and_, delete, func, select, text, update

from chains.index.codes import Role, Verdict, What, clean, digest_bytes, place_parts
from chains.index.names import name_of, source_of
from chains.index.reading import Entry
from chains.index.rows import Ids, Pending, chunks
from chains.index.runs import RunRow, Shared, load_runs, own_shared, save_runs
from chains.index.tables import (
    attestation,
    day,
    location,
    log_entry,
    material,
    named,
    subject,
    summary,
    term,
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
_COUNT = text(
    "INSERT INTO day (namespace, day, predicate, level, verdict, n) "
    "VALUES (:namespace, :day, :predicate, :level, :verdict, :n) "
    "ON CONFLICT (namespace, day, predicate, level, verdict) DO UPDATE SET n = day.n + excluded.n"
)
_Group = tuple[int | None, int, int, int, int]
"""Namespace, day, predicate, level and verdict."""


class Batch:
    """The rows of one transaction."""

    def __init__(self, connection: Connection, ids: Ids, number: int, checked: int) -> None:
        self._connection, self._ids = connection, ids
        self._store, self._checked = number, checked
        self._pending = Pending()
        self._days: Counter[_Group] = Counter()

    def write(self, merged: dict[bytes, Entry]) -> Counter[Verdict]:
        """Write entries by their digests, and return how many statements were new, by verdict."""
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
            is_of_run = row is not None and entry.verdict is Verdict.VERIFIED
            shared = row.shared if row is not None and is_of_run else own_shared(entry, self._ids)
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
        return added

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
        """Give what is now known about a run to its attestations that were there before.

        Only attestations that name the run have it in their row.
        """
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
