"""Builds and updates that are killed, and what they leave."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from chains.index import database
from chains.index.errors import IndexUnavailable
from tests.unit.chains.index.made import Signer, built, content, dsse, file_at, report, trust, updated
from tests.unit.chains.lineage.made import Whole


def test_a_build_that_is_killed_or_meets_a_full_disk_leaves_the_old_index_and_the_next_one_goes_on(
    tmp_path: Path,
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.unit.chains.index.killed_builds", str(tmp_path), "50"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, "as expected\n"), ended.stderr


def test_a_database_that_another_program_holds_is_told_as_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_WAIT", 0)
    signer = Signer()
    place = file_at(tmp_path / "index.db")
    store = Whole(dsse(signer.envelope(report(1))))
    built(place, trust(signer), Whole(url="whole:"))
    before = content(place)
    other = sqlite3.connect(place.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(IndexUnavailable, match="database is locked: another process writes it; try again"):
        updated(place, trust(signer), store)
    assert content(place) == before
    other.execute("ROLLBACK")
    updated(place, trust(signer), store)
    assert len(content(place)["attestation"]) == 1
    other.close()


def test_a_reader_sees_the_old_index_until_the_new_one_is_complete(tmp_path: Path) -> None:
    signer = Signer()
    place = file_at(tmp_path / "index.db")
    built(place, trust(signer), Whole(url="whole:"))
    with database.reading(place) as connection:
        count = "SELECT count(*) FROM attestation"
        assert connection.exec_driver_sql(count).scalar() == 0
        built(place, trust(signer), Whole(dsse(signer.envelope(report(1)))))
        assert connection.exec_driver_sql(count).scalar() == 0
    assert len(content(place)["attestation"]) == 1
