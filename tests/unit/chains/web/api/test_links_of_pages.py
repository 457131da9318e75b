"""Each page leads to the same data in the API, where the API has it."""

from __future__ import annotations

import html
import re
from pathlib import Path

from tests.unit.chains.web.api.asked import Get, asked
from tests.unit.chains.web.api.beside import beside
from tests.unit.chains.web.world import World, inside

LINK = re.compile(rb'<a href="([^"]*)">(API[^<]*)</a>')


async def link_of(get: Get, page: str, label: str = "API") -> str:
    answer = await get(page)
    assert answer.status == 200, page
    found = {text.decode(): html.unescape(path.decode()) for path, text in LINK.findall(answer.body)}
    return found.get(label, "")


def test_each_page_leads_to_the_same_query_of_the_api(world: World, tmp_path: Path) -> None:
    settings = beside(world, tmp_path)
    uid = world.uids["pipelinerun"]

    async def work(get: Get) -> None:
        async def told(page: str, label: str = "API") -> tuple[str, object]:
            path = await link_of(get, page, label)
            answer = await get(path)
            assert answer.status == 200, path
            return path, answer.json

        # a page of a search, and the one after it
        path, first = await told("/search?q=type:provenance+namespace:ci&limit=1")
        slsa = "https%3A%2F%2Fslsa.dev%2Fprovenance%2F%2A"
        assert path == f"/api/v1/search?q=namespace%3Aci+type%3A{slsa}&limit=1"
        assert isinstance(first, dict)
        (only,) = first["results"]
        assert only["predicateType"].startswith("https://slsa.dev/provenance/")
        assert only["digest"].encode() in (await get("/search.json?q=type:provenance+namespace:ci")).body
        everything = (await get("/api/v1/search?limit=1")).json
        cursor = everything["next"].rpartition("cursor=")[2]
        path, second = await told(f"/search?limit=1&cursor={cursor}")
        assert path == f"/api/v1/search?limit=1&cursor={cursor}"
        assert second == (await get(everything["next"])).json
        assert await link_of(get, "/search?q=shop&limit=9999") == "/api/v1/search?q=name%3Ashop&limit=500"
        assert await link_of(get, "/namespace/ci") == "/api/v1/search?q=namespace%3Aci"

        every = (await get("/api/v1/search?q=type:provenance")).json["results"]
        one = next(one for one in every if one["subjects"])
        digest = one["subjects"][0]["digest"].replace(":", "/")
        for page in (f"/artifact/{digest}", f"/attestation/{one['digest'].replace(':', '/')}", f"/run/{uid}"):
            assert (await told(page))[0] == f"/api/v1{page}"
        assert (await told("/gaps"))[0] == "/api/v1/gaps"
        path, audit = await told("/gaps?at=2026-11-20T00:00:00Z&state=failed", "API of the audit")
        assert path == "/api/v1/audit?at=2026-11-20T00%3A00%3A00Z&state=failed"
        assert isinstance(audit, dict)
        assert [run["state"] for run in audit["runs"]] == ["failed"]
        for page in ("/ledger", "/reports"):
            assert (await told(page))[0] == f"/api/v1{page}"
        for page in ("/", "/about", "/policies"):
            assert await link_of(get, page) == "", page

    with inside(world.folder):
        asked(world.place, work, settings=settings)


def test_no_page_leads_to_what_the_api_has_not(world: World) -> None:
    async def work(get: Get) -> None:
        for page in ("/reports", "/ledger", "/artifact/sha256/" + "99" * 32, "/run/none"):
            assert not LINK.findall((await get(page)).body), page

    with inside(world.folder):
        asked(world.place, work)
    # without the API there is nothing to lead to
    assert not LINK.findall(world.page("/search?q=namespace:ci").encode())
