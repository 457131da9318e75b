"""Reads a ledger of one or several logs into a :class:`~chains.audit.ledger.state.LedgerState`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING

from chains.audit.ledger.entries import DECISIONS, Ended, Entry, EntryKind, GapEntry, Heartbeat, RunEntry
from chains.audit.ledger.folder import ORIGIN, find_logs
from chains.audit.ledger.replay import ONE_DAY
from chains.audit.ledger.state import Finding, Gap, LedgerRun, LedgerState, RunState
from chains.audit.ledger.succession import check_succession
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
    is_part = (folder / ORIGIN).exists()  # one log alone: the others may be elsewhere
    return gathered.state(walks, () if is_part else tuple(check_succession(walks))), walks


class _Gathered:
    """What the entries of all logs say."""

    def __init__(self) -> None:
        self._log = ""
        self._runs: dict[str, LedgerRun] = {}
        self._last: dict[str, datetime] = {}
        self._gaps: list[Gap] = []
        self._others: list[Entry] = []
        self._seen: dict[str, datetime] = {}
        self._decided: dict[str, RunEntry] = {}
        """The last decision of the controller itself about each run."""
        self._since: datetime | None = None
        self._spans: dict[str, tuple[datetime, datetime]] = {}
        self._findings: list[Finding] = []

    def begin(self, log: str) -> None:
        """Go on with the entries of another log."""
        self._log = log

    def take(self, entry: Entry, index: int) -> None:
        """Take one entry, which is at ``index`` of its log."""
        self._since = min(filter(None, (self._since, entry.at)))
        if isinstance(entry, Ended):
            return  # it may be written long after the log was watched last
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
        if entry.kind == EntryKind.SEEN:
            self._seen[uid] = max(self._seen.get(uid, entry.at), entry.at)
        elif entry.kind in DECISIONS and not entry.is_late:
            self._decided[uid] = entry
            if run.is_from_mark and self._is_repeated_by(run.state, entry):
                _decide(run, entry)
        if not is_news:
            return
        if entry.kind == EntryKind.SEEN:
            run.created = run.created or _time(entry.created)
            run.state = RunState.OPEN
        elif entry.kind == EntryKind.FINISHED:
            run.state, run.finished = RunState.PENDING, entry.at
            run.completed, run.succeeded = _time(entry.completed), entry.succeeded
        else:
            own = self._decided.get(uid)
            repeats = entry.is_late and own is not None and self._is_repeated_by(entry.kind, own)
            _decide(run, own if own is not None and repeats else entry)

    def _handovers(self, walks: Sequence[LogWalk]) -> Iterator[Gap]:
        """Yield the time from the end of each log to the beginning of those that go on for it."""
        for walk in walks:
            if walk.ended is None or walk.origin not in self._spans:
                continue
            last = self._spans[walk.origin][1]
            begun = [self._spans[name][0] for name in walk.ended.successors if name in self._spans]
            if begun and max(begun) > last:
                yield Gap(walk.origin, last, max(begun), "the number of shares changed, or its writer ended")

    def _is_repeated_by(self, said: str, own: RunEntry) -> bool:
        """Whether a mark only says again what the controller decided, in another log.

        Such a mark is worth less than the decision. If the run came again after the decision, the mark may be
        about something else.
        """
        return own.kind.value == said and own.at >= self._seen.get(own.run.uid, own.at)

    def state(self, walks: Sequence[LogWalk], others: Sequence[Finding]) -> LedgerState:
        """Return everything together; ``others`` are wrong, too."""
        problems = [finding for walk in walks for finding in walk.findings]
        going_on = [walk for walk in walks if walk.ended is None or not _is_verified(walk)]
        ends = [end for walk in going_on or walks if (end := _signed_until(walk)) is not None]
        is_any = any(_verified_until(walk) is not None for walk in walks)
        return LedgerState(
            runs=self._runs,
            gaps=tuple(sorted((*self._gaps, *self._handovers(walks)), key=lambda gap: gap.start)),
            days=tuple(day for walk in walks for day in walk.days),
            problems=(*problems, *others, *self._findings),
            others=tuple(self._others),
            since=self._since,
            until=min(ends) if ends and is_any else None,
            ended={walk.origin: walk.ended.successors for walk in walks if walk.ended is not None},
            spans=self._spans,
        )


def _decide(run: LedgerRun, entry: RunEntry) -> None:
    """Let an entry say what became of a run."""
    run.state, run.decided = RunState(entry.kind.value), entry.at
    run.reason, run.receipts = entry.reason, entry.receipts
    run.is_from_mark = entry.is_late and entry.kind != EntryKind.REMOVED


def _is_verified(walk: LogWalk) -> bool:
    return all(day.verified for day in walk.days)


def _signed_until(walk: LogWalk) -> datetime | None:
    """Return up to when a log has no entry that is not verified: before its first one it has none."""
    if not walk.days:
        return None
    return _verified_until(walk) or datetime.combine(walk.days[0].day, time(), UTC)


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
