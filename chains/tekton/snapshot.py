"""Snapshots: raw run objects become frozen values. Nothing after this module reads the cluster's JSON of a
run.

A snapshot leaves out what marking or deleting a run changes: managed fields, resource version, generation,
finalizers, times of the deletion, the done label and Chains' own annotations. So signing a run never changes
what was attested. The digest is the SHA-256 of the object as JSON with sorted keys, no spaces, in UTF-8. It
also leaves out what Tekton changes later (:mod:`chains.tekton.late_changes`), so that anybody can compute it
again. A PipelineRun is written as a List of itself and its children in the order of ``childReferences``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import BytesIO

import orjson

from chains.documents.decode import UNREADABLE
from chains.errors import InputError
from chains.tekton.children import names_a_task, why_foreign
from chains.tekton.late_changes import settled
from chains.tekton.schema import Json, go_form
from chains.tekton.schema import look_alikes as tekton_look_alikes
from storage.record import Origin

CHAINS_PREFIX = "chains.tekton.dev/"
TRANSPARENCY_UPLOAD = CHAINS_PREFIX + "transparency-upload"
DONE_LABEL = "provenance.chains/done"
PIPELINE_TASK_LABEL = "tekton.dev/pipelineTask"
API_VERSION = "tekton.dev/v1"
_STRUCTURES = {"TaskRun": "v1.TaskRun", "PipelineRun": "v1.PipelineRun"}
_VOLATILE = (
    "managedFields", "resourceVersion", "generation", "finalizers", "deletionTimestamp",
    "deletionGracePeriodSeconds",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ChildGap:
    """A child that the PipelineRun names but whose record is missing or in doubt, and why.

    ``uid`` is that of a doubtful record that is in the snapshot nevertheless, empty if there is none.
    """

    kind: str
    name: str
    pipeline_task: str
    reason: str
    uid: str = ""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class RunSnapshot:
    """One finished run, frozen. Two snapshots are equal only if they are the same object.

    ``run`` is the object as Go writes it, from which predicates are built. ``raw`` is the trimmed object as
    it came. ``data`` is its canonical JSON; it is empty for a child, which is part of its parent's.
    ``digest`` is the SHA-256 in hex of that JSON without the fields that change after the run's end.
    ``dropped`` are the paths of fields that Tekton's types do not have.
    """

    kind: str
    namespace: str
    name: str
    uid: str
    run: Mapping[str, Json]
    raw: Mapping[str, Json]
    data: bytes
    digest: str
    dropped: tuple[str, ...] = ()
    children: tuple[RunSnapshot, ...] = ()
    gaps: tuple[ChildGap, ...] = ()

    @property
    def label(self) -> str:
        """The run's name for people: ``taskrun/namespace/name``."""
        return f"{self.kind.lower()}/{self.namespace}/{self.name}"

    @property
    def status(self) -> Mapping[str, Json]:
        """The run's status, empty if there is none."""
        status: Mapping[str, Json] = self.run["status"]
        return status

    @property
    def spec(self) -> Mapping[str, Json]:
        """The run's spec, as Go writes it."""
        spec: Mapping[str, Json] = self.run["spec"]
        return spec

    @property
    def condition(self) -> Mapping[str, Json]:
        """The ``Succeeded`` condition, empty if there is none."""
        for condition in self.status.get("conditions", ()):
            if condition["type"] == "Succeeded":
                found: Mapping[str, Json] = condition
                return found
        return {}

    @property
    def is_done(self) -> bool:
        """Whether the run has ended: its ``Succeeded`` condition is True or False."""
        return self.condition.get("status") in {"True", "False"}


def run_label(raw: Json) -> str:
    """Return the name of a raw run object for a message, whatever its shape."""
    if not isinstance(raw, dict):
        return "an object that is no mapping"
    metadata = raw.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    kind = str(raw.get("kind", "object")).lower()
    return f"{kind}/{metadata.get('namespace') or 'default'}/{metadata.get('name') or '(unnamed)'}"


def is_run(raw: Json) -> bool:
    """Return whether a raw object is a TaskRun or PipelineRun of any version of Tekton's API."""
    return (
        isinstance(raw, dict)
        and str(raw.get("kind")) in _STRUCTURES
        and str(raw.get("apiVersion", API_VERSION)).startswith("tekton.dev/")
    )


def looks_like_a_run(raw: Mapping[str, Json]) -> bool:
    """Return whether an object's kind or API group is that of a run in other letters, such as ``taskrun``."""
    names = {kind.lower() for kind in _STRUCTURES}
    group = str(raw.get("apiVersion", API_VERSION)).lower().partition("/")[0]
    return str(raw.get("kind", "")).lower() in names and group.startswith("tekton.dev")


def has_ended(raw: Mapping[str, Json]) -> bool:
    """Return whether a raw run has ended: its condition ``Succeeded`` is True or False."""
    status = raw.get("status")
    conditions = status.get("conditions") if isinstance(status, dict) else None
    for condition in conditions if isinstance(conditions, list) else ():
        if isinstance(condition, dict) and condition.get("type") == "Succeeded":
            return condition.get("status") in {"True", "False"}
    return False


def look_alikes(run: RunSnapshot) -> list[str]:
    """Return the fields of a run and its children that other readers take for known fields, as texts."""
    return [
        f"{one.label}: field {field}"
        for one in (run, *run.children)
        if one.dropped
        for field in tekton_look_alikes(_STRUCTURES[one.kind], one.raw)
    ]


def take_snapshot(
    raw: Json,
    others: Mapping[tuple[str, str, str], Json] | None = None,
    doubts: Mapping[str, str] | None = None,
) -> RunSnapshot:
    """Freeze one raw run. Children are found in ``others``, raw objects by (kind, namespace, name).

    ``doubts`` says, by name, why a child's record may not be that of the run that counted. Raises
    :class:`InputError` with the run for an object that is not a ``tekton.dev/v1`` run or has a field that
    Tekton's types cannot hold. A child that is missing, unreadable, of another kind or not proven to be the
    run's becomes a gap and never fails the run.
    """
    snapshot = _freeze(raw)
    if snapshot.kind != "PipelineRun":
        return snapshot
    written = _RunList()
    written.add(snapshot)
    children, gaps = _children(snapshot, others or {}, doubts or {}, written)
    data, digest = written.end()
    return replace(snapshot, data=data, digest=digest, children=tuple(children), gaps=tuple(gaps))


class _RunList:
    """The JSON of a List of a PipelineRun and its children, and its digest, built one run at a time."""

    def __init__(self) -> None:
        self._data = BytesIO()  # getvalue() returns the bytes without copying them
        self._hash = hashlib.sha256()
        self._between = b'{"apiVersion":"v1","items":['

    def add(self, run: RunSnapshot) -> None:
        lasting = settled(run.raw)
        for part in (self._between, run.data):
            self._data.write(part)
        self._hash.update(self._between)
        self._hash.update(run.data if lasting is run.raw else _canonical(lasting, run.label))
        self._between = b","

    def end(self) -> tuple[bytes, str]:
        """Return the whole list, and the digest of its parts that do not change after the run's end."""
        end = b'],"kind":"List"}'
        self._data.write(end)
        self._hash.update(end)
        return self._data.getvalue(), self._hash.hexdigest()


def _freeze(raw: Json) -> RunSnapshot:
    if not isinstance(raw, dict) or str(raw.get("kind")) not in _STRUCTURES:
        raise InputError(f"{run_label(raw)}: expected a TaskRun or PipelineRun; pass exported runs")
    if UNREADABLE in raw:  # an outline, made of an object that could not be decoded
        raise InputError(f"{run_label(raw)}: cannot be read: {raw[UNREADABLE]}")
    if raw.get("apiVersion") != API_VERSION:
        raise InputError(
            f"{run_label(raw)}: expected apiVersion {API_VERSION}, got {str(raw.get('apiVersion'))[:64]!r}; "
            f"export it with: kubectl get {raw['kind'].lower()}s.v1.tekton.dev"
        )
    trimmed = _trim(raw)
    dropped: list[str] = []
    try:
        run = go_form(_STRUCTURES[raw["kind"]], trimmed, dropped)
    except InputError as error:
        raise InputError(f"{run_label(raw)}: {error}") from error
    metadata = run["metadata"]
    data = _canonical(trimmed, run_label(raw))
    # the digest covers only what nobody changes after the run's end; most runs have nothing else
    lasting = settled(trimmed)
    lasting_data = data if lasting is trimmed else _canonical(lasting, run_label(raw))
    return RunSnapshot(
        kind=raw["kind"],
        namespace=metadata.get("namespace", "default"),
        name=metadata.get("name", ""),
        uid=metadata.get("uid", ""),
        run=run,
        raw=trimmed,
        data=data,
        digest=hashlib.sha256(lasting_data).hexdigest(),
        dropped=tuple(dropped),
    )


def _canonical(value: Json, label: str) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except (TypeError, RecursionError) as error:
        raise InputError(f"{label}: cannot be written as JSON: {error}") from error


def _trim(raw: Mapping[str, Json]) -> dict[str, Json]:
    trimmed = dict(raw)
    metadata = raw.get("metadata")
    if not isinstance(metadata, dict):
        return trimmed
    kept = {key: value for key, value in metadata.items() if key not in _VOLATILE}
    for field, keeps in (("annotations", _keeps_annotation), ("labels", _keeps_label)):
        entries = kept.get(field)
        if isinstance(entries, dict):
            entries = {key: value for key, value in entries.items() if keeps(key)}
            if entries:
                kept[field] = entries
            else:
                del kept[field]
    trimmed["metadata"] = kept
    return trimmed


def _keeps_annotation(key: str) -> bool:
    return not key.startswith(CHAINS_PREFIX) or key == TRANSPARENCY_UPLOAD


def _keeps_label(key: str) -> bool:
    return key != DONE_LABEL


def _children(
    parent: RunSnapshot,
    others: Mapping[tuple[str, str, str], Json],
    doubts: Mapping[str, str],
    written: _RunList,
) -> tuple[list[RunSnapshot], list[ChildGap]]:
    children: list[RunSnapshot] = []
    gaps: list[ChildGap] = []
    named: set[str] = set()
    for reference in parent.status.get("childReferences", ()):
        kind, name = reference.get("kind", ""), reference.get("name", "")
        task = reference.get("pipelineTaskName", "")
        if not names_a_task(reference):
            gaps.append(
                ChildGap(kind, name, task, "this kind of run is recorded but has no statement of its own")
            )
            continue
        if name in named:
            continue  # a child counts once, however often it is named
        named.add(name)
        raw = others.get((kind, parent.namespace, name))
        if raw is None:
            gaps.append(
                ChildGap(kind, name, task, "not in the input, or deleted before the run was recorded")
            )
        elif foreign := why_foreign(raw, parent.run):
            gaps.append(ChildGap(kind, name, task, foreign))
        else:
            try:
                child = _freeze(raw)
            except InputError as error:
                gaps.append(ChildGap(kind, name, task, f"cannot be read: {error}"))
                continue
            written.add(child)
            children.append(replace(child, data=b""))
            if name in doubts:
                gaps.append(ChildGap(kind, name, task, doubts[name], child.uid))
    return children, gaps


def origin_of(run: RunSnapshot) -> Origin:
    """Return the origin that a store writes for records of this run."""
    return Origin(run.kind.lower(), run.namespace, run.name, run.uid)
