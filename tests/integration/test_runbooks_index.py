"""The runbooks of the index and of the ledger's witnesses are tried on a controller that feeds one and has the other."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from chains.audit.ledger.folder import LogFolder
from chains.audit.ledger.writer import LogWriter
from chains.cli.main import run as chains
from chains.index.database import place_of
from signers.sigstore.cosignature import log_key
from tests.integration.test_controller import Running, controller, finished
from tests.integration.test_controller_index import bucket, database, known, metric
from tests.integration.test_runbooks import Tried
from tests.integration.test_witness import Kept, days_of, litewitness
from tests.testbed import postgres
from tests.testbed.witness import WitnessServer
from tests.unit.chains.audit.ledger.made import Clock, fact, listed, sealer_of, seen

__all__ = ["bucket", "controller", "database", "litewitness"]
pytestmark = pytest.mark.server
FEW = "import functools, sys, chains.controller.process as p; p.Feed = functools.partial(p.Feed, most=2); from chains.cli.main import run; sys.exit(run(sys.argv[1:]))"
"""The command, with a queue of two runs in place of 10,000."""
NAME = "chains.example.com/forked"
ORIGIN = f"{NAME}/share-0-of-1"


def test_an_index_that_is_behind_or_misses_runs_shows_as_the_runbooks_say(
    controller: Callable[..., Running], database: postgres.Postgres, bucket: str
) -> None:
    url = database.database()
    storage = dict.fromkeys(("artifacts_oci_storage", "artifacts_taskrun_storage"), "s3")
    running = controller(**storage, storage_s3_bucket=bucket, index_url=url)
    key = str(running.keys / "x509.pub")
    assert chains(["index", "build", "--index", url, "--store", f"s3://{bucket}", "--key", key]) == 0
    running.program = (sys.executable, "-c", FEW)
    running.start()
    tried = Tried(running)
    database.stop()
    for number in range(4):
        running.server.create_run(finished(running.namespace, f"run-{number}"))
        running.attested(f"run-{number}")
    tried.shows("ChainsIndexBehind")
    tried.shows("ChainsIndexDropped")
    assert "runs cannot be added to the index" in tried.shell("ChainsIndexBehind")
    assert "too many wait" in tried.shell("ChainsIndexDropped")
    database.start()
    running.wait(lambda: metric(running, "chains_index_runs_waiting") == 0)
    place = place_of(url)
    assert 0 < len(known(place)) < 4
    assert chains(["index", "update", "--index", url]) == 0
    assert known(place) == {f"run-{number}" for number in range(4)}


def test_a_ledger_with_another_history_than_its_witness_signed_shows_as_the_runbook_says(
    controller: Callable[..., Running], litewitness: WitnessServer, tmp_path: Path
) -> None:
    first = tmp_path / "first"
    first.mkdir()
    clock = Clock(datetime.now(UTC).replace(hour=8) - timedelta(days=6))
    kept = Kept(first, clock, litewitness, NAME)
    days_of(first, 0, clock, ORIGIN)
    assert kept.look() == 0.0
    litewitness.add_log(ORIGIN, log_key(ORIGIN, listed(sealer_of(first))[0].key))
    days_of(first, 10, clock, ORIGIN)
    clock.now = datetime.now(UTC)
    assert kept.look() == 0.0
    copy = tmp_path / "copy"
    shutil.copytree(first, copy)
    rewrite(LogFolder(copy / "ledger" / "share-0-of-1"))
    running = controller(
        **{
            "artifacts.taskrun.storage": "tekton",
            "artifacts.oci.storage": "tekton",
            "ledger.folder": str(copy / "ledger"),
            "ledger.origin": NAME,
            "ledger.signer": str(copy / "ledger.pem"),
            "ledger.witnesses": f"{litewitness.key} {litewitness.url}",
        }
    )
    running.start()
    tried = Tried(running)
    tried.shows("ChainsLedgerForked")
    assert "fork" in tried.shell("ChainsLedgerForked")
    # runs are attested as before
    running.server.create_run(finished(running.namespace, "goes-on"))
    running.wait(lambda: tried.is_true("goes-on"))


def rewrite(log: LogFolder) -> None:
    """Give a log another history from its second day on."""
    days = log.days()
    for day in days[1:]:
        for path in log.path.glob(f"{day}*"):
            path.unlink()
    writer = LogWriter(log.path, ORIGIN, Clock(datetime.combine(days[1], datetime.min.time(), UTC)))
    writer.append([fact("failed", 10, reason="another history")])
    for number in range(20, 60):
        writer.append([seen(number)])
    writer.close(ends=False)
