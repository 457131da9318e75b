"""Answers: true, false or unknown, each with its reason. What is not proven is never written as true."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Answer(StrEnum):
    """An answer. Reports contain its value."""

    TRUE = "true"
    FALSE = "false"
    UNKNOWN = "unknown"


class Level(StrEnum):
    """How far a run was without a network, from the weakest: a PipelineRun has that of its weakest child."""

    NOT_REQUESTED = "not-requested"
    REQUESTED_ONLY = "requested-only"
    UNKNOWN = "unknown"
    PARTLY = "partly"
    ENFORCED = "enforced"


LEVELS = tuple(Level)
"""From the weakest to the strongest."""


@dataclass(frozen=True, slots=True)
class Finding:
    """An answer and its reason."""

    value: Answer
    reason: str

    def to_json(self) -> dict[str, str]:
        """Return the answer as it is written into reports."""
        return {"value": self.value, "reason": self.reason}
