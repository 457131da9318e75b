"""Everything in a report that is counted from its own rows, so that a check can count it again."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import cast

from chains.audit.findings import span
from chains.report.document import format as form
from chains.report.document.format import maybe
from chains.report.gather.signers import Signers

MOST_NAMESPACES = 40
"""Namespaces in the map of namespaces: those with most runs."""


class Tally:
    """Counts the runs of a report, one by one."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.signers = Signers()
        self.levels: Counter[str | None] = Counter()
        self._uids: list[str] = []
        self._namespaces: dict[str, Counter[str]] = {}
        self._days: dict[str, Counter[str]] = {}
        self._cells: dict[tuple[str, str], Counter[str]] = {}
        self._reasons: Counter[tuple[form.State, str]] = Counter()

    def add(self, run: form.Run, attestations: Sequence[form.Attestation]) -> None:
        """Count a run with its evidence."""
        state, day = run["state"], (run["finished"] or "")[:10]
        self.counts[state] += 1
        if run["uid"]:
            self._uids.append(run["uid"])
        self._namespaces.setdefault(run["namespace"], Counter())[state] += 1
        self._days.setdefault(day, Counter())[state] += 1
        if day and state in form.COUNTED:
            self._cells.setdefault((run["namespace"], day), Counter())[state] += 1
        if state == "evidenced":
            self.levels[run["level"]] += 1
        else:
            self._reasons[state, run["reason"]] += 1
        self.signers.add(run, attestations)

    @property
    def finished(self) -> int:
        """Finished runs of which evidence is demanded."""
        return sum(self.counts[state] for state in form.COUNTED)

    def coverage(self) -> form.Coverage | None:
        """Return the share of finished runs with evidence."""
        total, least = self.finished, self.counts["evidenced"]
        if not total:
            return None
        most = least + self.counts["unknown"]
        shares = Fraction(least, total), Fraction(most, total)
        return {"least": least, "most": most, "finished": total, "text": span(shares)}

    def digest(self) -> str:
        """Return the digest of the sorted UIDs."""
        lines = "".join(f"{uid}\n" for uid in sorted(self._uids))
        return f"sha256:{hashlib.sha256(lines.encode(errors='backslashreplace')).hexdigest()}"

    def namespaces(self) -> list[form.Namespace]:
        """Return the counts of each namespace, the worst first."""
        worst = form.COUNTED[1:]
        ordered = sorted(
            self._namespaces.items(), key=lambda one: (*(-one[1][state] for state in worst), one[0])
        )
        return [{"namespace": name, "counts": counts_of(found)} for name, found in ordered]

    def days(self) -> list[form.Day]:
        """Return the counts of each day; those without an end first."""
        return [{"day": maybe(day), "counts": counts_of(found)} for day, found in sorted(self._days.items())]

    def namespace_days(self) -> list[form.NamespaceDay]:
        """Return the counts of each day of the namespaces with most runs."""
        totals: Counter[str] = Counter()
        for (namespace, _), found in self._cells.items():
            totals[namespace] += found.total()
        ordered = sorted(totals.items(), key=lambda one: (-one[1], one[0]))
        chosen = {name for name, _ in ordered[:MOST_NAMESPACES]}
        return [
            {
                "namespace": namespace, "day": day, "evidenced": found["evidenced"],
                "unknown": found["unknown"], "finished": found.total(),
            }
            for (namespace, day), found in sorted(self._cells.items())
            if namespace in chosen
        ]  # fmt: skip

    def reasons(self) -> list[form.ReasonCount]:
        """Return how many runs are in a state for a reason."""
        ordered = sorted(self._reasons.items(), key=lambda one: (form.STATES.index(one[0][0]), one[0][1]))
        return [{"state": state, "reason": reason, "runs": runs} for (state, reason), runs in ordered]

    def level_counts(self) -> list[form.LevelCount]:
        """Return how many evidenced runs have each hermetic level."""
        ordered = sorted(self.levels.items(), key=lambda one: one[0] or "")
        return [{"level": level, "runs": runs} for level, runs in ordered]


def counts_of(found: Mapping[str, int]) -> form.Counts:
    """Return how many runs are in each state."""
    return cast("form.Counts", {state: found.get(state, 0) for state in form.STATES})
