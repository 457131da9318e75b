"""An outcome becomes the one PATCH that marks a run: annotations, the done label, the finalizer's release."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from chains.attest import FAILED, SIGNED, Outcome
from chains.retry import OUTCOME_ANNOTATION
from chains.selection import BEFORE_CUT_OFF
from chains.snapshot import CHAINS_PREFIX, DONE_LABEL

SIGNED_ANNOTATION = CHAINS_PREFIX + "signed"
TRANSPARENCY_ANNOTATION = CHAINS_PREFIX + "transparency"
PUT_OFF = "put-off"
"""The done label of a run before the cut-off: ``chains backfill`` takes it up, the watch does not."""
FINALIZERS = {"TaskRun": CHAINS_PREFIX + "taskrun", "PipelineRun": CHAINS_PREFIX + "pipelinerun"}
LEGACY_FINALIZER = CHAINS_PREFIX.rstrip("/")
_SIGNED = {SIGNED: "true", FAILED: "failed"}
_MAX_OUTCOME = 8 * 1024
_EXCERPT = 300
_LONGEST_REASON = 2000
"""Characters: it names every registry credential that was tried."""


def is_marked(metadata: Mapping[str, Any]) -> bool:
    """Whether a run carries a final mark: ``signed`` with any value, as its readers take it."""
    return SIGNED_ANNOTATION in (metadata.get("annotations") or {})


def mark_patch(
    kind: str, metadata: Mapping[str, Any], outcome: Outcome | None, extra: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the merge patch for a run of which ``metadata`` was read.

    It holds for that version of the object alone. ``extra`` are the annotations of the ``tekton`` store.
    Without an outcome (a run that Chains marked before) only the label is set and the finalizer released.
    """
    put_off = outcome is not None and outcome.reason.startswith(BEFORE_CUT_OFF)
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
            changed["annotations"][TRANSPARENCY_ANNOTATION] = outcome.logged[0]
    finalizers = metadata.get("finalizers") or []
    kept = [name for name in finalizers if name not in {FINALIZERS[kind], LEGACY_FINALIZER}]
    if kept != finalizers:
        changed["finalizers"] = kept
    return {"metadata": changed}


def note_patch(metadata: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Return the merge patch that notes on a run since when it is tried; it is no mark."""
    version = metadata["resourceVersion"]
    return {"metadata": {"resourceVersion": version, "annotations": {OUTCOME_ANNOTATION: text}}}


def finalizer_patch(kind: str, metadata: Mapping[str, Any], *, hold: bool) -> dict[str, Any] | None:
    """Return the merge patch that adds or removes our finalizer; None when it is as it should be."""
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
    """Return the outcome as compact JSON for the annotation, cut to 8 KiB of entries."""
    entries = [
        {
            key: value
            for key, value in (
                ("payload", entry.payload),
                ("store", entry.store),
                ("form", entry.form),
                ("subject", entry.subject),
                ("state", entry.state),
                ("detail", entry.detail[:_EXCERPT]),
            )
            if value
        }
        for entry in outcome.entries
    ]
    written: dict[str, Any] = {"state": outcome.state, "entries": entries}
    if outcome.reason:
        written["reason"] = outcome.reason[:_LONGEST_REASON]
    if outcome.logged:
        written["transparency"] = list(outcome.logged)
    while len(orjson.dumps(written)) > _MAX_OUTCOME and entries:
        entries.pop()
        written["cut"] = len(outcome.entries) - len(entries)
    return orjson.dumps(written).decode()
