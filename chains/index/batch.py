"""The rows that entries give: of new statements, and what further copies of known ones add."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING

from sqlalchemy import and_, delete, func, select, text, update

from chains.index.codes import Role, Verdict, What, clean, digest_bytes, place_parts
from chains.index.names import name_of, source_of
from chains.index.reading import Entry
from chains.index.rows import Artifact, Ids, Pending, by_digest, chunks
from chains.index.runs import RunRow, Shared, load_runs, own_shared, save_runs
from chains.index.tables import (
    artifact,
    attestation,
    day,
    location,
    log_entry,
    named,
    part,
    run,
    step,
    summary,
    term,
    used,
    verified_time,
)
from chains.lineage.statement_facts import Facts
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
_UNSETTLED = 9
"""The verdict of a statement that is read again, inside of the transaction that does it."""


class Batch:
    """The rows of one transaction. A build fills ``used`` and ``named`` at its end."""

    def __init__(
        self, connection: Connection, ids: Ids, number: int, checked: int, *, is_build: bool
    ) -> None:
        self._connection, self._ids, self._is_build = connection, ids, is_build
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
        artifacts = {
            digest: self._artifacts(entry.facts) for digest, entry in merged.items() if digest not in there
        }
        known = self._ids.artifacts({one for some in artifacts.values() for one in some}, self._pending)
        added: Counter[Verdict] = Counter()
        for digest, entry in merged.items():
            row = runs.get(entry.uid)
            is_of_run = row is not None and entry.verdict is Verdict.VERIFIED
            shared = row.shared if row is not None and is_of_run else own_shared(entry, self._ids)
            if digest not in there:
                added[entry.verdict] += 1
                self._insert(numbers[digest], entry, row, shared)
                self._parts(numbers[digest], entry.finished, artifacts[digest], known)
            else:
                self._join(numbers[digest], there[digest][1], entry, row, shared)
        self._places({numbers[digest]: entry for digest, entry in merged.items()}, there)
        save_runs(self._connection, self._ids, runs.values(), self._pending)
        self._pending.extend(term, self._ids.take_new())
        self._pending.insert(self._connection)
        self._count()
        return added

    def unsettle(self, numbers: Collection[int]) -> None:
        """Take back what is known about statements and their runs, to write it again in this transaction.

        What they are about and where they lie stays. Of each run all statements have to be among them.
        """
        columns = (attestation.c[name] for name in ("namespace", "finished", "predicate", "level", "verdict"))
        asked, runs = select(attestation.c.run, *columns), set()
        for some in chunks(numbers):
            for of, namespace, finished, predicate, level, verdict in self._connection.execute(
                asked.where(attestation.c.id.in_(some))
            ):
                runs.add(of)
                self._days[namespace, finished // _DAY, predicate, level, verdict] -= 1
            for table in (verified_time, log_entry):
                self._connection.execute(delete(table).where(table.c.attestation.in_(some)))
            self._connection.execute(
                update(attestation).where(attestation.c.id.in_(some)).values(verdict=_UNSETTLED, run=None)
            )
        for some in chunks(runs - {None}):
            self._connection.execute(delete(step).where(step.c.run.in_(some)))
            self._connection.execute(delete(run).where(run.c.id.in_(some)))

    def drop(self, numbers: Collection[int]) -> None:
        """Remove statements that were taken back. Words and artifacts stay, as others may name them."""
        for some in chunks(numbers):
            asked = (
                select(
                    part.c.artifact,
                    artifact.c.name,
                    artifact.c.role,
                    attestation.c.finished,
                    attestation.c.id,
                )
                .join(artifact, artifact.c.id == part.c.artifact)
                .join(attestation, attestation.c.id == part.c.attestation)
                .where(part.c.attestation.in_(some))
            )
            for one, name, role, finished, number in self._connection.execute(asked).all():
                keys = (used.c.artifact == one, used.c.finished == finished, used.c.attestation == number)
                self._connection.execute(delete(used).where(*keys))
                self._connection.execute(
                    delete(named).where(
                        named.c.name == name,
                        named.c.role == role,
                        named.c.finished == finished,
                        named.c.attestation == number,
                    )
                )
            for table in (part, location, summary):
                self._connection.execute(delete(table).where(table.c.attestation.in_(some)))
            self._connection.execute(delete(attestation).where(attestation.c.id.in_(some)))

    def save(self) -> None:
        """Write what was taken back."""
        self._count()

    def _there(self, merged: dict[bytes, Entry]) -> dict[bytes, tuple[int, int]]:
        """Return id and verdict of those that the index has."""
        found: dict[bytes, tuple[int, int]] = {}
        columns = (attestation.c.digest, attestation.c.id, attestation.c.verdict)
        for digest, number, verdict in by_digest(self._connection, set(merged), *columns):
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
        ids, finished = self._ids, entry.finished
        predicate = ids.word(What.PREDICATE, entry.facts.predicate_type)
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
            ids.maybe(What.JUDGED_BY, entry.policy),
            entry.policy_digest or None,
        )
        self._days[shared.namespace, finished // _DAY, predicate, shared.level, int(entry.verdict)] += 1
        self._proofs(number, entry.times, entry.logged)
        self._summary(number, entry)

    def _artifacts(self, facts: Facts) -> set[Artifact]:
        """Return what a statement names: by each digest, or without one."""
        word, none = self._ids.word, self._ids.word(What.ALGORITHM, "")
        found = {(b"", none, int(Role.TASK), word(What.TASK, task)) for task in facts.tasks}
        named_by = [(Role.SUBJECT, name_of(one.name), one.digests) for one in facts.products]
        for one in facts.inputs:
            role = _ROLES[one.role]
            named_by.append(
                (role, source_of(one.uri) if role is Role.SOURCE else name_of(one.uri), one.digests)
            )
        for role, text_, digests in named_by:
            name = word(What.NAME, text_)
            for digest in digests or (":",):
                algorithm, _, value = digest.partition(":")
                as_bytes = digest_bytes(value) if value else b""
                found.add((as_bytes, word(What.ALGORITHM, algorithm), int(role), name))
        return found

    def _parts(
        self, number: int, finished: int, artifacts: set[Artifact], known: dict[Artifact, int]
    ) -> None:
        numbers = [known[one] for one in artifacts]
        self._pending.extend(part, ((number, one) for one in numbers))
        if not self._is_build:
            self._pending.extend(used, ((one, finished, number) for one in numbers))
            names = {(name, role) for _, _, role, name in artifacts}
            self._pending.extend(named, ((name, role, finished, number) for name, role in names))

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
        """Add what another copy shows of an attestation that is there; the better copy decides."""
        if entry.verdict < verdict:
            columns = (
                attestation.c[name] for name in ("namespace", "finished", "predicate", "level", "verdict")
            )
            namespace, finished, predicate, level, old = self._connection.execute(
                select(*columns).where(attestation.c.id == number)
            ).one()
            if old != _UNSETTLED:
                self._days[namespace, finished // _DAY, predicate, level, old] -= 1
            self._days[shared.namespace, finished // _DAY, predicate, shared.level, int(entry.verdict)] += 1
            values = {
                "verdict": int(entry.verdict),
                "run": row.values["id"] if row else None,
                "signer": self._ids.maybe(What.SIGNER, entry.signer),
                "reason": self._ids.maybe(What.REASON, entry.reason),
                "detail": clean(entry.detail) or None,
                "checked": self._checked,
                "policy": self._ids.maybe(What.JUDGED_BY, entry.policy),
                "policy_digest": entry.policy_digest or None,
            } | shared.values()
            self._connection.execute(update(attestation).where(attestation.c.id == number).values(**values))
        if entry.verdict is not Verdict.VERIFIED:
            return
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
        rows: dict[tuple[bytes, int, bytes], int] = {}
        old = set()
        for number, entry in by_number.items():
            for at in entry.places:
                folder, end = place_parts(at.location, at.digest)
                words = self._ids.word(What.PLACE, folder), self._ids.word(What.FORMAT, at.form)
                rows[at.digest, self._ids.place(self._store, *words, self._pending), end] = number
                if entry.digest in there:
                    old.add(at.digest)
        for digest, place_, end in by_digest(
            self._connection, old, location.c.digest, location.c.place, location.c.end
        ):
            rows.pop((bytes(digest), place_, bytes(end)), None)
        self._pending.extend(
            location, ((number, digest, place_, end) for (digest, place_, end), number in rows.items())
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
