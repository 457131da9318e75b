"""Compares a run file with evidence although Tekton replaced the run's sidecars before one was written.

Tekton stops a sidecar by replacing its image. What cannot be compared is reported. Everything else must
agree: only the changes that :mod:`chains.tekton.late_changes` knows are ignored.
"""

from __future__ import annotations

import copy
from base64 import b64decode
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from chains.statements import dependencies
from chains.statements.attributes import Attribute
from chains.statements.statement import Statement
from chains.tekton.late_changes import BOOKKEEPING, Difference, is_replaced, sidecar_differences, sidecars_of
from chains.tekton.raw import mapping_at, objects_at, text_at
from chains.tekton.snapshot import RunSnapshot
from chains.verify.runs.exact import exact

Json = Any
Sidecar = tuple[str, str]
"""The label of a TaskRun, and the name of one of its sidecars."""
_DEPENDENCIES = (("predicate", "materials"), ("predicate", "buildDefinition", "resolvedDependencies"))


def replaced_in(run: RunSnapshot) -> set[Sidecar]:
    """Return the sidecars of a run and its children that are recorded with the replacement."""
    tasks = (run, *run.children)
    return {(task.label, name) for task in tasks for name in dependencies.replaced_sidecars(task)}


def replaced_when_signed(report: Statement, run: RunSnapshot) -> set[Sidecar]:
    """Return the sidecars that an execution report of the run records with the replacement."""
    ended = {task.label: text_at(task.raw, "status", "completionTime") for task in (run, *run.children)}
    return {
        (label, text_at(record, "name"))
        for label, record in _records(report)
        if is_replaced(record, ended.get(label, ""))
    }


def _records(report: Statement) -> Iterator[tuple[str, Mapping[str, Json]]]:
    for attribute in objects_at(report.predicate, "attributes"):
        if text_at(attribute, "attribute") == Attribute.SIDECAR_STATE:
            conditions = mapping_at(attribute, "conditions")
            yield text_at(conditions, "run"), mapping_at(conditions, "record")


def without_sidecars(run: RunSnapshot, gone: Collection[Sidecar]) -> RunSnapshot:
    """Return a run as if it and its children had not had the sidecars ``gone``."""
    if not gone:
        return run
    return replace(
        run,
        run=_without(run.run, run.label, gone),
        raw=_without(run.raw, run.label, gone),
        children=tuple(without_sidecars(child, gone) for child in run.children),
    )


def _without(raw: Mapping[str, Json], label: str, gone: Collection[Sidecar]) -> Mapping[str, Json]:
    sidecars = sidecars_of(raw)
    kept = [one for one in sidecars if (label, text_at(one, "name")) not in gone]
    return raw if len(kept) == len(sidecars) else {**raw, "status": {**raw["status"], "sidecars": kept}}


def report_differences(report: Statement, run: RunSnapshot) -> Iterator[Difference]:
    """Yield where the sidecars of a run and its children differ from those in its execution report."""
    signed: dict[str, list[Mapping[str, Json]]] = {}
    for label, record in _records(report):
        signed.setdefault(label, []).append(record)
    tasks = {task.label: task.raw for task in (run, *run.children)}
    for label in dict.fromkeys([*tasks, *signed]):
        raw = tasks.get(label, {})
        ended = text_at(raw, "status", "completionTime")
        for path, theirs, ours in sidecar_differences(signed.get(label, []), sidecars_of(raw), ended):
            yield (path if label == run.label else f"{label}: {path}"), ours, theirs


def settle(given: Json, signed: Json, run: RunSnapshot, gone: Collection[Sidecar]) -> tuple[Json, Json]:
    """Return two statements without what may differ although nobody tampered with them.

    ``given`` is the statement of the run as if it had not had the sidecars ``gone``.
    """
    given, signed = copy.deepcopy(given), copy.deepcopy(signed)
    children = {child.label: child.run for child in run.children}
    for statement in (given, signed):
        _drop_bookkeeping(statement)
    for path in _DEPENDENCIES:
        ours, theirs = (_list_at(statement, path) for statement in (given, signed))
        for item in (*ours, *theirs):
            _settle_content(item, children, gone)
        _drop_images(ours, theirs, _room(run, gone))
    return given, signed


def _room(run: RunSnapshot, gone: Collection[Sidecar]) -> int:
    """Return how many images may be those of the sidecars ``gone`` and of no other container of the run."""
    own: list[str] = []
    others: set[str] = set()
    for task in (run, *run.children):
        spec = task.status.get("taskSpec", {})
        others |= {step.get("image", "") for step in spec.get("steps", ())}
        asked = {one.get("name", ""): one.get("image", "") for one in spec.get("sidecars", ())}
        others |= {image for name, image in asked.items() if (task.label, name) not in gone}
        own += [asked.get(name, "") for label, name in gone if label == task.label]
    return len({image for image in own if image} - others) + own.count("")


def _list_at(statement: Json, path: tuple[str, ...]) -> list[dict[str, Json]]:
    *above, last = path
    found = mapping_at(statement, *above).get(last)
    return found if isinstance(found, list) and all(isinstance(one, dict) for one in found) else []


def _drop_images(ours: list[dict[str, Json]], theirs: list[dict[str, Json]], most: int) -> None:
    """Drop up to ``most`` images that only the signed list has; none if the other list has any more."""
    left = list(theirs)
    for item in ours:
        if item not in left:
            return
        left.remove(item)
    if len(left) <= most and all(_is_image(item) for item in left):
        for item in left:
            theirs.remove(item)


def _is_image(item: Mapping[str, Json]) -> bool:
    is_named = set(item) == {"uri", "digest"} and text_at(item, "uri").startswith("oci://")
    return is_named and set(mapping_at(item, "digest")) == {"sha256"}


def _drop_bookkeeping(statement: Json) -> None:
    """Drop what controllers note on a run, and the fields that are then empty and would not be written."""
    internal = mapping_at(statement, "predicate", "buildDefinition", "internalParameters")
    for field in list(_without_notes(internal)):
        internal[field] = None  # type: ignore[index]
    tasks = objects_at(statement, "predicate", "buildConfig", "tasks")
    for holder in (mapping_at(statement, "predicate"), *tasks):
        invocation = holder.get("invocation")
        environment = mapping_at(invocation, "environment")
        for field in list(_without_notes(environment)):
            del environment[field]  # type: ignore[attr-defined]
        if isinstance(invocation, dict) and environment == {}:
            invocation.pop("environment", None)


def _without_notes(holder: Mapping[str, Json]) -> Iterator[str]:
    """Drop notes from labels and annotations of ``holder``; yield which of the two are then empty."""
    for field in ("annotations", "labels"):
        entries = holder.get(field)
        if isinstance(entries, dict) and not BOOKKEEPING.isdisjoint(entries):
            for key in BOOKKEEPING & entries.keys():
                del entries[key]
            if not entries:
                yield field


def _settle_content(
    item: dict[str, Json], children: Mapping[str, Mapping[str, Json]], gone: Collection[Sidecar]
) -> None:
    """Decode a dependency that contains a whole TaskRun, without what may have changed since."""
    try:
        raw = exact(b64decode(text_at(item, "content")))
    except ValueError:
        return
    if text_at(raw, "kind") != "TaskRun":
        return
    namespace, name = text_at(raw, "metadata", "namespace") or "default", text_at(raw, "metadata", "name")
    label, ended = f"taskrun/{namespace}/{name}", text_at(raw, "status", "completionTime")
    child = children.get(label, {})
    told, status = sidecars_of(raw), raw.get("status")
    is_ours = told == sidecars_of(_without(child, label, gone))
    is_later = is_ours or not next(sidecar_differences(told, sidecars_of(child), ended), None)
    if is_later and isinstance(status, dict):
        status.pop("sidecars", None)
    metadata = raw["metadata"]
    for field in list(_without_notes(metadata)):
        del metadata[field]
    item["content"] = raw
