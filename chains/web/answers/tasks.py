"""The tasks of a PipelineRun as a graph, from the record of the run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from chains.inspection.facts import LevelOfChild
from chains.tekton.raw import Json, mapping_at, objects_at, parse_time, text_at, texts_at
from chains.tekton.snapshot import PIPELINE_TASK_LABEL, RunSnapshot
from chains.text import to_json

MOST: Final = 300
"""Tasks of one graph."""
_RESULT_OF: Final = re.compile(r"\$\(tasks\.([^.()]+)\.(?:results|status|reason)")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a task."""

    started: datetime | None
    finished: datetime | None
    reason: str


@dataclass(frozen=True, slots=True)
class Task:
    """A task of a pipeline, or one of its runs if it has a matrix.

    ``state`` is ``succeeded``, ``failed``, ``cancelled``, ``skipped``, ``unknown`` or ``not run``; ``reason``
    says why. ``after`` are the names of pipeline tasks that it waits for. ``attempts`` are earlier tries.
    """

    key: str
    name: str
    run: str
    uid: str
    kind: str
    state: str
    reason: str
    is_finally: bool = False
    combination: str = ""
    retries: int = 0
    started: datetime | None = None
    finished: datetime | None = None
    level: str = ""
    level_reason: str = ""
    after: tuple[str, ...] = ()
    attempts: tuple[Attempt, ...] = ()

    @property
    def seconds(self) -> float | None:
        """How long it took, None if that is not known."""
        if self.started is None or self.finished is None or self.finished < self.started:
            return None
        return (self.finished - self.started).total_seconds()


@dataclass(frozen=True, slots=True)
class TaskGraph:
    """The tasks in the order of their definition. ``has_order``: whether it is known which waits for which.

    ``source`` says where it is from, in words. ``is_confirmed``: whether a confirmed report has the digest of
    that record.
    """

    tasks: tuple[Task, ...]
    has_order: bool
    source: str
    is_confirmed: bool
    left_out: int = 0


def graph_of_record(
    run: RunSnapshot, levels: Iterable[LevelOfChild], source: str, *, is_confirmed: bool
) -> TaskGraph:
    """Return the graph of a PipelineRun from its record."""
    raw = run.raw
    status = mapping_at(raw, "status")
    definition = mapping_at(status, "pipelineSpec") or mapping_at(raw, "spec", "pipelineSpec")
    own = objects_at(definition, "tasks")
    last = objects_at(definition, "finally")
    records: dict[str, list[Mapping[str, Json]]] = {}
    for child in run.children:
        records.setdefault(text_at(child.raw, "metadata", "labels", PIPELINE_TASK_LABEL), []).append(
            child.raw
        )
    skipped = {text_at(one, "name"): one for one in objects_at(status, "skippedTasks")}
    references: dict[str, list[Mapping[str, Json]]] = {}
    for one in objects_at(status, "childReferences"):
        references.setdefault(text_at(one, "pipelineTaskName"), []).append(one)
    by_name = {one.name: one for one in levels}
    tasks: list[Task] = []
    names = {text_at(one, "name") for one in own}
    for group, is_finally in ((own, False), (last, True)):
        for one in group:
            tasks += _tasks(
                one,
                records=records.get(text_at(one, "name"), []),
                references=references.get(text_at(one, "name"), []),
                skipped=skipped.get(text_at(one, "name")),
                levels=by_name,
                namespace=run.namespace,
                after=() if is_finally else tuple(sorted(_after(one) & names)),
                is_finally=is_finally,
            )
    return TaskGraph(tuple(tasks[:MOST]), bool(own), source, is_confirmed, max(len(tasks) - MOST, 0))


def graph_of_report(levels: Iterable[LevelOfChild], uids: Mapping[str, str]) -> TaskGraph:
    """Return the children that a report names: without their order, states and times."""
    tasks = []
    for one in levels:
        kind, _, rest = one.name.partition("/")
        run = rest.rpartition("/")[2]
        tasks.append(
            Task(
                one.name, run, run, uids.get(one.name, ""), kind, "unknown", "", level=one.level,
                level_reason=one.reason,
            )
        )  # fmt: skip
    return TaskGraph(
        tuple(tasks[:MOST]), False, "the confirmed execution report", True, max(len(tasks) - MOST, 0)
    )


def _after(task: Mapping[str, Json]) -> set[str]:
    """Return the tasks that a task waits for: as ordered, and because it uses their results."""
    found = set(texts_at(task, "runAfter"))
    used = {key: task[key] for key in ("params", "matrix", "when", "taskSpec") if key in task}
    found.update(_RESULT_OF.findall(to_json(used)))
    for one in objects_at(task, "resources", "inputs"):
        found.update(texts_at(one, "from"))
    return found - {text_at(task, "name")}


def _tasks(
    task: Mapping[str, Json],
    *,
    records: list[Mapping[str, Json]],
    references: list[Mapping[str, Json]],
    skipped: Mapping[str, Json] | None,
    levels: Mapping[str, LevelOfChild],
    namespace: str,
    after: tuple[str, ...],
    is_finally: bool,
) -> Iterator[Task]:
    name = text_at(task, "name")
    retries = task.get("retries")
    number = retries if isinstance(retries, int) else 0
    if skipped is not None or not (records or references):
        reason = text_at(skipped or {}, "reason") or "the pipeline ended before it"
        yield Task(
            name, name, "", "", "", "skipped" if skipped is not None else "not run", reason,
            is_finally=is_finally, retries=number, after=after,
        )  # fmt: skip
        return
    known = {text_at(one, "metadata", "name"): one for one in records}
    runs = [text_at(one, "name") for one in references] or list(known)
    kinds = {text_at(one, "name"): text_at(one, "kind") for one in references}
    has_matrix = "matrix" in task
    for place, run in enumerate(runs):
        raw = known.get(run)
        kind = (text_at(raw, "kind") if raw else "") or kinds.get(run, "TaskRun")
        level = levels.get(f"{kind.lower()}/{namespace}/{run}")
        state, reason = _outcome(raw)
        reference = next((one for one in references if text_at(one, "name") == run), {})
        yield Task(
            key=f"{name}/{place}" if has_matrix else name,
            name=name,
            run=run,
            uid=text_at(raw, "metadata", "uid") if raw else "",
            kind=kind,
            state=state,
            reason=reason,
            is_finally=is_finally,
            combination=_combination(raw, task, reference) if has_matrix else "",
            retries=number,
            started=parse_time(text_at(raw, "status", "startTime")) if raw else None,
            finished=parse_time(text_at(raw, "status", "completionTime")) if raw else None,
            level=level.level if level else "",
            level_reason=level.reason if level else "",
            after=after,
            attempts=tuple(_attempts(raw)) if raw else (),
        )


def _outcome(raw: Mapping[str, Json] | None) -> tuple[str, str]:
    if raw is None:
        return "unknown", "its record is not known"
    condition = next(
        (one for one in objects_at(raw, "status", "conditions") if one.get("type") == "Succeeded"), {}
    )
    reason = text_at(condition, "reason")
    if condition.get("status") == "True":
        return "succeeded", reason
    if condition.get("status") == "False":
        return ("cancelled" if "ancelled" in reason else "failed"), reason
    return "unknown", reason


def _attempts(raw: Mapping[str, Json]) -> Iterator[Attempt]:
    for one in objects_at(raw, "status", "retriesStatus"):
        condition = next(iter(objects_at(one, "conditions")), {})
        yield Attempt(
            parse_time(text_at(one, "startTime")),
            parse_time(text_at(one, "completionTime")),
            text_at(condition, "reason"),
        )


def _combination(
    raw: Mapping[str, Json] | None, task: Mapping[str, Json], reference: Mapping[str, Json]
) -> str:
    """Return the values that one run of a matrix has, or its display name."""
    names = {text_at(one, "name") for one in objects_at(task, "matrix", "params")}
    for one in objects_at(task, "matrix", "include"):
        names |= {text_at(param, "name") for param in objects_at(one, "params")}
    told = [
        f"{text_at(one, 'name')}={text_at(one, 'value')}"
        for one in objects_at(raw or {}, "spec", "params")
        if text_at(one, "name") in names
    ]
    return ", ".join(told) or text_at(reference, "displayName")
