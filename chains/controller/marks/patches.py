"""The one PATCH that marks a run with its outcome: annotations, the done label, removal of the finalizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from chains.attest.outcome import FAILED, SIGNED, SKIPPED, Outcome
from chains.tekton.snapshot import CHAINS_PREFIX, DONE_LABEL, TRANSPARENCY_UPLOAD
from chains.text import plain, told
from storage import lean_json

OUTCOME_ANNOTATION = CHAINS_PREFIX + "outcome"
SIGNED_ANNOTATION = CHAINS_PREFIX + "signed"
TRANSPARENCY_ANNOTATION = CHAINS_PREFIX + "transparency"
_OURS = tuple(
    CHAINS_PREFIX + name for name in ("payload-", "signature-", "cert-", "chain-", "retries", "transparency")
)
PUT_OFF = "put-off"
"""The done label of a run before the cut-off: ``chains backfill`` attests it, the watch does not."""
NO_ROOM = "no-room"
"""The done label of a run that cannot hold a mark: its annotations are full."""
FINALIZERS = {"TaskRun": CHAINS_PREFIX + "taskrun", "PipelineRun": CHAINS_PREFIX + "pipelinerun"}
LEGACY_FINALIZER = CHAINS_PREFIX.rstrip("/")
_SIGNED = {SIGNED: "true", FAILED: "failed"}
_FINAL = frozenset((*_SIGNED.values(), SKIPPED))
_MAX_OUTCOME = 8 * 1024
_EXCERPT = 300
_LONGEST_REASON = 2000
"""Characters. A reason names every registry credential that was tried."""
_SHORTEST_REASON = 100


def is_marked(metadata: Mapping[str, Any]) -> bool:
    """Whether a run has a final mark of its own: ``signed`` with one of the final values.

    A mark that was copied from another run names that run's UID and does not count.
    """
    annotations = metadata.get("annotations") or {}
    if annotations.get(SIGNED_ANNOTATION) not in _FINAL:
        return False
    try:
        uid = lean_json.loads(annotations[OUTCOME_ANNOTATION].encode(), lean_json.FEW_VALUES).get("uid")
    except (KeyError, AttributeError, ValueError):
        return True  # as Tekton Chains marks
    return not uid or uid == metadata.get("uid")


def has_marks(metadata: Mapping[str, Any]) -> bool:
    """Whether a run has a mark or the done label, written by any controller or tenant."""
    return SIGNED_ANNOTATION in (metadata.get("annotations") or {}) or DONE_LABEL in (
        metadata.get("labels") or {}
    )


def mark_patch(
    kind: str, metadata: Mapping[str, Any], outcome: Outcome | None, extra: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the merge patch that marks a run with the given ``metadata``.

    It applies to that version of the object only. ``extra`` are the annotations of the ``tekton`` store.
    Without an outcome, for a run that Tekton Chains marked before, only the label is set and the finalizer
    removed.
    """
    put_off = outcome is not None and outcome.put_off
    changed: dict[str, Any] = {
        "resourceVersion": metadata["resourceVersion"],
        "labels": {DONE_LABEL: PUT_OFF if put_off else "true"},
    }
    if outcome is not None:
        changed["annotations"] = {
            **(extra or {}),
            SIGNED_ANNOTATION: _SIGNED.get(outcome.state, outcome.state),
            OUTCOME_ANNOTATION: compact_outcome(outcome),
        }
        if outcome.logged:
            changed["annotations"][TRANSPARENCY_ANNOTATION] = plain(outcome.logged[0])
    finalizers = metadata.get("finalizers") or []
    kept = [name for name in finalizers if name not in {FINALIZERS[kind], LEGACY_FINALIZER}]
    if kept != finalizers:
        changed["finalizers"] = kept
    return {"metadata": changed}


def smaller(outcome: Outcome, extra: Mapping[str, str], why: str) -> Outcome:
    """Return a shorter outcome for a run that has no room for its mark with the annotations ``extra``.

    Evidence that was to be stored in the run itself is not stored, which makes the outcome a failure.
    Evidence in other stores stays there.
    """
    if not extra:
        return replace(outcome, reason=outcome.reason or f"told in short: {why}", entries=(), logged=())
    elsewhere = tuple(entry for entry in outcome.entries if entry.form != "annotation")
    reason = f"the run cannot hold its evidence: {why}; store in oci or another place"
    return replace(outcome, state=FAILED, reason=reason, entries=elsewhere)


def bare(outcome: Outcome) -> Outcome:
    """Return the outcome with a short reason and without entries."""
    return replace(outcome, reason=outcome.reason[:_SHORTEST_REASON], entries=(), logged=())


def room_patch(kind: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the merge patch for a run without room for annotations: the label, and removal of the
    finalizer."""
    patch = mark_patch(kind, metadata, None)
    patch["metadata"]["labels"] = {DONE_LABEL: NO_ROOM}
    return patch


def unmark_patch(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the merge patch that removes everything that belongs to a mark."""
    annotations = [key for key in metadata.get("annotations") or {} if _is_ours(key)]
    return {
        "metadata": {
            "resourceVersion": metadata["resourceVersion"],
            "annotations": dict.fromkeys(annotations),
            "labels": {DONE_LABEL: None},
        }
    }


def _is_ours(key: str) -> bool:
    return key in {SIGNED_ANNOTATION, OUTCOME_ANNOTATION} or (
        key.startswith(_OURS) and key != TRANSPARENCY_UPLOAD
    )


def note_patch(metadata: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Return the merge patch that writes ``text`` as the outcome annotation, which is no final mark."""
    version = metadata["resourceVersion"]
    return {"metadata": {"resourceVersion": version, "annotations": {OUTCOME_ANNOTATION: text}}}


def finalizer_patch(kind: str, metadata: Mapping[str, Any], *, hold: bool) -> dict[str, Any] | None:
    """Return the merge patch that adds or removes our finalizer, None if nothing has to change."""
    finalizers = metadata.get("finalizers") or []
    ours = {FINALIZERS[kind], LEGACY_FINALIZER}
    if hold:
        wanted = finalizers if ours & set(finalizers) else [*finalizers, FINALIZERS[kind]]
    else:
        wanted = [name for name in finalizers if name not in ours]
    if wanted == finalizers:
        return None
    return {"metadata": {"resourceVersion": metadata["resourceVersion"], "finalizers": wanted}}


def compact_outcome(outcome: Outcome) -> str:
    """Return the outcome as compact JSON for the annotation: texts escaped, entries cut at 8 KiB."""
    entries = [
        {
            key: plain(value)
            for key, value in (
                ("payload", entry.payload),
                ("store", entry.store),
                ("form", entry.form),
                ("subject", entry.subject),
                ("state", entry.state),
                ("detail", entry.told[:_EXCERPT]),
            )
            if value
        }
        for entry in outcome.entries
    ]
    written: dict[str, Any] = {"state": outcome.state, "uid": outcome.uid, "entries": entries}
    if outcome.reason:
        written["reason"] = told(outcome.reason[:_LONGEST_REASON])[:_LONGEST_REASON]
    if outcome.logged:
        written["transparency"] = [plain(entry) for entry in outcome.logged]
    while len(orjson.dumps(written)) > _MAX_OUTCOME and entries:
        entries.pop()
        written["cut"] = len(outcome.entries) - len(entries)
    return orjson.dumps(written).decode()
