"""A ledger whose number of shares changes, for tests; as a program it is killed in the middle of a change.

``python changed_shares.py FOLDER N`` changes the ledger in a folder to three shares, and kills itself at its Nth
write to the disk.
"""

from __future__ import annotations

import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from chains.audit.ledger import close, writer
from chains.audit.ledger.close import close_day, due_days
from chains.audit.ledger.folder import LogFolder, find_logs
from chains.audit.ledger.succession import end_others, log_of, predecessors, take_over
from chains.audit.ledger.writer import LogWriter
from chains.controller.permit import share_of_uid
from tests.unit.chains.audit.ledger.made import Clock, evidenced, run, sealer_of, seen

NAME = "chains.example.com/prod"


class Shared:
    """A ledger in a folder, written by one process for all shares."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder, self.clock, self.sealer = folder / "ledger", clock, sealer_of(folder)
        self.folder.mkdir(exist_ok=True)
        self.writers: dict[int, LogWriter] = {}
        self.shares = 0

    def begin(self, shares: int, held: range | None = None) -> None:
        """Stop, and go on with another number of shares, of which some have a replica."""
        self.stop()
        self.shares = shares
        for share in range(shares) if held is None else held:
            name = log_of(self.folder, share, shares).name
            self.writers[share] = LogWriter(self.folder / name, f"{NAME}/{name}", self.clock)

    def stop(self) -> None:
        for each in self.writers.values():
            each.close(ends=False)
        self.writers = {}

    def look(self) -> None:
        """Do what the keepers of all replicas do in one look."""
        if 0 in self.writers:
            assert end_others(self.folder, NAME, self.shares, share_of_uid, self.clock)[1] == []
        for each in self.writers.values():
            if ended := predecessors(self.folder, each.log):
                take_over(each, ended, share_of_uid)

    def tell(self, numbers: range, made) -> None:  # type: ignore[no-untyped-def]
        """Tell facts about runs, each in the log of its share."""
        for number in numbers:
            self.clock.move(seconds=1)
            share = share_of_uid(run(number).uid, self.shares)
            if share in self.writers:
                assert self.writers[share].append([made(number)]) == [None]

    def next_day(self) -> None:
        """Close every log's days after midnight."""
        self.clock.move(days=1)
        for log in find_logs(self.folder):
            for day in list(due_days(log, self.clock.now.date())):
                close_day(log, day, self.sealer, self.clock.now)
        for each in self.writers.values():
            if days := [day for day in each.log.days() if each.log.is_closed(day)]:
                each.end_day(days[-1])


def names_of(folder: Path) -> list[str]:
    return [log.path.name for log in find_logs(folder)]


def the_log(folder: Path, name: str) -> LogFolder:
    return LogFolder(folder / "ledger" / name)


def begun(folder: Path) -> Shared:
    """Return a ledger of two shares with open and decided runs."""
    shared = Shared(folder, Clock())
    shared.begin(2)
    shared.tell(range(12), seen)
    shared.tell(range(4), evidenced)
    return shared


def _kill_at(number: int) -> None:
    """Let this process be killed at its Nth write to the disk: before it, so nothing of it is there."""
    left = [number]

    def counted(function):  # type: ignore[no-untyped-def]
        def call(*given, **named):  # type: ignore[no-untyped-def]
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*given, **named)

        return call

    writer.os.write = counted(os.write)  # type: ignore[attr-defined]
    writer.os.fdatasync = counted(os.fdatasync)  # type: ignore[attr-defined]
    writer.replace_file = counted(writer.replace_file)  # type: ignore[attr-defined]
    close.replace_file = counted(close.replace_file)  # type: ignore[attr-defined]


if __name__ == "__main__":
    found = Shared(Path(sys.argv[1]), Clock(datetime.fromisoformat(sys.argv[3]).astimezone(UTC)))
    _kill_at(int(sys.argv[2]))
    found.begin(3)
    found.look()
    found.tell(range(20, 24), seen)
    found.next_day()
    print("not killed")
