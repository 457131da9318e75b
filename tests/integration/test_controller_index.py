"""The controller feeds an index: a real API server, PostgreSQL and an object store, killed and stopped in between."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chains.cli.main import run as chains
from chains.index.database import Place, place_of
from chains.index.errors import IndexAbsent, IndexUnavailable
from tests.integration.test_controller import Running, controller, finished
from tests.testbed import postgres
from tests.testbed.s3 import S3Server
from tests.unit.chains.index.made import content, rows

__all__ = ["controller"]
pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[postgres.Postgres]:
    with postgres.postgres("embedded", tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture
def bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    for name, value in s3_server.environ().items():
        monkeypatch.setenv(name, value)
    return s3_server.make_bucket(f"fed-{abs(hash(request.node.nodeid))}")


def metric(running: Running, name: str) -> float:
    lines = running.ask("/metrics")[1].splitlines()
    return next((float(line.split()[1]) for line in lines if line.startswith(f"{name} ")), -1.0)


def known(place: Place) -> set[str]:
    """Return the names of the runs that the index knows; none while the database is away."""
    try:
        return {one["name"] for one in rows(place, "run", verdict=0)}
    except (IndexUnavailable, IndexAbsent):
        return set()


def test_what_the_controller_marks_is_in_the_index_whatever_ends_it_or_the_database(
    controller: Callable[..., Running],
    database: postgres.Postgres,
    bucket: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = database.database()
    place, store = place_of(url), f"s3://{bucket}"
    running = controller(
        artifacts_oci_storage="s3",
        artifacts_taskrun_storage="s3",
        storage_s3_bucket=bucket,
        index_url=url,
    )
    key = str(running.keys / "x509.pub")
    assert chains(["index", "build", "--index", url, "--store", store, "--key", key]) == 0
    running.start()
    # 1. what is marked is in the index soon, verified
    for number in range(3):
        running.server.create_run(finished(running.namespace, f"first-{number}"))
    running.wait(lambda: known(place) == {"first-0", "first-1", "first-2"})
    running.wait(lambda: metric(running, "chains_index_runs_waiting") == 0)
    assert metric(running, "chains_index_runs_fed_total") == 3
    # 2. the database is away: runs are marked all the same, and wait
    database.stop()
    for number in range(3):
        running.server.create_run(finished(running.namespace, f"away-{number}"))
    for number in range(3):
        running.attested(f"away-{number}")
    running.wait(lambda: metric(running, "chains_index_errors_total") >= 1)
    assert metric(running, "chains_index_runs_waiting") == 3
    assert metric(running, "chains_index_lag_seconds") > 0
    database.start()
    running.wait(lambda: {f"away-{number}" for number in range(3)} <= known(place))
    # 3. the controller is killed while the database is away: what waited is lost, and an update finds it
    database.stop()
    for number in range(3):
        running.server.create_run(finished(running.namespace, f"lost-{number}"))
    for number in range(3):
        running.attested(f"lost-{number}")
    running.stop(signal.SIGKILL)
    database.start()
    assert not any(name.startswith("lost") for name in known(place))
    running.start()
    running.server.create_run(finished(running.namespace, "last"))
    running.wait(lambda: "last" in known(place))
    assert running.stop() == 0
    assert not any(name.startswith("lost") for name in known(place))
    capsys.readouterr()
    assert chains(["index", "update", "--index", url, "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["removed"] == 0
    assert {name.partition("-")[0] for name in known(place)} == {"first", "away", "lost", "last"}
    fresh = database.database()
    assert chains(["index", "build", "--index", fresh, "--store", store, "--key", key]) == 0
    assert without_times(place) == without_times(place_of(fresh))
    # a log line for each trouble, not for each attempt
    troubles = [
        line for line in running.log.read_text().splitlines() if "cannot be added to the index" in line
    ]
    assert 1 <= len(troubles) <= 8


def without_times(place: Place) -> dict[str, list[tuple[object, ...]]]:
    """Return what an index has but for when it was checked, and who is told as trusted in which words."""
    found = content(place)
    found["attestation"] = [tuple(part for part in row if not _is_time(part)) for row in found["attestation"]]
    return {name: some for name, some in found.items() if name not in {"store", "meta", "unread"}}


def _is_time(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 1_700_000_000


def test_several_replicas_feed_one_index(
    controller: Callable[..., Running], database: postgres.Postgres, bucket: str
) -> None:
    url = database.database()
    place, store = place_of(url), f"s3://{bucket}"
    settings = {"artifacts_oci_storage": "s3", "artifacts_taskrun_storage": "s3", "storage_s3_bucket": bucket}
    running = controller(**settings, index_url=url)
    key = str(running.keys / "x509.pub")
    assert chains(["index", "build", "--index", url, "--store", store, "--key", key]) == 0
    running.start()
    # another writer holds the lock for a while, as another replica or an update does
    from chains.index.target import Target

    other = Target(place, place, "chains_index", is_build=False)
    other.connection()
    running.server.create_run(finished(running.namespace, "held-up"))
    running.attested("held-up")
    running.wait(lambda: metric(running, "chains_index_runs_waiting") == 1)
    other.close()
    running.wait(lambda: known(place) == {"held-up"})
    assert running.stop() == 0
