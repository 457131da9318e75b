"""A real witness (litewitness) signs the days of a ledger, and refuses a second history of it."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chains.assembly.ledger import LedgerParts
from chains.audit.ledger.folder import LogFolder
from chains.audit.ledger.writer import LogWriter
from chains.cli.main import run as chains
from chains.config.ledger import LedgerSettings
from chains.controller.ledger.begin import begin_ledger
from chains.controller.metrics import Metrics
from signers.sigstore.cosignature import WitnessKey, log_key
from tests.testbed.witness import WitnessServer, witness_server
from tests.unit.chains.audit.ledger.made import Clock, evidenced, fact, listed, sealer_of, seen
from tests.unit.chains.controller.test_ledger import Flow

pytestmark = pytest.mark.server
NAME = "chains.example.com/prod"
ORIGIN = f"{NAME}/share-0-of-1"


@pytest.fixture(scope="module")
def litewitness() -> Iterator[WitnessServer]:
    with tempfile.TemporaryDirectory(prefix="witness-") as folder, witness_server(Path(folder)) as server:
        yield server


class Kept:
    """The keeper of a ledger, which looks when it is told to."""

    def __init__(self, folder: Path, clock: Clock, witness: WitnessServer, origin: str = NAME) -> None:
        self.folder, self.clock, self.metrics = folder, clock, Metrics()
        settings = LedgerSettings(str(folder / "ledger"), origin, "ledger.pem")
        key = WitnessKey.parse(witness.key)
        self.parts = LedgerParts(settings, sealer_of(folder), (), ((witness.url, key),))

    def look(self) -> float:
        """Let a replica begin, look once and end; return the metric of forks."""

        async def look() -> float:
            keeper = begin_ledger(lambda _: 0, lambda: (0,), 1, self.metrics)
            keeper._clock = self.clock
            keeper.take(Flow(self.parts, {}))
            await keeper.look()
            found = self.metrics.registry.get_sample_value("chains_ledger_forks")
            await keeper.close()
            return found or 0.0

        return asyncio.run(look())


def days_of(folder: Path, number: int, clock: Clock, name: str = ORIGIN) -> None:
    """Write a day with runs and go on to the next."""
    writer = LogWriter(folder / "ledger" / name.rpartition("/")[2], name, clock)
    for one in range(number, number + 5):
        clock.move(seconds=1)
        writer.append([seen(one)])
    writer.append([evidenced(number)])
    writer.close(ends=False)
    clock.move(days=1)


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    (tmp_path / "ledger.pub").write_bytes(sealer_of(tmp_path).signer.public_pem)

    def call(folder: Path, *words: str) -> tuple[int, Any]:
        code = chains(
            [
                "ledger",
                "verify",
                str(folder),
                "--key",
                str(tmp_path / "ledger.pub"),
                "--output",
                "json",
                *words,
            ]
        )
        return code, json.loads(capsys.readouterr().out)

    return call


def test_a_witness_signs_each_day_and_a_fork_that_is_shown_to_two_people_has_its_signature_once(
    litewitness: WitnessServer, tmp_path: Path, call: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    # days in the past, so that the real clock of the witness comes after them
    clock = Clock(datetime.now(UTC).replace(hour=8) - timedelta(days=6))
    kept = Kept(tmp_path, clock, litewitness)
    days_of(tmp_path, 0, clock)
    log = LogFolder(tmp_path / "ledger" / "share-0-of-1")

    # the witness does not know the log yet: the day is closed all the same
    assert kept.look() == 0.0
    first = log.days()[0]
    assert log.is_closed(first)
    assert not log.file(first, ".cosigned").exists()
    assert chains(["ledger", "keys", str(tmp_path / "ledger"), "--key", str(tmp_path / "ledger.pub")]) == 0
    told = capsys.readouterr().out.strip()
    assert told == log_key(ORIGIN, listed(sealer_of(tmp_path))[0].key)
    litewitness.add_log(ORIGIN, told)

    # two days with runs, and those up to now without
    assert kept.look() == 0.0
    days_of(tmp_path, 10, clock)
    clock.now = datetime.now(UTC)
    assert kept.look() == 0.0
    closed = [day for day in log.days() if log.is_closed(day)]
    assert [log.file(day, ".cosigned").exists() for day in closed] == [True] * len(closed)
    code, found = call(tmp_path / "ledger", "--witness", litewitness.key, "--cosigned", "1")
    assert (code, found["problems"], found["notCosigned"]) == (0, [], [])
    assert [list(day["cosigned"]) for day in found["days"] if day["closed"]] == [
        ["witness.example/w1"]
    ] * len(closed)
    assert litewitness.size_of(ORIGIN) == found["days"][len(closed) - 1]["size"]

    # a copy is rolled back and goes on differently, with the ledger's own key: each history is well formed
    other = tmp_path / "other"
    other.mkdir()
    shutil.copytree(tmp_path / "ledger", other / "ledger")
    shutil.copy(tmp_path / "ledger.pem", other)
    copy = LogFolder(other / "ledger" / "share-0-of-1")
    for day in log.days()[1:]:
        for path in copy.path.glob(f"{day}*"):
            path.unlink()
    forked = Clock(datetime.combine(closed[1], datetime.min.time(), UTC))
    writer = LogWriter(copy.path, ORIGIN, forked)
    writer.append([fact("failed", 10, reason="another history")])
    for number in range(20, 60):
        writer.append([seen(number)])
    writer.close(ends=False)
    forked.now = clock.now
    assert Kept(other, forked, litewitness).look() == 1.0, "the witness has signed another history"
    code, found = call(other / "ledger")
    assert (code, found["problems"]) == (0, []), "alone it verifies"
    code, found = call(other / "ledger", "--witness", litewitness.key, "--cosigned", "1")
    assert (code, len(found["notCosigned"])) == (4, 1), "the witness is what tells the two apart"
    assert "did not sign since" in found["notCosigned"][0]
    # the first goes on with its witness
    assert kept.look() == 0.0
    assert call(tmp_path / "ledger", "--witness", litewitness.key, "--cosigned", "1")[0] == 0

    # a log that was cut back to what it was before is no other history, but shorter than what the witness signed
    cut = tmp_path / "cut"
    cut.mkdir()
    shutil.copytree(tmp_path / "ledger", cut / "ledger")
    shutil.copy(tmp_path / "ledger.pem", cut)
    shorter = LogFolder(cut / "ledger" / "share-0-of-1")
    for day in shorter.days()[1:]:
        for path in shorter.path.glob(f"{day}*"):
            path.unlink()
    shorter.file(shorter.days()[0], ".cosigned").unlink()
    assert Kept(cut, Clock(datetime.combine(closed[1], datetime.min.time(), UTC)), litewitness).look() == 1.0


def test_a_proof_has_the_signature_of_the_witness_and_a_forged_one_is_found(
    litewitness: WitnessServer, tmp_path: Path, call: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    origin = f"{NAME}-proof/share-0-of-1"
    clock = Clock(datetime.now(UTC).replace(hour=8) - timedelta(days=3))
    days_of(tmp_path, 0, clock, origin)
    litewitness.add_log(origin, log_key(origin, listed(sealer_of(tmp_path))[0].key))
    assert Kept(tmp_path, clock, litewitness, f"{NAME}-proof").look() == 0.0
    assert chains(["ledger", "prove", "ci/build-0", str(tmp_path / "ledger")]) == 0
    proof = tmp_path / "proof.json"
    proof.write_text(capsys.readouterr().out)
    code, found = call(proof, "--witness", litewitness.key, "--cosigned", "1")
    assert (code, list(found["cosigned"])) == (0, ["witness.example/w1"])
    assert call(proof)[1]["cosigned"] == {}
    log = LogFolder(tmp_path / "ledger" / "share-0-of-1")
    note = log.file(log.days()[0], ".cosigned")
    whole = note.read_text()
    # without the signature the proof holds, and does not show what is demanded
    proof.write_text(proof.read_text().replace(json.dumps(whole)[1:-1].replace("\\u2014", "—"),
                                               json.dumps(log.read(log.days()[0], ".checkpoint").decode(), ensure_ascii=False)[1:-1]))  # fmt: skip
    assert call(proof, "--witness", litewitness.key, "--cosigned", "1")[0] == 4
    # a signature of the witness for another checkpoint
    lines = whole.splitlines()
    name, blob = lines[-1].split(" ")[1:]
    changed = blob[:-8] + ("AAAA" if blob[-8:-4] != "AAAA" else "BBBB") + blob[-4:]
    note.write_text("\n".join([*lines[:-1], f"— {name} {changed}"]) + "\n")
    code, found = call(tmp_path / "ledger", "--witness", litewitness.key)
    assert (code, [one["code"] for one in found["problems"]]) == (1, ["witness"])
    assert call(tmp_path / "ledger")[0] in {0, 4}, "who names no witness asks for none"


def test_a_witness_that_is_away_keeps_no_day_from_being_closed(
    litewitness: WitnessServer, tmp_path: Path
) -> None:
    clock = Clock(datetime.now(UTC).replace(hour=8) - timedelta(days=3))
    origin = f"{NAME}-away/share-0-of-1"
    days_of(tmp_path, 0, clock, origin)
    away = WitnessServer("http://127.0.0.1:9", litewitness.key, litewitness.database, litewitness.log)
    assert Kept(tmp_path, clock, away, f"{NAME}-away").look() == 0.0
    log = LogFolder(tmp_path / "ledger" / "share-0-of-1")
    assert log.is_closed(log.days()[0])
