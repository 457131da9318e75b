"""Kills a writer fifty times at any moment, and looks each time at what it left. A program of its own: it forks.

Usage: ``python -m tests.unit.chains.audit.ledger.killed_writer FOLDER SEED``. Prints a JSON object at its end.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from chains.audit.ledger.read import read_ledger
from chains.audit.ledger.writer import LogWriter
from tests.unit.chains.audit.ledger.made import ORIGIN, evidenced, run, seen

ROUNDS = 50
GROUP = 3


def write(folder: Path, first: int, acknowledged: int) -> None:
    """Write groups for ever, and tell the number of each one that is acknowledged."""
    writer = LogWriter(folder, ORIGIN)
    number = first
    while True:
        facts = [fact for each in range(number, number + GROUP) for fact in (seen(each), evidenced(each))]
        if writer.append(facts) != [None] * len(facts):
            os._exit(3)
        number += GROUP
        os.write(acknowledged, b"%d\n" % number)


def killed(folder: Path, first: int, after: int) -> int:
    """Return the first number that was not acknowledged by a writer that is killed after some groups."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            write(folder, first, writing)
        finally:
            os._exit(2)
    os.close(writing)
    with os.fdopen(reading) as told:
        for _ in range(after):
            told.readline()
        os.kill(child, signal.SIGKILL)
        lines = told.read().splitlines()
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL, status
    return int(lines[-1]) if lines else first + after * GROUP


def main(folder: Path, seed: int) -> None:
    """Kill, read, and go on where the acknowledged groups end."""
    chance, number, most = random.Random(seed), 0, 0
    for _ in range(ROUNDS):
        number = killed(folder, number, chance.randint(1, 3))
        state = read_ledger(folder, [], datetime.now(UTC))
        assert state.problems == (), state.problems
        missing = [each for each in range(number) if run(each).uid not in state.runs]
        assert missing == [], missing
        lost = [each for each in range(number) if state.runs[run(each).uid].state != "evidenced"]
        assert lost == [], lost
        most = max(most, len(state.runs) - number)
    LogWriter(folder, ORIGIN).close()
    state = read_ledger(folder, [], datetime.now(UTC))
    print(json.dumps({"acknowledged": number, "unacknowledged": most, "gaps": len(state.gaps)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
