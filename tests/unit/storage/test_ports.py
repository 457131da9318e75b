"""Opening stores by URL, and the parts that all of them share."""

from __future__ import annotations

import asyncio

import pytest
from yarl import URL

from storage.base import Store, StoreOptions
from storage.errors import StoreRejected
from storage.http_client.attempts import Later, NoTls
from storage.http_client.connections import Connections, Proxies
from storage.limits.single_flight import InFlight
from storage.open import open_store
from storage.record import Findings, Record, Stored
from tests.unit.storage.fake_registry import serving


@pytest.mark.parametrize("url", ["", "oci", "s3-nowhere:bucket", "https://registry.example/app", ":x"])
def test_an_unknown_store_is_rejected_with_the_known_ones(url: str) -> None:
    with pytest.raises(StoreRejected, match=r"expected one of .*oci-layout:, oci:"):
        open_store(url)


def test_a_store_that_knows_no_runs_finds_none() -> None:
    class Nowhere(Store):
        async def put(self, record: Record) -> Stored:
            return Stored()

        async def find(self, digest: str, reference: str = "") -> Findings:
            return Findings()

    async def work() -> None:
        async with Nowhere() as store:
            assert await store.find_run("uid") == Findings()

    asyncio.run(work())


def test_proxies_are_the_environments_and_never_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "near.example")
    monkeypatch.delenv("http_proxy", raising=False)
    proxies = Proxies()
    assert proxies.choose(URL("https://registry.example/v2/")) == "http://proxy.example:3128"
    assert proxies.choose(URL("http://registry.example/v2/")) is None
    assert proxies.choose(URL("https://near.example/v2/")) is None
    assert proxies.choose(URL("https://127.0.0.1:5000/v2/")) is None
    assert proxies.choose(URL("https://[::1]:5000/v2/")) is None
    assert proxies.choose(URL("https://localhost/v2/")) is None


def test_requests_go_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        async with serving() as proxy:
            monkeypatch.setenv("http_proxy", f"http://{proxy.host}")
            connections = Connections(StoreOptions())
            answer = await connections.send("GET", URL("http://registry.example/v2/"), {})
            await connections.close()
        assert answer.status == 200
        assert proxy.seen == ["GET http://registry.example/v2/"]

    asyncio.run(work())


def test_plain_http_where_tls_is_spoken_to_is_no_tls() -> None:
    async def work() -> None:
        async with serving() as registry:
            connections = Connections(StoreOptions(timeout=2))
            with pytest.raises((NoTls, Later)):
                await connections.send("GET", URL(f"https://{registry.host}/v2/"), {})
            await connections.close()

    asyncio.run(work())


def test_a_host_that_does_not_exist_may_exist_later() -> None:
    async def work() -> None:
        connections = Connections(StoreOptions(timeout=5))
        with pytest.raises(Later, match="cannot connect"):
            await connections.send("GET", URL("http://registry.invalid/v2/"), {})
        await connections.close()

    asyncio.run(work())


def test_work_in_flight_is_shared_and_survives_a_cancelled_waiter() -> None:
    async def work() -> None:
        started, may_end = [], asyncio.Event()

        async def slow() -> int:
            started.append(1)
            await may_end.wait()
            return len(started)

        flights: InFlight[str, int] = InFlight()
        first = asyncio.ensure_future(flights.run("a", slow))
        second = asyncio.ensure_future(flights.run("a", slow))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        assert not second.done()
        may_end.set()
        assert await second == 1
        assert await flights.run("a", slow) == 2

    asyncio.run(work())


def test_a_failure_in_flight_reaches_every_waiter() -> None:
    async def work() -> None:
        async def failing() -> int:
            await asyncio.sleep(0)
            raise ValueError("no")

        flights: InFlight[str, int] = InFlight()
        ended = await asyncio.gather(*(flights.run("a", failing) for _ in range(3)), return_exceptions=True)
        assert [str(error) for error in ended] == ["no"] * 3

    asyncio.run(work())
