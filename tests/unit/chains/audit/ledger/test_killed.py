"""A writer that is killed at any moment loses no acknowledged entry and leaves a ledger that can be read."""

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
