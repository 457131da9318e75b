"""The row of a run, merged from the attestations about it. The order in which they come does not matter.

Only verified statements that name a run say something about it. Of several reports, or several statements
of provenance, the one with the greatest digest counts: they differ only if a run was attested twice. Which
run a store names for a statement counts nothing: anybody who may write to a store can name any run.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select, update

from chains.index.codes import Kind, Level, Outcome, Role, Verdict, What, clean, digest_bytes, uid_bytes
from chains.index.reading import Entry
from chains.index.rows import Artifact, Ids, Pending, chunks
from chains.index.run_facts import Provenance, Report, Step
from chains.index.tables import attestation, run, step, term

if TYPE_CHECKING:
    from sqlalchemy import Connection

_REPORTED = ("trigger", "sender", "account", "node")
_ALL = [column.name for column in run.columns]


@dataclass(frozen=True, slots=True)
class Shared:
    """What the row of an attestation has from its run, as ids and codes."""

    namespace: int | None = None
    pipeline: int | None = None
    builder: int | None = None
    repository: int | None = None
    level: int = 0
    outcome: int = 0

    def values(self) -> dict[str, int | None]:
        """Return the values by their columns."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class RunRow:
    """One run: its columns as they will be, and whether that differs from what the database has."""

    values: dict[str, Any]
    namespace: str = ""
    report_digest: bytes = b""
    provenance_digest: bytes = b""
    is_new: bool = True
    is_changed: bool = True
    steps: tuple[Any, ...] | None = field(default=None)
    """The steps to write in place of those that are there; None to leave them."""
    before: Shared | None = None

    @property
    def shared(self) -> Shared:
        """What its verified attestations have from it."""
        return Shared(**{name: self.values[name] for name in Shared.__slots__})

    def take(self, entry: Entry, number: int, ids: Ids) -> None:
        """Add what an attestation says; ``number`` is its id."""
        if entry.verdict is not Verdict.VERIFIED:
            if self.values["verdict"] != Verdict.VERIFIED:
                self._set(verdict=min(self.values["verdict"], int(entry.verdict)))
                if entry.report is not None:
                    self._claim(entry.report, ids)
            return
        if self.values["verdict"] != Verdict.VERIFIED:
            # what was only claimed does not stay beside what was verified
            self.namespace = ""
            self._set(verdict=int(Verdict.VERIFIED), kind=0, namespace=None, name=None, finished=0)
        if entry.report is not None and entry.digest >= self.report_digest:
            if entry.digest != self.report_digest:
                self._report(entry.report, entry, number, ids)
            if entry.created is not None:
                self._set(created=entry.created)
        if entry.provenance is not None and entry.digest > self.provenance_digest:
            self._provenance(entry.provenance, entry, number, ids)
        if not self.report_digest and not self.provenance_digest:
            self._set(finished=max(self.values["finished"], entry.finished))

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            if self.values[name] != value:
                self.values[name] = value
                self.is_changed = True

    def _claim(self, report: Report, ids: Ids) -> None:
        """Take the name that a report which was not verified claims: of several the first in order."""
        found = (int(report.kind), clean(report.namespace), clean(report.name))
        known = (self.values["kind"], self.namespace, self.values["name"] or "")
        if found[2] and (not known[2] or found < known):
            self.namespace = found[1]
            self._set(kind=found[0], namespace=ids.maybe(What.NAMESPACE, report.namespace), name=found[2])

    def _report(self, report: Report, entry: Entry, number: int, ids: Ids) -> None:
        self.report_digest = entry.digest
        self.namespace = clean(report.namespace)
        self.steps = report.steps
        words = {name: ids.maybe(What[name.upper()], getattr(report, name)) for name in _REPORTED}
        self._set(
            report=number,
            kind=int(report.kind),
            namespace=ids.maybe(What.NAMESPACE, report.namespace),
            name=clean(report.name),
            **words,
            outcome=int(report.outcome),
            reason=ids.maybe(What.ENDED_AS, report.reason),
            created=None,
            started=report.started,
            finished=max(report.finished or 0, 0),
            pod_wait=report.pod_wait,
            step_wait=report.step_wait,
            retries=report.retries,
            cpu=report.cpu,
            memory=report.memory,
            spot_wish=report.spot_wish,
            level=int(report.level),
            level_reason=ids.maybe(What.LEVEL_REASON, report.level_reason),
        )

    def _provenance(self, said: Provenance, entry: Entry, number: int, ids: Ids) -> None:
        self.provenance_digest = entry.digest
        self._set(provenance=number, **definition(said, ids), task=ids.maybe(What.TASK, said.task))
        self._set(commit=digest_bytes(said.commit) if said.commit else None)
        if not self.report_digest:
            self._set(finished=entry.finished)


def definition(said: Provenance, ids: Ids) -> dict[str, int | None]:
    """Return the columns that runs and attestations have from provenance."""
    return {
        "pipeline": ids.maybe(What.PIPELINE, said.pipeline),
        "builder": ids.maybe(What.BUILDER, said.builder),
        "repository": ids.maybe(What.NAME, said.repository),
    }


def own_shared(entry: Entry, ids: Ids) -> Shared:
    """Return what an attestation says by itself, for one that was not verified or names no run."""
    said = definition(entry.provenance, ids) if entry.provenance else {}
    return Shared(
        namespace=ids.maybe(What.NAMESPACE, entry.report.namespace) if entry.report else None,
        **said,
        level=int(entry.report.level) if entry.report else 0,
        outcome=int(entry.report.outcome) if entry.report else 0,
    )


def load_runs(connection: Connection, ids: Ids, uids: Iterable[str]) -> dict[str, RunRow]:
    """Return the row of each UID, a new one for those that the index does not have."""
    by_bytes = {uid_bytes(uid): uid for uid in uids}
    rows: dict[str, RunRow] = {}
    said, told = attestation.alias("said"), attestation.alias("told")
    wanted = (
        select(run, term.c.text, said.c.digest, told.c.digest)
        .outerjoin(term, term.c.id == run.c.namespace)
        .outerjoin(said, said.c.id == run.c.report)
        .outerjoin(told, told.c.id == run.c.provenance)
    )
    for some in chunks(by_bytes):
        for found in connection.execute(wanted.where(run.c.uid.in_(some))):
            values = dict(zip(_ALL, found, strict=False))
            namespace, report, provenance = found[len(_ALL) :]
            row = RunRow(values, namespace or "", report or b"", provenance or b"", False, False)
            row.before = row.shared
            rows[by_bytes[bytes(values["uid"])]] = row
    for uid_as_bytes, uid in by_bytes.items():
        if uid not in rows:
            empty = dict.fromkeys(_ALL) | {
                "id": ids.new(run),
                "uid": uid_as_bytes,
                "verdict": int(max(Verdict)),
                "kind": int(Kind.OTHER),
                "finished": 0,
                "outcome": int(Outcome.NONE),
                "level": int(Level.NONE),
            }
            rows[uid] = RunRow(empty)
    return rows


def save_runs(connection: Connection, ids: Ids, rows: Iterable[RunRow], pending: Pending) -> None:
    """Write what changed. New rows wait in ``pending``."""
    listed = list(rows)
    with_steps = [row for row in listed if row.steps is not None]
    images = [[_image(one, ids) for one in row.steps or ()] for row in with_steps]
    numbers = ids.artifacts({one for some in images for one in some}, pending)
    for row in listed:
        if row.is_new:
            pending.add(run, *(row.values[name] for name in _ALL))
        elif row.is_changed:
            connection.execute(update(run).where(run.c.id == row.values["id"]).values(row.values))
    for row, of_steps in zip(with_steps, images, strict=True):
        number = row.values["id"]
        if not row.is_new:
            connection.execute(delete(step).where(step.c.run == number))
        for position, (one, image) in enumerate(zip(row.steps or (), of_steps, strict=True)):
            pending.add(
                step,
                number,
                position,
                ids.word(What.STEP, one.name),
                numbers[image],
                one.exit_code,
                ids.maybe(What.ENDED_AS, one.ended_as),
                one.started,
                one.finished,
            )


def _image(said: Step, ids: Ids) -> Artifact:
    algorithm = ids.word(What.ALGORITHM, "sha256" if said.digest else "")
    return said.digest or b"", algorithm, int(Role.STEP_IMAGE), ids.word(What.NAME, said.image)
