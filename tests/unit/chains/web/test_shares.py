"""One viewer's burst refuses nobody else, and the probe of readiness waits for nobody."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

from chains.index.database import Place
from chains.index.query.scope import View
from chains.web.access.metrics import AccessMetrics
from chains.web.health import health_application
from chains.web.shares import Shares, TooBusy
from chains.web.source import OF_VIEWER, THREADS, WAITING, Source
from chains.web.viewer import LOCAL, Viewer
from tests.unit.chains.index.query.index import Row, Run, sqlite_index

ALICE, BOB = Viewer("alice", ("shop",)), Viewer("bob", ("shop",))
UID = "00000000-0000-4000-8000-000000000001"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    made = [Row("aa" * 32, Run(UID, "shop", "build-1"), "x", namespace="shop")]
    return sqlite_index(tmp_path_factory.mktemp("index") / "index.db", made)


def with_burst(
    place: Place, viewers: list[Viewer], number: int, work: Callable[[Source, list[str]], Awaitable[None]]
) -> list[str]:
    """Run ``work`` while each viewer has asked ``number`` times for what does not end yet.

    Returns what became of these requests. ``work`` gets those that were refused at once.
    """

    async def run() -> list[str]:
        source, gone_on, told = Source(place), threading.Event(), list[str]()

        def wait(_: View) -> None:
            gone_on.wait()

        async def ask(viewer: Viewer) -> None:
            try:
                await source.read(viewer, wait)
            except TooBusy as error:
                told.append(f"{viewer.name}: {error}")
            else:
                told.append(f"{viewer.name}: answered")

        asked = [asyncio.ensure_future(ask(viewer)) for viewer in viewers for _ in range(number)]
        try:
            await asyncio.sleep(0)  # each has begun, and waits for a thread or was refused
            await work(source, list(told))
        finally:
            gone_on.set()
            await asyncio.gather(*asked)
            await source.close()
        return told

    return asyncio.run(run())


REFUSED = "too many of your requests wait for the index: wait for their answers"


def test_a_burst_of_one_viewer_keeps_nobody_else_waiting(place: Place) -> None:
    async def work(source: Source, told: list[str]) -> None:
        assert told == [f"alice: {REFUSED}"] * 84
        assert (await source.ask(BOB, "")).count.number == 1

    told = with_burst(place, [ALICE], 100, work)
    assert told.count("alice: answered") == OF_VIEWER == 16


def test_the_index_is_checked_while_every_thread_is_taken(place: Place) -> None:
    viewers = [Viewer(f"viewer {number}", ("shop",)) for number in range(9)]

    async def work(source: Source, _: list[str]) -> None:
        with pytest.raises(
            TooBusy, match=r"^too many requests wait for the index: try again in some seconds$"
        ):
            await source.read(BOB, lambda view: view)
        app = health_application(source, AccessMetrics())
        async with TestClient(TestServer(app)) as client, client.get("/readyz") as answer:
            assert (answer.status, await answer.text()) == (200, "ok\n")

    told = with_burst(place, viewers, 20, work)
    assert sum(one.endswith(": answered") for one in told) == THREADS + WAITING


def test_the_user_of_this_machine_has_all_places(place: Place) -> None:
    async def work(source: Source, told: list[str]) -> None:
        assert told == []

    assert with_burst(place, [LOCAL], THREADS + WAITING, work) == ["local user: answered"] * 68


def test_an_index_that_is_gone_is_not_ready(tmp_path: Path) -> None:
    async def run() -> int:
        source = Source(Place(path=str(tmp_path / "none.db")))
        app = health_application(source, AccessMetrics())
        try:
            async with TestClient(TestServer(app)) as client, client.get("/readyz") as answer:
                return answer.status
        finally:
            await source.close()

    assert asyncio.run(run()) == 503


def test_what_was_refused_or_left_takes_no_place() -> None:
    async def run() -> None:
        shares, gone_on = Shares(2, 4, 2), asyncio.Event()

        async def work(viewer: Viewer) -> str:
            async with shares.turn(viewer, "wait"):
                await gone_on.wait()
            return viewer.name

        async def refused(viewer: Viewer) -> bool:
            try:
                async with shares.turn(viewer, "wait"):
                    return False
            except TooBusy:
                return True

        one, two = asyncio.ensure_future(work(ALICE)), asyncio.ensure_future(work(ALICE))
        await asyncio.sleep(0)
        assert [await refused(ALICE), await refused(BOB)] == [True, False]
        two.cancel()  # it waited for its turn
        assert await asyncio.gather(two, return_exceptions=True) != ["alice"]
        three = asyncio.ensure_future(work(ALICE))
        await asyncio.sleep(0)
        assert await refused(ALICE)
        gone_on.set()
        assert await asyncio.gather(one, three) == ["alice", "alice"]
        assert not await refused(ALICE)

    asyncio.run(run())
