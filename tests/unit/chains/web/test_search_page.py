"""The page of results."""

from __future__ import annotations

import json

from chains.web.viewer import Viewer
from tests.unit.chains.web.world import Client, World, visible


def test_a_query_is_shown_as_chips_each_of_which_can_be_removed(world: World) -> None:
    text = world.page("/search?q=namespace:ci+type:provenance")
    assert "namespace is ci" in visible(text)
    assert 'href="/search?q=namespace%3Aci"' in text


def test_a_query_that_is_not_understood_is_told_and_searches_nothing(world: World) -> None:
    text = visible(world.page("/search?q=colour:blue", 400))
    assert "unknown key colour:" in text
    assert "nothing was searched" in text


def test_nothing_found_says_what_was_compared_and_where(world: World) -> None:
    text = visible(world.page("/search?q=namespace:nowhere"))
    assert "Nothing found" in text
    assert "namespaces of runs" in text
    assert "oci-layout:.chains/layout" in text


def test_pages_follow_each_other_without_a_gap(world: World) -> None:
    async def work(client: Client) -> list[str]:
        seen: list[str] = []
        async with client.get("/search.json") as response:
            every = [one["digest"] for one in json.loads(await response.read())["results"]]
        path = "/search?limit=7"
        for _ in range(50):
            async with client.get(path) as response:
                text = await response.text()
            seen += [part.split('"')[0] for part in text.split('href="/attestation/sha256/')[1:]]
            _, found, _ = text.partition('rel="next"')
            if not found:
                break
            before = text.partition('rel="next"')[0].rpartition('<a href="')[2]
            path = before.split('"')[0].replace("&amp;", "&") + "&limit=7"
        assert [f"sha256:{one}" for one in seen] == every
        return seen

    assert len(world.serve(work)) > 20


def test_what_did_not_verify_is_told_with_its_reason_and_never_as_confirmed(world: World) -> None:
    text = visible(world.page("/search?q=verdict:failed"))
    assert "Not confirmed key_unknown" in text
    assert "Confirmed key SHA256" not in text


def test_the_csv_has_exactly_the_filter_of_the_page(world: World) -> None:
    async def work(client: Client) -> str:
        async with client.get("/search.csv?q=verdict:failed") as response:
            assert response.headers["Content-Disposition"] == 'attachment; filename="search.csv"'
            return await response.text()

    lines = world.serve(work).splitlines()
    assert lines[0].startswith('"verdict",')
    assert len(lines) > 1
    assert all(line.startswith('"failed",') for line in lines[1:])


def test_a_viewer_of_other_namespaces_finds_nothing_and_no_facet(world: World) -> None:
    text = world.page("/search", viewer=Viewer("other", ("shop",)))
    assert "storefront" not in text
    assert "Nothing found" in visible(text)


def test_values_of_the_page_narrow_the_search_and_count_what_is_on_it(world: World) -> None:
    page = world.page("/search?q=namespace:ci")
    text = visible(page)
    listed = json.loads(_json(world, "namespace:ci"))["results"]
    number = sum(one["repository"] == "https://git.example.com/shop/storefront" for one in listed)
    assert number > 1
    assert f"https://git.example.com/shop/storefront {number}" in text
    assert (
        'href="/search?q=namespace%3Aci+repo%3A%22https%3A%2F%2Fgit.example.com%2Fshop%2Fstorefront%22"'
        in page
    )


def _json(world: World, query: str) -> bytes:
    async def work(client: Client) -> bytes:
        async with client.get("/search.json", params={"q": query}) as response:
            return await response.read()

    return world.serve(work)
