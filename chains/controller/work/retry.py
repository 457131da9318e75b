"""How long a run that fails is tried again: attempts, pauses, and what survives a restart.

The time of the first failure is written to the run's annotation ``chains.tekton.dev/outcome`` when the
trouble has lasted a minute, and then once an hour. A restarted controller goes on counting from it and needs
nothing else.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from chains.controller.marks.patches import OUTCOME_ANNOTATION
from chains.text import told
from storage import lean_json

LONGEST_HOLD = 600.0
"""Seconds that a run being deleted is held for its evidence."""
RETRYING = "retrying"
_FIRST_DELAY, _LONGEST_DELAY = 1.0, 600.0
_FIRST_NOTE, _NOTE_EVERY = 60.0, 3600.0
_CRASHES = 3
_DOUBLINGS = 12
_EXCERPT = 300


@dataclass(slots=True)
class Trouble:
    """What went wrong with one run so far; times are seconds since 1970."""

    since: float
    attempts: int = 0
    crashes: int = 0
    noted: float = 0.0
    reason: str = ""
    recalled: bool = False
    """Whether the note of an earlier controller was read from the run."""

    def delay(self) -> float:
        """Return the seconds to wait before the next attempt: doubling up to ten minutes, with jitter."""
        pause: float = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** min(self.attempts, _DOUBLINGS))
        return pause * random.uniform(0.7, 1.3)  # noqa: S311 - jitter

    @property
    def is_poison(self) -> bool:
        """Whether the controller's own code failed so often on the run that it is put aside."""
        return self.crashes >= _CRASHES

    def is_note_due(self, now: float) -> bool:
        """Whether the annotation has to be written, so that a restart goes on counting."""
        return now - self.since > _FIRST_NOTE and now - self.noted > _NOTE_EVERY

    def note(self, now: float) -> str:
        """Return the annotation's text, and count it as written at ``now``."""
        self.noted = now
        since = datetime.fromtimestamp(self.since, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        reason = told(self.reason[:_EXCERPT])
        return orjson.dumps(
            {"state": RETRYING, "since": since, "attempts": self.attempts, "reason": reason}
        ).decode()


def age(text: str | None) -> float:
    """Return the seconds since an RFC 3339 time, negative infinity for none."""
    if not text:
        return float("-inf")
    try:
        return (datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds()
    except (ValueError, TypeError):
        return float("-inf")


def _noted(text: str) -> Any:
    return lean_json.loads(text.encode(), lean_json.FEW_VALUES)


def is_retrying(metadata: Mapping[str, Any]) -> bool:
    """Whether the run's annotation says that it is tried again."""
    text = (metadata.get("annotations") or {}).get(OUTCOME_ANNOTATION)
    try:
        return bool(_noted(text)["state"] == RETRYING) if text else False
    except (ValueError, TypeError, KeyError):
        return False


def recall(metadata: Mapping[str, Any], now: float, ended: float | None) -> Trouble:
    """Return the trouble that an earlier controller noted on a run, or a new one that begins now.

    A note with a first failure in the future, or before the run ended, is not ours and does not count.
    """
    text = (metadata.get("annotations") or {}).get(OUTCOME_ANNOTATION)
    try:
        noted = _noted(text) if text else {}
        since = datetime.fromisoformat(noted["since"]).timestamp() if noted.get("state") == RETRYING else now
        attempts = min(max(int(noted.get("attempts", 0)), 0), 1_000_000)
    except (ValueError, TypeError, KeyError, AttributeError):
        return Trouble(now)
    if since >= now or (ended is not None and since < ended):
        return Trouble(now)
    return Trouble(since, attempts, noted=now)
