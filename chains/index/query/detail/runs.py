"""Runs as the index knows them from verified statements that name them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from chains.index.codes import Kind, Level, Outcome, Verdict, digest_text, original, uid_bytes, uid_text, word
from chains.index.query.scope import View
from chains.index.query.sql import Sql, all_of, one_of

_TERMS: Final = (
    "namespace", "pipeline", "task", "builder", "repository", "trigger", "sender", "account", "node",
    "reason", "level_reason",
)  # fmt: skip
_COLUMNS: Final = (
    "id", "uid", "verdict", "kind", "name", '"commit"', "outcome", "created", "started", "finished",
    "pod_wait", "step_wait", "retries", "cpu", "memory", "spot_wish", "level",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Run:
    """One run. Texts that no verified statement says are empty, numbers None; times are in Unix time.

    With a ``verdict`` other than VERIFIED everything but the UID is a claim of whoever wrote it.
    """

    id: int
    uid: str
    verdict: Verdict
    kind: str
    namespace: str
    name: str
    pipeline: str
    task: str
    builder: str
    repository: str
    commit: str
    trigger: str
    sender: str
    account: str
    node: str
    outcome: Outcome
    reason: str
    created: int | None
    started: int | None
    finished: int
    pod_wait: int | None
    step_wait: int | None
    retries: int | None
    cpu: int | None
    memory: int | None
    spot_wish: bool | None
    level: Level
    level_reason: str

    @property
    def path(self) -> str:
        """Its name with its namespace, or its UID."""
        return "/".join(filter(None, (self.namespace, self.name))) or self.uid

    @property
    def seconds(self) -> int | None:
        """How long it took, None if that is not known."""
        if self.started is None or not self.finished or self.finished < self.started:
            return None
        return self.finished - self.started


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a TaskRun; ``digest`` is that of its image, times are in Unix time."""

    name: str
    image: str
    digest: str
    exit_code: int | None
    ended_as: str
    started: int | None
    finished: int | None

    @property
    def seconds(self) -> int | None:
        """How long it took, None if that is not known."""
        if self.started is None or self.finished is None or self.finished < self.started:
            return None
        return self.finished - self.started


def run_of(view: View, uid: str) -> Run | None:
    """Return the run with a UID, None if there is none that may be seen."""
    return next(iter(_runs(view, one_of("r.uid", (uid_bytes(uid),)))), None)


def id_of_uid(view: View, uid: bytes) -> int | None:
    """Return the id of the run with a UID as it is stored, None if there is none that may be seen."""
    where = all_of((Sql("r.uid = ?", (uid,)), *view.allowed("r")))
    rows = view.reader.rows(Sql(f"SELECT r.id FROM run AS r WHERE {where.text}", where.values))  # noqa: S608
    return next((row[0] for row in rows), None)


def runs_of(view: View, uids: Sequence[str]) -> dict[str, Run]:
    """Return the runs with these UIDs, as far as they may be seen."""
    if not uids:
        return {}
    where = one_of("r.uid", tuple(uid_bytes(uid) for uid in dict.fromkeys(uids)))
    return {run.uid: run for run in _runs(view, where)}


def runs_named(view: View, namespace: str, name: str, most: int = 50) -> list[Run]:
    """Return the runs with a name in a namespace, the newest first."""
    where = all_of((Sql("r.name = ?", (name,)), Sql("r_namespace.text = ?", (namespace,))))
    return _runs(view, where, most)


def steps_of(view: View, run: Run) -> list[Step]:
    """Return the steps of a run that was seen, in their order."""
    rows = view.reader.rows(
        Sql(
            "SELECT n.text, i.text, f.digest, s.exit_code, e.text, s.started, s.finished FROM step AS s "
            "JOIN term AS n ON n.id = s.name JOIN artifact AS f ON f.id = s.image "
            "JOIN term AS i ON i.id = f.name "
            "LEFT JOIN term AS e ON e.id = s.ended_as WHERE s.run = ? ORDER BY s.position",
            (run.id,),
        )
    )
    return [
        Step(
            original(name),
            original(image),
            f"sha256:{bytes(digest).hex()}" if digest else "",
            code,
            original(ended or ""),
            started,
            finished,
        )
        for name, image, digest, code, ended, started, finished in rows
    ]


def _runs(view: View, where: Sql, most: int = 10_000) -> list[Run]:
    columns = [f"r.{name}" for name in _COLUMNS] + [f"r_{name}.text" for name in _TERMS]
    joins = " ".join(f"LEFT JOIN term AS r_{name} ON r_{name}.id = r.{name}" for name in _TERMS)
    own = all_of((where, *view.allowed("r")))
    select = (
        f"SELECT {', '.join(columns)} FROM run AS r {joins} WHERE {own.text} "  # noqa: S608
        "ORDER BY r.finished DESC, r.id DESC LIMIT ?"
    )
    return [_run(row) for row in view.reader.rows(Sql(select, (*own.values, most)))]


def _run(row: tuple[Any, ...]) -> Run:
    number, uid, verdict, kind, name, commit, outcome, created, started, finished = row[:10]
    pod_wait, step_wait, retries, cpu, memory, spot_wish, level, *texts = row[10:]
    return Run(
        id=number,
        uid=uid_text(bytes(uid)),
        verdict=Verdict(verdict),
        kind="" if kind == Kind.OTHER else word(Kind(kind)),
        name=original(name or ""),
        commit=digest_text(bytes(commit)) if commit else "",
        outcome=Outcome(outcome),
        created=created,
        started=started,
        finished=finished,
        pod_wait=pod_wait,
        step_wait=step_wait,
        retries=retries,
        cpu=cpu,
        memory=memory,
        spot_wish=None if spot_wish is None else bool(spot_wish),
        level=Level(level),
        **dict(zip(_TERMS, (original(text or "") for text in texts), strict=True)),
    )
