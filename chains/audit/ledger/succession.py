"""How logs follow each other when the number of shares changes.

A log that is no share's any more gets an ``ended`` entry as its last, which names the logs that go on for it.
Each of those gets a ``succeeds`` entry with size and root hash at that end, after the runs of its share that
were open or pending there. So no log can be cut off, dropped or exchanged without a trace in another one. A
process that is killed at any point leaves what the next one completes.

A log never goes on after its end: if its name is needed again, it gets a number, such as ``share-0-of-2.2``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from chains.audit.ledger.close import end_of, last_closed
from chains.audit.ledger.entries import Ended, Entry, Succeeds
from chains.audit.ledger.errors import LedgerBusy, LedgerError, LedgerMissing
from chains.audit.ledger.folder import LogFolder, find_logs
from chains.audit.ledger.lines import parse_entry
from chains.audit.ledger.replay import position_of
from chains.audit.ledger.state import Finding
from chains.audit.ledger.walk import LogWalk
from chains.audit.ledger.writer import LogWriter, now

BACKFILL = "backfill-"
"""How the names of logs begin that commands write, which watch no share."""
_NAME = re.compile(r"share-(\d{1,6})-of-(\d{1,6})(?:\.(\d{1,6}))?", re.ASCII)
_MOST_TIMES = 10_000
ShareOf = Callable[[str, int], int]
"""Returns the share of a PipelineRun, or of a TaskRun without one, from its UID and the number of shares."""


@dataclass(frozen=True, slots=True)
class ShareLog:
    """The log of a share. ``time`` counts the logs of that name from 1."""

    share: int
    shares: int
    time: int = 1

    @property
    def name(self) -> str:
        """The name of its folder, and the last part of its origin."""
        name = f"share-{self.share}-of-{self.shares}"
        return name if self.time == 1 else f"{name}.{self.time}"


def parse_name(name: str) -> ShareLog | None:
    """Return the share of a log by the name of its folder; None for a log of another name."""
    found = _NAME.fullmatch(name)
    return ShareLog(int(found[1]), int(found[2]), int(found[3] or 1)) if found else None


def log_of(folder: Path, share: int, shares: int) -> ShareLog:
    """Return the log to which a share is written now: the first of its name that has not ended.

    Raises :class:`LedgerError`.
    """
    for time in range(1, _MOST_TIMES):
        found = ShareLog(share, shares, time)
        path = folder / found.name
        if not path.exists() or end_of(LogFolder(path)) is None:
            return found
    raise LedgerError(f"{folder}: share {share} of {shares} has more than {_MOST_TIMES} logs that have ended")


def predecessors(folder: Path, own: LogFolder, known: set[str] | None = None) -> list[LogFolder]:
    """Return the logs that ended and name this one as successor, which does not name them yet.

    ``known`` has the origins of those that it names, as far as the caller knows, and gets further ones: the
    whole log is read only if another one ended.
    """
    name, known = own.origin(), set() if known is None else known
    found = []
    for log in _logs(folder):
        if log.path != own.path and (origin := log.origin()) not in known:
            end = end_of(log)
            if end is not None and name in end.successors:
                found.append((origin, log))
    if found:
        known.update(entry.log for entry in _links_of(own))
    return [log for origin, log in found if origin not in known]


def take_over(writer: LogWriter, ended: Sequence[LogFolder], share_of: ShareOf) -> None:
    """Let a writer's log go on for logs that ended: with their undecided runs of its share, and its link.

    Raises :class:`LedgerError`.
    """
    own = parse_name(writer.log.path.name)
    for log in ended:
        position = position_of(log, last_closed(log))
        seen = (*position.book.opened.values(), *(first for first, _ in position.book.pending.values()))
        facts: list[Entry] = [
            replace(entry, is_late=True)
            for entry in seen
            if own is not None and share_of(entry.run.parent or entry.run.uid, own.shares) == own.share
        ]
        head = position.head()
        facts.append(Succeeds(now(), log.origin(), head.size, head.root))
        _expect(writer.append(facts))


def end_others(
    folder: Path, origin: str, shares: int, share_of: ShareOf, clock: Callable[[], datetime] = now
) -> tuple[list[LogFolder], list[LedgerError]]:
    """End every log of a ledger that is no share's any more. Return them, and why some could not be ended.

    A log that another process writes is left to the next call.
    """
    names = [log_of(folder, share, shares).name for share in range(shares)]
    successors = tuple(f"{origin}/{name}" for name in names)
    ended, errors = [], []
    waiting = [
        log.path for log in _logs(folder) if log.path.name not in names and _is_of(log.origin(), origin)
    ]
    while waiting:
        path = waiting.pop()
        try:
            end = end_of(LogFolder(path)) if path.exists() else None
            if end is None:
                end = Ended(clock(), successors)
                with _opened(path, f"{origin}/{path.name}", clock) as writer:
                    take_over(writer, predecessors(folder, writer.log), share_of)
                    _expect(writer.append([end]))
            ended.append(LogFolder(path))
        except LedgerBusy:
            continue
        except LedgerError as error:
            errors.append(error)
            continue
        # a successor that never began, because the number changed again before that, is begun and ended
        lost = (folder / name.rpartition("/")[2] for name in end.successors if _is_of(name, origin))
        waiting += [one for one in lost if one.name not in names and not one.exists() and one not in waiting]
    return ended, errors


def check_succession(walks: Sequence[LogWalk]) -> Iterator[Finding]:
    """Yield what is wrong with the links between the logs of a whole ledger."""
    logs = {walk.origin: walk for walk in walks}
    for walk in walks:
        for link in walk.links:
            yield from _check_link(walk, link, logs.get(link.log))
        end = walk.ended
        if end is None or not walk.days[-1].is_closed:
            continue  # its last day is not signed yet
        for name in end.successors:
            successor, day = logs.get(name), end.at.date()
            if successor is None:
                yield _wrong(walk, end, f"the log {name}, which goes on for it, is missing")
            elif not any(link.log == walk.origin for link in successor.links) and any(
                one.is_closed and one.day > day for one in successor.days
            ):
                yield _wrong(successor, end, f"it goes on for the log {walk.origin}, and does not say so")


def _check_link(walk: LogWalk, link: Succeeds, before: LogWalk | None) -> Iterator[Finding]:
    if before is None:
        yield _wrong(walk, link, f"the log {link.log}, for which it goes on, is missing")
        return
    if before.ended is None:
        yield _wrong(walk, link, f"it goes on for the log {link.log}, whose end is missing")
    elif walk.origin not in before.ended.successors:
        yield _wrong(walk, link, f"it goes on for the log {link.log}, which names other logs")
    head = (before.days[-1].size, before.days[-1].root) if before.days else (0, "")
    if before.is_whole and head != (link.size, link.root):
        yield _wrong(
            walk, link, f"the end of the log {link.log}: expected {link.size} entries, root {link.root}; "
            f"got {head[0]} entries, root {head[1]}"
        )  # fmt: skip


def _wrong(walk: LogWalk, entry: Ended | Succeeds, message: str) -> Finding:
    return Finding("succession", walk.origin, entry.at.date(), message)


def _links_of(log: LogFolder) -> Iterator[Succeeds]:
    for line in (line for day in log.days() for line in log.whole_lines(day)):
        if b'"succeeds"' in line:
            entry = parse_entry(line)
            if isinstance(entry, Succeeds):
                yield entry


def _logs(folder: Path) -> list[LogFolder]:
    try:
        return find_logs(folder)
    except LedgerMissing:
        return []


def _is_of(name: str, origin: str) -> bool:
    return name.rpartition("/")[0] == origin


@contextmanager
def _opened(path: Path, origin: str, clock: Callable[[], datetime]) -> Iterator[LogWriter]:
    writer = LogWriter(path, origin, clock, goes_on=False)
    try:
        yield writer
    finally:
        writer.close(ends=False)


def _expect(errors: Sequence[LedgerError | None]) -> None:
    for error in errors:
        if error is not None:
            raise error
