"""The ledger of runs, verified when it is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from chains.audit.ledger.folder import LogFolder, find_logs
from chains.audit.ledger.proof import make_proof
from chains.audit.ledger.read import walk_ledger
from chains.audit.ledger.state import LedgerDay, LedgerRun, LedgerState
from chains.audit.ledger.walk import Trusted


@dataclass(frozen=True, slots=True)
class Ledger:
    """What a ledger says. ``is_verified``: whether keys were given that may sign its days."""

    folder: Path
    state: LedgerState
    is_verified: bool
    logs: dict[str, LogFolder]

    def of_day(self, day: date) -> list[LedgerDay]:
        """Return a day of each log."""
        return [one for one in self.state.days if one.day == day]

    def run(self, uid: str) -> LedgerRun | None:
        """Return what it says about a run, None if it does not know it."""
        return self.state.runs.get(uid)

    def proof(self, uid: str) -> bytes | None:
        """Return the proof that closed days have a run's entries, None if none has any."""
        run = self.run(uid)
        log = self.logs.get(run.log) if run is not None else None
        return make_proof(log, uid) if log is not None else None


def read(folder: Path, trusted: Trusted) -> Ledger:
    """Read and verify a ledger. Raises :class:`LedgerError`."""
    state, _ = walk_ledger(folder, trusted)
    return Ledger(folder, state, bool(trusted.keys), {log.origin(): log for log in find_logs(folder)})


def days_of(state: LedgerState) -> Sequence[LedgerDay]:
    """Return the days, the newest first."""
    return sorted(state.days, key=lambda one: (one.day, one.log), reverse=True)
