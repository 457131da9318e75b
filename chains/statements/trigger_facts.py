"""What started a run: EventListener, trigger, interceptors, event, as its labels and annotations say. Pure.

Tekton Triggers sets three labels on everything that it creates. Whoever may create a run may set them too,
and nothing in the run shows who that was. So they are claims, unless the operator confirms that an admission
policy lets only the EventListeners' accounts write them (``execution.trigger.guarded``).

https://github.com/tektoncd/triggers/blob/v0.36.0/pkg/resources/create.go
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from chains.statements.redaction import Redaction
from chains.tekton.raw import Json, mapping_at, objects_at, text_at
from chains.tekton.snapshot import RunSnapshot

GUARD_KEY = "execution.trigger.guarded"
_TRIGGERS = "triggers.tekton.dev/"
_OURS = "provenance.chains/"
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Trust(StrEnum):
    """Whose word a fact is."""

    CLAIMED = "claimed"
    """That of whoever wrote the run's labels and annotations."""
    GUARDED = "guarded"
    """That of an account which the cluster's admission lets write them, as the operator confirms."""


@dataclass(frozen=True, slots=True)
class _Fact:
    name: str
    key: str
    is_label: bool = False

    @property
    def origin(self) -> str:
        return f"{'label' if self.is_label else 'annotation'} {self.key}"


_FACTS = (
    _Fact("eventListener", f"{_TRIGGERS}eventlistener", is_label=True),
    _Fact("trigger", f"{_TRIGGERS}trigger", is_label=True),
    _Fact("eventId", f"{_TRIGGERS}triggers-eventid", is_label=True),
    _Fact("interceptors", f"{_OURS}interceptors"),
    _Fact("eventType", f"{_OURS}event-type"),
    _Fact("eventSource", f"{_OURS}event-source"),
    _Fact("eventDelivery", f"{_OURS}event-delivery"),
    _Fact("eventDigest", f"{_OURS}event-sha256"),
    _Fact("creator", f"{_OURS}created-by"),
)
_DIGEST = "eventDigest"
_CLAIMED = "whoever may create runs may write these labels and annotations"
_COPIED = (
    "Tekton copies labels and annotations to the runs of a PipelineRun from objects that others may write"
)
_GUARDED = (
    f"the operator confirms with {GUARD_KEY} that admission lets only accounts with a right write these"
)


def trigger_facts(run: RunSnapshot, redaction: Redaction, *, guarded: bool) -> dict[str, Any]:
    """Return what started a run, empty if nothing says so.

    ``trust`` and ``reason`` say whose word this is. Each other member is ``{"value", "from"}``; the digest of
    the event's body is ``{"sha256", "from"}``, or ``{"rejected", "from"}`` if it is not a SHA-256 in hex.
    ``guarded`` says that the operator vouches for the labels and annotations of runs without an owner.
    """
    metadata = mapping_at(run.run, "metadata")
    found = dict(_found(metadata, redaction))
    if not found:
        return {}
    is_owned = bool(objects_at(metadata, "ownerReferences"))
    trust = Trust.GUARDED if guarded and not is_owned else Trust.CLAIMED
    reason = _GUARDED if trust is Trust.GUARDED else _COPIED if guarded else _CLAIMED
    return {"trust": trust, "reason": reason, **found}


def _found(metadata: Mapping[str, Json], redaction: Redaction) -> Iterator[tuple[str, dict[str, str]]]:
    for fact in _FACTS:
        value = text_at(metadata, "labels" if fact.is_label else "annotations", fact.key)
        if not value:
            continue
        if fact.name != _DIGEST:
            yield fact.name, {"value": redaction.argument(value), "from": fact.origin}
        elif _SHA256.fullmatch(value):
            yield fact.name, {"sha256": value, "from": fact.origin}
        else:
            yield fact.name, {"rejected": "not a SHA-256 in lower-case hex", "from": fact.origin}
