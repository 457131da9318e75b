"""The fields of a run that change after it has ended, written by Tekton and by other controllers.

``docs/after-completion.md`` lists every field with the function that writes it. Tekton stops a sidecar by
replacing its image with one that does nothing, and then overwrites the status of all sidecars. Tekton Results
and the pruner keep notes in annotations. None of this is part of a run's digest. Pure; an object may have any
shape.

https://github.com/tektoncd/pipeline/blob/v1.15.0/pkg/reconciler/taskrun/taskrun.go
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from chains.tekton.container import Phase, State, parse_state
from chains.tekton.raw import mapping_at, objects_at, parse_time, text_at

Json = Any
STOPPED = "Sidecar container successfully stopped by nop image"
"""Tekton's message for a sidecar that it stopped. ``imageID`` is then that of Tekton's own image."""
BOOKKEEPING = frozenset((
    "results.tekton.dev/childReadyForDeletion", "results.tekton.dev/eventlist", "results.tekton.dev/log",
    "results.tekton.dev/record", "results.tekton.dev/result", "results.tekton.dev/stored",
    "pruner.tekton.dev/historyLimitCheckProcessed", "pruner.tekton.dev/ttlSecondsAfterFinished",
    "pipelinesascode.tekton.dev/state",
))  # fmt: skip
"""Labels and annotations that say nothing about a run and change after its end."""
_STATES = ("running", "waiting", "terminated")
_NAMES = ("name", "container")
_FIELDS = {
    "running": {"startedAt"},
    "waiting": {"reason", "message"},
    "terminated": {"exitCode", "signal", "reason", "message", "startedAt", "finishedAt", "containerID"},
}

Difference = tuple[str, Json, Json]
"""A path below ``status.sidecars``, and the value there in the first and in the second record."""


def settled(raw: Mapping[str, Json]) -> Mapping[str, Json]:
    """Return a raw run without the fields that change after its end; the same object if it has none."""
    metadata, status = raw.get("metadata"), raw.get("status")
    found = dict(raw)
    if isinstance(metadata, dict):
        found["metadata"] = _without_bookkeeping(metadata)
    if isinstance(status, dict) and "sidecars" in status:
        found["status"] = {key: value for key, value in status.items() if key != "sidecars"}
    same = found["metadata"] is metadata if "metadata" in found else True
    return raw if same and found.get("status") is status else found


def _without_bookkeeping(metadata: dict[str, Json]) -> dict[str, Json]:
    kept = metadata
    for field in ("annotations", "labels"):
        entries = metadata.get(field)
        if isinstance(entries, dict) and not BOOKKEEPING.isdisjoint(entries):
            kept = dict(kept)
            kept[field] = {key: value for key, value in entries.items() if key not in BOOKKEEPING}
            if not kept[field]:
                del kept[field]
    return kept


def sidecars_of(raw: Mapping[str, Json]) -> list[Mapping[str, Json]]:
    """Return the sidecar records in a raw run's status."""
    return objects_at(raw, "status", "sidecars")


def is_replaced(sidecar: Mapping[str, Json], ended: str) -> bool:
    """Whether a run's record of a sidecar is about the image by which Tekton stopped it."""
    return is_replacement(parse_state(sidecar), ended)


def is_replacement(state: State, ended: str) -> bool:
    """Whether a container's state is that of the image by which Tekton stopped a sidecar.

    Tekton's message says so. Where the kubelet no longer reports the container before, the state is the
    replacement's if it started, or failed to start, after the run had ``ended``: Tekton's image has no
    program but its own, so that a sidecar with a ``command`` does not start with it (``StartError``).
    """
    if state.terminated.message == STOPPED:
        return True
    end = parse_time(ended)
    moments = [_began_or_failed(phase) for phase in (state.running, state.terminated)]
    return end is not None and any(moment is not None and moment > end for moment in moments)


def _began_or_failed(phase: Phase) -> datetime | None:
    """Return when a container started, or, if it never did, when it was given up.

    The kubelet writes the first second of 1970 as the start of a container that never ran.
    """
    began = parse_time(phase.started)
    has_begun = began is not None and began.timestamp() > 0
    return began if has_begun else parse_time(phase.finished)


def replaced(raw: Mapping[str, Json]) -> list[str]:
    """Return the names of the sidecars whose record in a raw run is about the replacement."""
    ended = text_at(raw, "status", "completionTime")
    return [text_at(sidecar, "name") for sidecar in sidecars_of(raw) if is_replaced(sidecar, ended)]


def sidecar_differences(
    signed: Sequence[Mapping[str, Json]], given: Sequence[Mapping[str, Json]], ended: str
) -> Iterator[Difference]:
    """Yield the differences of two records of a run's sidecars that Tekton's late changes do not explain.

    Either record may be the later one. Tekton changes nothing once all sidecars have ended by themselves.
    """
    ours, theirs = _by_name(signed), _by_name(given)
    if list(signed) == list(given):
        return
    may_change = _goes_on(signed) or _goes_on(given)
    may_change = may_change or any(is_replaced(sidecar, ended) for sidecar in (*signed, *given))
    for name in dict.fromkeys([*ours, *theirs]):
        before, after = ours.get(name), theirs.get(name)
        if before is None or after is None or len(signed) != len(given):
            yield f"status.sidecars[{name}]", before, after
        elif before != after and not may_change:
            path = next(key for key in {**before, **after} if before.get(key) != after.get(key))
            yield f"status.sidecars[{name}].{path}", _at(before, path), _at(after, path)
        elif path := _either(before, after, ended):
            yield f"status.sidecars[{name}].{path}", _at(before, path), _at(after, path)


def _by_name(sidecars: Sequence[Mapping[str, Json]]) -> dict[str, Mapping[str, Json]]:
    return {text_at(sidecar, "name") or text_at(sidecar, "container"): sidecar for sidecar in sidecars}


def _goes_on(sidecars: Sequence[Mapping[str, Json]]) -> bool:
    return any("terminated" not in sidecar for sidecar in sidecars)


def _either(one: Mapping[str, Json], other: Mapping[str, Json], ended: str) -> str:
    """Return the first field for which neither record can be a later state of the other, else ``""``."""
    path = next(_unlike(one, other, ended), "")
    return path if path and next(_unlike(other, one, ended), "") else ""


def _unlike(before: Mapping[str, Json], after: Mapping[str, Json], ended: str) -> Iterator[str]:
    """Yield the fields because of which ``after`` cannot be what Tekton makes of ``before``."""
    if before == after:
        return
    others = sorted({*before, *after} - {*_NAMES, *_STATES, "imageID"})
    yield from (key for key in (*_NAMES, *others) if before.get(key) != after.get(key))
    yield from (next(_malformed(record)) for record in (before, after) if next(_malformed(record), ""))
    began = text_at(before, "running", "startedAt")
    if is_replaced(before, ended) and is_replaced(after, ended):
        yield from _unlike_replacement(before, after)
    elif "terminated" in before:
        yield from _unlike_ended(before, after, ended)
    elif is_replaced(after, ended):
        yield from _unlike_stopped(after, began)
    elif before.get("imageID") and before.get("imageID") != after.get("imageID"):
        yield "imageID"
    elif began:  # otherwise the container had not started yet
        state = next((state for state in ("running", "terminated") if state in after), "waiting")
        if text_at(after, state, "startedAt") != began:
            yield state


def _malformed(record: Mapping[str, Json]) -> Iterator[str]:
    """Yield the fields of a record that Kubernetes' ``ContainerState`` does not have."""
    found = [state for state in _STATES if state in record]
    yield from found[1:]
    for state in found:
        yield from (f"{state}.{key}" for key in mapping_at(record, state) if key not in _FIELDS[state])


def _unlike_stopped(after: Mapping[str, Json], began: str) -> Iterator[str]:
    """Check what Tekton writes about a sidecar that it stopped: the start is that of the original."""
    ended = mapping_at(after, "terminated")
    if text_at(ended, "message") != STOPPED:
        return  # what the replacement reports about itself cannot be predicted
    if text_at(ended, "reason") != "Completed":
        yield "terminated.reason"
    if began and text_at(ended, "startedAt") != began:
        yield "terminated.startedAt"


def _unlike_replacement(before: Mapping[str, Json], after: Mapping[str, Json]) -> Iterator[str]:
    """Compare two records of the replacement. The kubelet may have forgotten the original by now."""
    was, now = mapping_at(before, "terminated"), mapping_at(after, "terminated")
    if text_at(was, "message") == text_at(now, "message") == STOPPED:
        if len({text_at(record, "imageID") for record in (before, after)} - {""}) > 1:
            yield "imageID"
        yield from (f"terminated.{key}" for key in {**was, **now} if was.get(key) != now.get(key))


def _unlike_ended(before: Mapping[str, Json], after: Mapping[str, Json], ended: str) -> Iterator[str]:
    """Check a sidecar that had ended before: Tekton may have run it once more with its own image."""
    was, now = mapping_at(before, "terminated"), mapping_at(after, "terminated")
    if text_at(now, "message") == STOPPED:
        same = ("exitCode", "startedAt", "finishedAt", "containerID")
        yield from (f"terminated.{key}" for key in same if was.get(key) != now.get(key))
        return
    end, gone = parse_time(ended), parse_time(text_at(was, "finishedAt"))
    was_stopped = end is not None and gone is not None and gone >= end
    if not (was_stopped and is_replaced(after, ended)):
        yield from (key for key in {**before, **after} if before.get(key) != after.get(key))


def _at(record: Mapping[str, Json], path: str) -> Json:
    found: Json = record
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found
