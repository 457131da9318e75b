"""A writer that is killed at any moment, or has no room, loses no acknowledged entry and leaves a whole ledger."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.unit.chains.audit.ledger import killed_writer


def test_fifty_kills_lose_no_acknowledged_entry_and_break_no_ledger(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", killed_writer.__name__, tmp_path / "log", "7"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[5],
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    told = json.loads(ended.stdout)
    assert told["acknowledged"] >= killed_writer.ROUNDS * killed_writer.GROUP
    # each writer but the first says since when nobody wrote
    assert told["gaps"] == killed_writer.ROUNDS


NO_ROOM = """
import resource, signal, sys
from pathlib import Path
from chains.audit.ledger.errors import LedgerError
from chains.audit.ledger.folder import LogFolder
from chains.audit.ledger.writer import LogWriter
from tests.unit.chains.audit.ledger.made import ORIGIN, Clock, START, finished, seen

folder = Path(sys.argv[1])
writer = LogWriter(folder, ORIGIN, Clock())
writer.append([seen(1)])
path = folder / f"{START.date()}.jsonl"
whole = path.read_bytes()
# the kernel takes a part of what is written, as of the last block of a disk, and refuses the rest
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for room in (0, 1, 50, 100):
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + room, resource.RLIM_INFINITY))
    try:
        writer.append([finished(1), seen(2)])
    except LedgerError as error:
        assert "File too large" in str(error), error
    else:
        raise AssertionError("it was acknowledged")
    assert path.read_bytes() == whole, room
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert writer.append([finished(1), seen(2)]) == [None, None]
lines = path.read_bytes().splitlines(keepends=True)
assert lines[0] == whole and len(lines) == 4, lines
writer.close(ends=False)
print("whole")
"""


def test_a_file_that_cannot_grow_is_an_error_and_never_a_half_entry(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", NO_ROOM, tmp_path / "log"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[5],
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, "whole\n"), ended.stderr[-3000:]
