"""The report of ``chains doctor``: its checks, as JSON and as rows of a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from chains.masking.forms import mask

State = Literal["ok", "warning", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class DoctorCheck:
    """The result of one check. ``failed`` prevents evidence, ``warning`` loses something."""

    name: str
    state: State
    detail: str
    next_step: str = ""

    def to_json(self) -> dict[str, str]:
        """Return the check for ``--output json``."""
        return {
            "name": self.name,
            "state": self.state,
            "detail": mask(self.detail),
            "next_step": self.next_step,
        }


def exit_code(checks: Iterable[DoctorCheck]) -> int:
    """Return 1 if a check failed, else 0."""
    return int(any(check.state == "failed" for check in checks))


def to_json(checks: Sequence[DoctorCheck]) -> dict[str, Any]:
    """Return the report for ``--output json``."""
    return {"checks": [check.to_json() for check in checks], "counts": _counts(checks)}


HEADER = ("STATE", "CHECK", "DETAIL")


def rows_of(checks: Iterable[DoctorCheck]) -> list[tuple[str, str, str]]:
    """Return the rows of the report for :data:`HEADER`. A next step follows below its check."""
    rows: list[tuple[str, str, str]] = []
    for check in checks:
        rows.append((check.state, check.name, mask(check.detail)))
        if check.next_step:
            rows.append(("", "", f"next: {check.next_step}"))
    return rows


def summary_of(checks: Sequence[DoctorCheck]) -> str:
    """Return the line of counts below the report."""
    counts = ", ".join(f"{count} {state}" for state, count in _counts(checks).items() if count)
    return f"{len(checks)} checks: {counts}"


def _counts(checks: Sequence[DoctorCheck]) -> dict[str, int]:
    return {
        state: sum(check.state == state for check in checks)
        for state in ("ok", "warning", "failed", "skipped")
    }
