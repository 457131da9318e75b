"""What every answer has, who may ask, and how pages are kept."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

from chains.errors import UsageError
from chains.index.database import place_of
from chains.web.application import CONTENT_SECURITY_POLICY, application
from chains.web.process import check_address
from chains.web.settings import WebSettings
from chains.web.source import Source
from chains.web.viewer import Viewer
from tests.unit.chains.web.world import Client, World, visible

IMAGE = "a2b88c48bfca"


def test_every_answer_forbids_what_a_page_does_not_need(world: World) -> None:
    async def work(client: Client) -> None:
        for path in ("/", "/search", "/nothing", "/search?q=foo:bar", "/static/style.css", "/search.csv"):
            async with client.get(path) as response:
                assert response.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY, path
                assert response.headers["X-Content-Type-Options"] == "nosniff", path
                assert response.headers["Referrer-Policy"] == "no-referrer", path

    world.serve(work)


def test_the_policy_loads_nothing_from_elsewhere_and_runs_no_inline_code() -> None:
    parts = dict(part.strip().split(" ", 1) for part in CONTENT_SECURITY_POLICY.split(";"))
    assert parts == {
        "default-src": "'none'",
        "style-src": "'self'",
        "script-src": "'self'",
        "img-src": "'self'",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }


def test_nothing_but_reading_is_allowed(world: World) -> None:
    async def work(client: Client) -> None:
        for path in ("/", "/search", "/static/style.css"):
            for method in ("POST", "PUT", "DELETE", "PATCH"):
                async with client.request(method, path) as response:
                    assert response.status == 405, (method, path)

    world.serve(work)


def test_a_file_that_is_not_there_is_no_page(world: World) -> None:
    async def work(client: Client) -> None:
        for path in ("/static/none.css", "/static/", "/static/a/b", "/static/style.css/x"):
            async with client.get(path) as response:
                assert (response.status, await response.text()) == (404, "404: Not Found"), path
                assert response.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
        async with client.get("/statics") as response:
            assert response.status == 404
            assert "No such page" in await response.text()

    world.serve(work)


def test_a_name_of_the_web_that_leads_to_this_machine_is_refused(world: World) -> None:
    async def work(client: Client) -> None:
        async with client.get("/", headers={"Host": "rebound.example:8088"}) as response:
            assert response.status == 421
            assert "shop" not in await response.text()
        for host in ("localhost:8088", "127.0.0.1", "[::1]:8088"):
            async with client.get("/", headers={"Host": host}) as response:
                assert response.status == 200, host

    world.serve(work)


def test_an_address_that_others_reach_needs_access_control() -> None:
    for host in ("0.0.0.0", "::", "192.0.2.7", "browser.example"):
        with pytest.raises(UsageError, match="nobody is asked who they are"):
            check_address(host, has_access=False)
        check_address(host, has_access=True)
    for host in ("127.0.0.1", "::1", "localhost", "127.8.9.1"):
        check_address(host, has_access=False)


def test_a_page_is_kept_until_the_index_changes_and_for_each_view_alone(world: World) -> None:
    async def work(client: Client) -> None:
        async with client.get("/search?q=namespace:ci") as first:
            etag, text = first.headers["ETag"], await first.text()
        async with client.get("/search?q=namespace:ci", headers={"If-None-Match": etag}) as second:
            assert second.status == 304
            assert await second.read() == b""
        async with client.get("/search?q=namespace:ci", headers={"If-None-Match": '"other"'}) as third:
            assert (third.status, third.headers["ETag"]) == (200, etag)
            assert await third.text() == text

    world.serve(work)
    hidden = world.page("/search?q=namespace:ci", viewer=Viewer("other", ("somewhere-else",)))
    assert "storefront" not in visible(hidden).replace("storefront-", "storefront")


def test_an_index_that_is_not_built_is_told_with_the_command_that_builds_it(tmp_path: Path) -> None:
    place = place_of(str(tmp_path / "none.db"))

    async def work() -> tuple[int, str]:
        source = Source(place)
        app = application(source, WebSettings(place))
        async with TestClient(TestServer(app)) as client, client.get("/search") as response:
            found = response.status, await response.text()
        await source.close()
        return found

    status, text = asyncio.run(work())
    assert status == 503
    assert "The index is not built" in text
    assert "chains index build" in text


def test_a_path_with_two_slashes_is_no_link_to_another_host(world: World) -> None:
    async def work(client: Client) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
        writer.write(b"GET //evil.example/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        text = (await reader.read()).decode()
        writer.close()
        return text

    text = world.serve(work)
    assert text.startswith("HTTP/1.1 404")
    assert 'href="//' not in text
    assert 'href="/evil.example/x"' in text


def test_a_day_before_the_calendar_is_the_reader_s_mistake(world: World) -> None:
    async def work(client: Client) -> None:
        for path, status in (
            ("/?until=0001-01-01", 400),
            ("/?until=9999-12-31", 200),
            ("/?days=400&until=1970-01-01", 200),
        ):
            async with client.get(path) as answer:
                assert answer.status == status, path

    world.serve(work)
