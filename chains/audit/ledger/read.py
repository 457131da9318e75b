"""Reads a ledger of one or several logs into a :class:`~chains.audit.ledger.state.LedgerState`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING

from chains.audit.ledger.entries import DECISIONS, Entry, EntryKind, GapEntry, Heartbeat, RunEntry
from chains.audit.ledger.folder import find_logs
from chains.audit.ledger.replay import ONE_DAY
from chains.audit.ledger.state import DECIDED, Finding, Gap, LedgerRun, LedgerState, RunState
from chains.audit.ledger.walk import LogWalk, Trusted, walk_log
from signers.keys.keyset import ListedKey

if TYPE_CHECKING:
    from signers.sigstore.trusted_root import TrustedRoot


def read_ledger(
    folder: Path, keys: Sequence[ListedKey], now: datetime, trusted_root: TrustedRoot | None = None
) -> LedgerState:
    """Read and verify the ledger in a folder, as far as it reaches.

    ``keys`` may sign days; without any, nothing is verified. With ``trusted_root`` the timestamps and log
    entries of the days are verified, too. ``now`` decides whether a key counts. Raises
    :class:`LedgerMissing` if there is no ledger, :class:`LedgerError` if a folder cannot be read; everything
    else that is wrong is in :attr:`LedgerState.problems`.
    """
    return walk_ledger(folder, Trusted(keys, now, trusted_root))[0]


def walk_ledger(folder: Path, trusted: Trusted) -> tuple[LedgerState, list[LogWalk]]:
    """Return what :func:`read_ledger` returns, and the walk through each log, for comparisons of copies."""
    gathered = _Gathered()
    walks = []
    for log in find_logs(folder):
        gathered.begin(log.origin())
        walks.append(walk_log(log, trusted, gathered.take))
    return gathered.state(walks), walks


class _Gathered:
    """What the entries of all logs say."""

    def __init__(self) -> None:
        self._log = ""
        self._runs: dict[str, LedgerRun] = {}
        self._last: dict[str, datetime] = {}
        self._gaps: list[Gap] = []
        self._others: list[Entry] = []
        self._since: datetime | None = None
        self._spans: dict[str, tuple[datetime, datetime]] = {}
        self._findings: list[Finding] = []

    def begin(self, log: str) -> None:
        """Go on with the entries of another log."""
        self._log = log

    def take(self, entry: Entry, index: int) -> None:
        """Take one entry, which is at ``index`` of its log."""
        self._since = min(filter(None, (self._since, entry.at)))
        first, last = self._spans.get(self._log, (entry.at, entry.at))
        self._spans[self._log] = min(first, entry.at), max(last, entry.at)
        if isinstance(entry, RunEntry):
            self._take_run(entry, index)
        elif isinstance(entry, GapEntry):
            self._gaps.append(Gap(self._log, entry.start, entry.until, entry.reason))
        elif not isinstance(entry, Heartbeat):
            self._others.append(entry)

    def _take_run(self, entry: RunEntry, index: int) -> None:
        uid = entry.run.uid
        run = self._runs.get(uid)
        if run is None:
            run = self._runs[uid] = LedgerRun(entry.run, self._log, RunState.OPEN, entry.at)
            self._last[uid] = entry.at
            if entry.kind != EntryKind.SEEN:
                message = f"a {entry.kind} entry of {uid}, which was never seen"
                self._findings.append(Finding("contradiction", self._log, entry.at.date(), message))
        run.first_seen = min(run.first_seen, entry.at)
        run.indexes = (*run.indexes, index) if run.log == self._log else (index,)
        # a run may be in two logs, if the number of shares changed: the later entry counts
        run.log = self._log
        is_news = entry.at >= self._last[uid]
        self._last[uid] = max(self._last[uid], entry.at)
        is_own = entry.kind in DECISIONS and not entry.is_late
        if is_own and run.is_from_mark and run.state == entry.kind.value:
            # the mark only says again what the controller decided, in another log
            run.is_from_mark, run.receipts, run.reason = False, entry.receipts, entry.reason
        if not is_news or (run.state in DECIDED and not self._changes(run, entry)):
            return
        if entry.kind == EntryKind.SEEN:
            run.created = run.created or _time(entry.created)
            run.state = RunState.OPEN
        elif entry.kind == EntryKind.FINISHED:
            run.state, run.finished = RunState.PENDING, entry.at
            run.completed, run.succeeded = _time(entry.completed), entry.succeeded
        else:
            run.state, run.decided = RunState(entry.kind.value), entry.at
            run.reason, run.receipts = entry.reason, entry.receipts
            run.is_from_mark = entry.is_late and entry.kind != EntryKind.REMOVED

    @staticmethod
    def _changes(run: LedgerRun, entry: RunEntry) -> bool:
        """Whether an entry says more about a run that is decided.

        A writer forgets decisions after some days, and a run that it meets again is seen again. A mark that
        repeats what the controller decided is worth less than the decision.
        """
        repeats = entry.is_late and not run.is_from_mark and run.state == entry.kind.value
        return entry.kind in DECISIONS and not repeats

    def state(self, walks: Sequence[LogWalk]) -> LedgerState:
        """Return everything together."""
        problems = [finding for walk in walks for finding in walk.findings]
        ends = [end for walk in walks if (end := _verified_until(walk)) is not None]
        return LedgerState(
            runs=self._runs,
            gaps=tuple(sorted(self._gaps, key=lambda gap: gap.start)),
            days=tuple(day for walk in walks for day in walk.days),
            problems=(*problems, *self._findings),
            others=tuple(self._others),
            since=self._since,
            until=min(ends) if ends and len(ends) == len(walks) else None,
            spans=self._spans,
        )


def _verified_until(walk: LogWalk) -> datetime | None:
    """Return the end of the last day up to which every day is verified."""
    end = None
    for day in walk.days:
        if not day.verified:
            break
        end = datetime.combine(day.day + ONE_DAY, time(), UTC)
    return end


def _time(text: str) -> datetime | None:
    """Return a time that a run states, None if it is none."""
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo is not None else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
