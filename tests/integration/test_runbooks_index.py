"""The runbooks of the index are tried on a controller that feeds one."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from chains.cli.main import run as chains
from chains.index.database import place_of
from tests.integration.test_controller import Running, controller, finished
from tests.integration.test_controller_index import bucket, database, known, metric
from tests.integration.test_runbooks import Tried
from tests.testbed import postgres

__all__ = ["bucket", "controller", "database"]
pytestmark = pytest.mark.server
FEW = "import functools, sys, chains.controller.process as p; p.Feed = functools.partial(p.Feed, most=2); from chains.cli.main import run; sys.exit(run(sys.argv[1:]))"
"""The command, with a queue of two runs in place of 10,000."""


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
