"""Disposition records from the inbox of the ledger: the controller writes their entries, once, and goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from chains.audit.ledger.entries import Disposition, Entry
from chains.audit.ledger.errors import LedgerError
from chains.audit.ledger.lines import parse_entry
from chains.audit.retention import inbox
from chains.audit.retention.record import DispositionRecord, Piece
from chains.controller.ledger.recorder import Place, Recorder
from chains.controller.ledger.records import take_records
from storage.record import IN_TOTO_PAYLOAD_TYPE, Origin
from tests.unit.chains.audit.ledger.made import sealer_of

NOW = datetime(2030, 1, 1, tzinfo=UTC)
UID = "00000000-0000-4000-8000-000000000001"


def put(folder: Path, keys: Path, pieces: int = 2, reason: str = "term is over") -> DispositionRecord:
    record = DispositionRecord(
        "s3://evidence", NOW, "R. Manager", reason, "sha256:" + "ab" * 32,
        tuple(
            Piece(f"sha256:{number:064x}", f"s3://evidence/{number}", "https://slsa.dev/provenance/v1",
                  Origin("taskrun", "shop", "build", UID), "all", "signed", NOW, NOW, (), UID)
            for number in range(pieces)
        ),
    )  # fmt: skip
    sealed = sealer_of(keys).seal_now(record.to_bytes(), IN_TOTO_PAYLOAD_TYPE)
    inbox.put(folder, record, sealed.bundle)
    return record


def entries(folder: Path) -> list[Entry]:
    return [
        parse_entry(line)
        for file in sorted(folder.glob("share-*/????-??-??.jsonl"))
        for line in file.read_bytes().splitlines()
    ]


def keep(folder: Path, *, shares: int = 1, held: tuple[int, ...] = (0,)) -> None:
    """Let a controller look at its ledger twice."""

    async def run() -> None:
        recorder = Recorder()
        recorder.move(Place(folder, "chains.example.com/test", shares), ())
        for _ in range(2):
            recorder.beat(held)
            await recorder.settle(lambda: None)
        await recorder.close()

    asyncio.run(run())


def test_a_record_becomes_an_entry_for_each_piece_and_is_moved_away(tmp_path: Path) -> None:
    folder = tmp_path / "ledger"
    record = put(folder, tmp_path)
    keep(folder)
    found = [one for one in entries(folder) if isinstance(one, Disposition)]
    assert [(one.digest, one.location, one.by, one.uid) for one in found] == [
        (piece.digest, piece.location, "R. Manager", UID) for piece in record.pieces
    ]
    assert {one.reason for one in found} == {
        f"record {record.uid}: class all, kept until 2030-01-01: term is over"
    }
    assert inbox.waiting(folder) == []
    assert [path.name for path in (folder / "inbox/taken").iterdir()] == [f"{record.uid}.bundle.json"]
    keep(folder)
    assert sum(isinstance(one, Disposition) for one in entries(folder)) == 2


def test_only_the_writer_of_the_first_share_takes_records(tmp_path: Path) -> None:
    folder = tmp_path / "ledger"
    put(folder, tmp_path)
    keep(folder, shares=2, held=(1,))
    assert len(inbox.waiting(folder)) == 1
    keep(folder, shares=2, held=(0, 1))
    assert sum(isinstance(one, Disposition) for one in entries(folder)) == 2


def test_what_is_no_record_is_refused_and_the_next_one_is_taken(tmp_path: Path) -> None:
    folder = tmp_path / "ledger"
    put(folder, tmp_path, reason="\x1b[2J a token ghp_" + "a" * 36)
    (folder / "inbox" / "0.bundle.json").write_bytes(b"{}")
    keep(folder)
    assert [path.name for path in (folder / "inbox/refused").iterdir()] == ["0.bundle.json"]
    found = [one for one in entries(folder) if isinstance(one, Disposition)]
    assert len(found) == 2
    assert all("\x1b" not in one.reason and "ghp_" not in one.reason for one in found)


def test_a_record_waits_while_the_ledger_cannot_be_written(tmp_path: Path) -> None:
    put(tmp_path / "ledger", tmp_path)

    def full(_: object) -> list[LedgerError | None]:
        raise LedgerError("no space left on device")

    with pytest.raises(LedgerError):
        take_records(tmp_path / "ledger", full)
    take_records(tmp_path / "ledger", lambda facts: [LedgerError("too long")] * len(facts))
    assert len(inbox.waiting(tmp_path / "ledger")) == 1
    taken: list[Entry] = []

    def written(facts: Sequence[Entry]) -> list[LedgerError | None]:
        taken.extend(facts)
        return [None] * len(facts)

    take_records(tmp_path / "ledger", written)
    assert len(taken) == 2
    assert inbox.waiting(tmp_path / "ledger") == []
