"""One answer of three: true, false, or unknown. What is not proven is never told as true."""

from __future__ import annotations

from dataclasses import dataclass

TRUE, FALSE, UNKNOWN = "true", "false", "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """An answer, ``true``, ``false`` or ``unknown``, and why."""

    value: str
    reason: str

    def to_json(self) -> dict[str, str]:
        """Return the answer as it is written into reports."""
        return {"value": self.value, "reason": self.reason}
