"""What one source says about one run, and how a raw run of Tekton is read for it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from chains.tekton.children import child_references, names_a_task, parent_of
from chains.tekton.raw import as_text, mapping_at, objects_at, text_at
from chains.tekton.snapshot import CHAINS_PREFIX, is_run
from storage import lean_json

Json = Any
KINDS = ("TaskRun", "PipelineRun")
FINALIZERS = {kind: f"{CHAINS_PREFIX}{kind.lower()}" for kind in KINDS}
"""The finalizer with which a controller of Chains holds a run until it is attested."""
SIGNED, OUTCOME = CHAINS_PREFIX + "signed", CHAINS_PREFIX + "outcome"
LARGEST_RUN = 16 * 1024 * 1024
"""Bytes of one run: ten times the default limit of etcd."""
_LONGEST = 1000
"""Characters that are kept of a reason in a mark."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one source says about one run. Times are RFC 3339, empty where the source does not say.

    ``outcome`` is ``True`` or ``False``, the status of the condition ``Succeeded`` of a run that has ended.
    ``mark`` is the value of the annotation with which a controller marks a run, which anybody may write.
    ``children`` are the names of the TaskRuns that a PipelineRun names. ``whole`` is the run as JSON.
    """

    kind: str
    namespace: str
    name: str
    uid: str
    created: str = ""
    finished: str = ""
    outcome: str = ""
    deleted: str = ""
    deleted_by: str = ""
    stripped: str = ""
    """Who took the finalizer off before the run was marked, and when."""
    vanished: str = ""
    """Why the run is gone although nobody saw its end, in words."""
    parent: str = ""
    children: tuple[str, ...] = ()
    mark: str = ""
    mark_reason: str = ""
    recorded: str = ""
    """What a signed ledger says became of the run: ``evidenced``, ``failed`` or ``skipped``."""
    recorded_reason: str = ""
    whole: bytes = b""

    @property
    def label(self) -> str:
        """The run's name for people: ``taskrun/namespace/name``."""
        return f"{self.kind.lower()}/{self.namespace}/{self.name}"

    @property
    def is_finished(self) -> bool:
        """Whether the source saw the end of the run."""
        return bool(self.outcome or self.finished)


def sighting_of(raw: Json, whole: bytes = b"") -> Sighting | None:
    """Return what a raw TaskRun or PipelineRun says about itself, None for anything else.

    ``whole`` is the object as JSON; without it the object is written again. An object that cannot be written
    keeps an empty ``whole``.
    """
    if not is_run(raw) or not text_at(raw, "metadata", "name"):
        return None
    metadata, kind = mapping_at(raw, "metadata"), str(raw["kind"])
    annotations = mapping_at(metadata, "annotations")
    mark, outcome = text_at(annotations, SIGNED), _outcome(raw)
    if not whole:
        try:
            whole = orjson.dumps(raw)
        except (TypeError, RecursionError):
            whole = b""
    children = child_references(raw) if kind == "PipelineRun" else []
    return Sighting(
        kind=kind,
        namespace=text_at(metadata, "namespace") or "default",
        name=text_at(metadata, "name"),
        uid=text_at(metadata, "uid"),
        created=text_at(metadata, "creationTimestamp"),
        finished=text_at(raw, "status", "completionTime") if outcome else "",
        outcome=outcome,
        deleted=text_at(metadata, "deletionTimestamp"),
        parent=parent_of(metadata),
        children=tuple(dict.fromkeys(text_at(one, "name") for one in children if names_a_task(one))),
        mark=mark,
        mark_reason=_reason(annotations, text_at(metadata, "uid")) if mark else "",
        whole=whole if len(whole) <= LARGEST_RUN else b"",
    )


def _outcome(raw: Mapping[str, Json]) -> str:
    """Return ``True`` or ``False`` for a run that has ended, else an empty text."""
    for condition in objects_at(raw, "status", "conditions"):
        if condition.get("type") == "Succeeded":
            status = condition.get("status")
            return status if status in {"True", "False"} else ""
    return ""


def _reason(annotations: Mapping[str, Json], uid: str) -> str:
    """Return the reason in a mark that is about this run, empty if there is none."""
    try:
        told = lean_json.loads(text_at(annotations, OUTCOME).encode(errors="replace"), lean_json.FEW_VALUES)
    except ValueError:
        return ""
    about = mapping_at(told)
    if about.get("uid") not in {None, "", uid}:
        return ""
    return as_text(about.get("reason") or "")[:_LONGEST]
