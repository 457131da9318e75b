"""An error of the server says what to do, and names no path and no database of the server."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

from chains.index.database import Place, place_of
from chains.web.access.metrics import AccessMetrics
from chains.web.health import health_application
from chains.web.source import Source
from chains.web.viewer import LOCAL, Viewer
from tests.unit.chains.web.api.asked import get_all
from tests.unit.chains.web.world import World, inside, visible

ALICE, AUDITOR = Viewer("alice", ("shop",)), Viewer("auditor", None)
IMAGE = "11" * 32
PATHS = (
    "/",
    "/search",
    "/search.json",
    f"/artifact/sha256/{IMAGE}",
    "/api/v1/search",
    f"/api/v1/lineage/sha256/{IMAGE}",
    f"/badge/sha256/{IMAGE}.svg",
)


def _absent(folder: Path) -> Place:
    return place_of(str(folder / "rocket.db"))


def _damaged(folder: Path) -> Place:
    path = folder / "rocket.db"
    path.write_bytes(b"SQLite format 3\0" + b"rocket" * 1000)
    return place_of(str(path))


def _silent(_: Path) -> Place:
    return place_of("postgresql://rocket:hunter2@127.0.0.1:1/rocket")


def _misspelt(_: Path) -> Place:
    return place_of("postgresql://rocket:hun%ter2@127.0.0.1:1/rocket")


PLACES = pytest.mark.parametrize("make", [_absent, _damaged, _silent, _misspelt])


@PLACES
@pytest.mark.parametrize("viewer", [ALICE, AUDITOR], ids=["some", "all"])
def test_no_answer_names_the_place_of_the_index(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, make: object, viewer: Viewer
) -> None:
    assert callable(make)
    place = make(tmp_path)
    for path, answer in zip(PATHS, get_all(place, PATHS, viewer), strict=True):
        assert answer.status == 503, path
        for secret in (b"rocket", b"hunter2", b"127.0.0.1:1", str(tmp_path).encode()):
            assert secret not in answer.body, path
    reasons = [str(getattr(record, "reason", "")) for record in caplog.records]
    assert any("rocket" in reason for reason in reasons)
    assert not any("hunter2" in reason for reason in reasons)


@PLACES
def test_readiness_says_what_is_the_matter_and_not_where(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, make: object
) -> None:
    assert callable(make)
    place = make(tmp_path)

    async def run() -> tuple[int, str]:
        source = Source(place)
        app = health_application(source, AccessMetrics())
        try:
            async with TestClient(TestServer(app)) as client, client.get("/readyz") as answer:
                return answer.status, await answer.text()
        finally:
            await source.close()

    what = (
        "the index is not built: chains index build makes one"
        if make is _absent
        else "the index cannot be read now, so nothing was searched"
    )
    assert asyncio.run(run()) == (503, f"no index can be read: {what}\n")
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "rocket" in str(getattr(caplog.records[0], "reason", ""))


def test_the_user_of_this_machine_is_told_the_place(tmp_path: Path) -> None:
    place = _absent(tmp_path)
    (answer,) = get_all(place, ["/search"], LOCAL)
    assert (answer.status, str(place).encode() in answer.body) == (503, True)


def test_a_ledger_that_cannot_be_read_is_told_without_its_folder(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "rocket"
    folder.write_text("no folder")
    settings = replace(world.settings, ledger=folder)
    uid = world.uids["pipelinerun"]
    with inside(world.folder):
        page = visible(world.page(f"/run/{uid}", viewer=Viewer("alice", ("ci",)), settings=settings))
        assert "The ledger cannot be read now. Tell whoever runs this page: its log says more." in page
        assert "rocket" not in page
        assert "rocket" in str(getattr(caplog.records[-1], "reason", ""))
        for path, status in (("/", 200), ("/ledger", 503)):
            assert "rocket" not in world.page(path, status, AUDITOR, settings), path
