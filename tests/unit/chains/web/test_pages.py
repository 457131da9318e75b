"""Every page about evidence: it says what was confirmed, when and by whom, and what was not."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from yarl import URL

from chains.assembly.trust import open_listed_keys
from chains.index.query.terms import Key, Query
from chains.web.pages.routes import PAGES
from chains.web.source import Source
from chains.web.viewer import LOCAL, Viewer
from tests.unit.chains.web.world import EXAMPLES, Client, World, inside, seen_by, visible

MOST_SEARCHES = 25


def first(page: str, pattern: str) -> str:
    match = re.search(pattern, page)
    assert match is not None, f"no {pattern} in the page"
    return match[1].replace("&amp;", "&").replace("&#39;", "'")


def links_of(page: str) -> list[str]:
    found: list[str] = []

    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.extend(value or "" for name, value in attrs if name in ("href", "src", "action"))

    Links().feed(page)
    return found


@pytest.fixture(scope="session")
def rich(world: World) -> World:
    """The browser with everything that it can show beside the index."""
    with inside(world.folder):
        keys = open_listed_keys([str(EXAMPLES / "ledger/ledger.pub")])
    settings = replace(
        world.settings,
        records=(world.folder / "pipelinerun.json",),
        ledger=EXAMPLES / "ledger",
        ledger_keys=keys,
    )
    return replace(world, settings=settings)


def test_every_link_of_every_page_leads_somewhere(rich: World) -> None:
    async def work(client: Client) -> dict[str, int]:
        todo, seen = ["/"], {}
        while todo:
            path = todo.pop()
            searches = sum(one.startswith("/search?") for one in seen)
            if path in seen or (path.startswith("/search?") and searches >= MOST_SEARCHES):
                continue
            async with client.get(path, allow_redirects=False) as response:
                body = await response.read()
                seen[path] = response.status
                if not response.headers["Content-Type"].startswith("text/html"):
                    continue
            for link in links_of(body.decode()):
                target = link.partition("#")[0]
                assert target.startswith(("/", "https://", "http://")) or not target, (path, link)
                assert not target.startswith("//"), (path, link)
                # an export is the same rows as its page
                if target.startswith("/") and not target.startswith("/search."):
                    todo.append(target)
        return seen

    seen = rich.serve(work)
    assert {path: status for path, status in seen.items() if status != 200} == {}
    kinds = {path.split("/")[1].partition("?")[0] for path in seen}
    routes = {path.split("/")[1] for path, _ in PAGES}
    # a namesake of a control map is in reports alone
    assert routes - {"pipeline"} <= kinds


def test_every_page_has_one_heading_a_title_a_language_and_landmarks(rich: World) -> None:
    for path in (
        "/",
        "/search",
        "/gaps",
        "/ledger",
        "/signers",
        "/policies",
        "/reports",
        "/controls",
        "/about",
    ):
        page = rich.page(path)
        assert len(re.findall(r"<h1[ >]", page)) == 1, path
        assert '<html lang="en">' in page
        assert re.search(r"<title>[^<]+</title>", page), path
        assert '<main id="main"' in page
        assert 'href="#main"' in page
        assert "style=" not in page
        assert " onclick" not in page
        assert re.findall(r"<script(?![^>]* src=)", page) == []


def test_the_overview_tells_in_one_sentence_how_many_runs_are_confirmed(world: World) -> None:
    text = visible(world.page("/?days=365"))
    assert re.search(r"\d+ of \d+ runs of which there is evidence have evidence that was confirmed", text)
    assert "Runs without any evidence are not in an index" in text


def test_the_overview_s_numbers_are_those_of_the_search(world: World) -> None:
    page = world.page("/?days=365")
    legend = re.search(r"confirmed (\d+) undecided 0 not confirmed (\d+)", visible(page))
    assert legend is not None
    counted = {"confirmed": int(legend[1]), "not confirmed": int(legend[2])}

    async def work() -> dict[str, int]:
        source = Source(world.place)
        try:
            answer = await source.ask(LOCAL, Query(), limit=1000)
        finally:
            await source.close()
        # what states no end of its run is on no day of the year
        dated = [hit for hit in answer.hits if hit.finished]
        return {
            "confirmed": sum(hit.is_verified for hit in dated),
            "not confirmed": sum(not hit.is_verified for hit in dated),
        }

    assert counted == asyncio.run(work())


def test_an_artifact_says_who_confirmed_it_when_and_from_what_it_was_made(world: World) -> None:
    results = world.page("/search?q=type:provenance+image:registry.example.com/shop/storefront")
    path = first(results, r'href="(/artifact/sha256/[0-9a-f]{64})"')
    page = world.page(path)
    text = visible(page)
    assert re.search(
        r"Signature confirmed with key SHA256:\S{43} at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", text
    )
    assert path.removeprefix("/artifact/").replace("/", ":") in text
    for words in (
        "Source",
        "Built by",
        "How isolated",
        "https://git.example.com/shop/storefront",
        "Timeline",
    ):
        assert words in text
    assert 'id="family-title"' in page
    assert re.search(
        r"chains verify registry\.example\.com/shop/storefront@sha256:[0-9a-f]{64} --key signer\.pub", text
    )
    assert (
        "cosign verify-attestation --key signer.pub --insecure-ignore-tlog=true --type slsaprovenance1"
        in text
    )
    assert "Everything that was found about this artifact is confirmed" in text


def test_an_artifact_that_nothing_names_is_not_called_unsigned(world: World) -> None:
    text = visible(world.page("/artifact/sha256/" + "0" * 64, 404))
    assert "No evidence about this artifact" in text
    assert "That is not the same as unsigned" in text


def test_the_raw_statement_and_the_copies_are_the_bytes_that_were_judged(world: World) -> None:
    page = world.page("/search?q=type:provenance")
    path = first(page, r'href="(/attestation/sha256/[0-9a-f]{64})"')
    shown = world.page(path)
    copies = set(re.findall(rf'href="({path}/copy/[0-9a-f]{{64}})"', shown))
    assert copies

    async def work(client: Client) -> None:
        async with client.get(f"{path}/statement") as response:
            body = await response.read()
            assert response.headers["Content-Type"] == "application/octet-stream"
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Content-Disposition"].startswith("attachment; filename=")
            assert json.loads(body)["_type"] == "https://in-toto.io/Statement/v1"
            assert hashlib.sha256(body).hexdigest() in shown
        for copy in copies:
            async with client.get(copy) as response:
                data = await response.read()
                assert response.headers["Content-Type"] == "application/octet-stream"
                assert hashlib.sha256(data).hexdigest() == copy.rpartition("/")[2]
        async with client.get(f"{path}/copy/{'0' * 64}") as response:
            assert response.status == 404

    world.serve(work)


def test_bytes_that_changed_in_the_store_are_never_given_out(world: World, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(world.folder, copied)
    path = first(
        world.page("/search?q=type:provenance+verdict:verified"), r'href="(/attestation/sha256/[0-9a-f]{64})"'
    )
    shown = world.page(path)
    digest = first(shown, rf'href="{path}/copy/([0-9a-f]{{64}})"')
    blob = copied / ".chains/layout/blobs/sha256" / digest
    blob.write_bytes(blob.read_bytes().replace(b"payload", b"payLoad", 1))
    changed = replace(world, folder=copied)
    changed.page(f"{path}/copy/{digest}", 404)
    text = visible(changed.page(path))
    assert "The index still says what it judged" in text


def test_a_run_shows_its_tasks_as_a_picture_and_as_a_list(rich: World) -> None:
    page = rich.page(f"/run/{rich.uids['pipelinerun']}")
    text = visible(page)
    assert "From the exported record of the run, whose digest a confirmed report has." in text
    picture = page[page.index('<svg class="graph') : page.index("</svg>", page.index('<svg class="graph'))]
    listed = page[page.index("Tasks as a list") :]
    listed = listed[: listed.index("</table>")]
    for task in ("clone", "test", "integration-test", "approve", "build", "sbom", "deploy-preview", "notify"):
        assert f">{task}<" in picture
        assert f">{task}<" in listed
    for words in ("platform=linux/amd64", "platform=linux/arm64"):  # the matrix
        assert words in picture
        assert words in listed
    assert "try 2 of 3" in picture
    assert "try 1 failed" in re.sub(r"<[^>]+>", "", listed)
    assert "2 retries allowed" in listed
    assert "finally" in picture
    assert "When Expressions evaluated to false" in listed  # skipped
    waits = (
        ("clone", 0), ("test", 1), ("test", 1), ("integration-test", 1), ("approve", 4), ("build", 1),
        ("sbom", 1), ("deploy-preview", 1),
    )  # fmt: skip
    assert picture.count('class="line"') == sum(number for _, number in waits)
    assert "approve waits for clone" in picture  # it uses a result of it


def test_a_run_s_record_that_no_report_has_is_not_confirmed(world: World, tmp_path: Path) -> None:
    told = json.loads((EXAMPLES / "pipelinerun.json").read_text())
    told["items"][0]["status"]["skippedTasks"] = []
    (tmp_path / "run.json").write_text(json.dumps(told))
    settings = replace(world.settings, records=(tmp_path / "run.json",))
    text = visible(world.page(f"/run/{world.uids['pipelinerun']}", settings=settings))
    assert "Not confirmed : no confirmed report has the digest of this record." in text


def test_a_run_without_its_record_lists_the_children_of_its_report(world: World) -> None:
    text = visible(world.page(f"/run/{world.uids['pipelinerun']}"))
    assert "From the confirmed execution report" in text
    assert "It does not say which task waits for which" in text
    assert "storefront-release-4kjcq-build" in text


def test_a_task_run_shows_the_isolation_of_each_container_with_reasons(world: World) -> None:
    text = visible(world.page(f"/run/{world.uids['taskrun-image']}"))
    assert "Parameters given by the run's author" in text
    assert "Results given by the run's author" in text
    assert "requested false no annotation" in text
    assert "enforced unknown pod gone" in text


def test_a_run_by_a_stranger_is_a_claim(world: World) -> None:
    text = visible(world.page(f"/run/{world.uids['taskrun-failed']}"))
    assert "Nothing confirmed" in text
    assert "Everything below is a claim" in text
    assert "Signature confirmed" not in text


def test_a_run_that_no_evidence_names_is_absent_for_all_alike(world: World) -> None:
    absent = visible(world.page("/run/11111111-2222-4333-8444-555555555555", 404))
    hidden = world.page(f"/run/{world.uids['pipelinerun']}", 404, viewer=Viewer("other", ("shop",)))
    assert (
        visible(hidden).replace(world.uids["pipelinerun"], "11111111-2222-4333-8444-555555555555") == absent
    )
    assert "storefront" not in hidden


def test_nothing_of_another_namespace_is_on_any_page(rich: World) -> None:
    viewer = Viewer("other", ("shop",))
    commit = first(rich.page("/search?q=type:provenance+commit:f35c689"), r'href="(/commit/[0-9a-f]+)"')
    image = first(rich.page("/search?q=type:provenance"), r'href="(/artifact/sha256/[0-9a-f]{64})"')
    attestation = first(rich.page("/search?q=type:provenance"), r'href="(/attestation/sha256/[0-9a-f]{64})"')
    for path in (
        "/", "/?days=365", "/search", "/gaps", "/signers", "/policies", "/reports", "/controls", "/about",
        commit, image, attestation, f"{attestation}/statement", "/namespace/ci", "/ledger", "/ledger/2026-03-04",
        f"/run/{rich.uids['taskrun-image']}", f"/run/{rich.uids['taskrun-image']}/ledger-proof",
    ):  # fmt: skip

        async def work(client: Client, path: str = path) -> str:
            async with client.get(path) as response:
                return await response.text()

        text = rich.serve(work, viewers=(seen_by(viewer),))
        for word in ("storefront", "git.example.com", "registry.example.com"):
            assert word not in text, (path, word)


def test_a_commit_and_an_input_list_what_was_made_with_them(world: World) -> None:
    page = world.page("/commit/f35c689185a78065ee4e8c1ee6cb65f4c54a9be3")
    assert "1 attestation of runs that used it" in visible(page)
    results = world.page(f"/run/{world.uids['taskrun-image']}")
    used = first(results, r'href="(/input/sha256/[0-9a-f]{64})"')
    assert "attestation" in visible(world.page(used))
    assert "Nothing was built from it" in visible(world.page("/commit/" + "0" * 40, 404))


def test_signers_have_their_keys_to_download(world: World) -> None:
    page = world.page("/signers")
    path = first(page, r'href="(/signer/SHA256[^"]+)/key"')

    async def work(client: Client) -> bytes:
        async with client.get(URL(f"{path}/key", encoded=True)) as response:
            assert response.status == 200
            assert response.headers["Content-Type"] == "application/octet-stream"
            return await response.read()

    assert world.serve(work) == (world.folder / ".chains/signing.pub").read_bytes()


def test_a_namespace_counts_its_runs(world: World) -> None:
    text = visible(world.page("/namespace/ci"))
    assert re.search(
        r"\d+ of \d+ runs of which there is evidence have evidence that was confirmed; 1 have none", text
    )


def test_the_ledger_shows_its_days_with_their_balance_and_gaps(rich: World) -> None:
    text = visible(rich.page("/ledger"))
    assert "Unbroken Closed and signed up to 2026-03-05 00:00:00 UTC" in text
    assert "began again with a list" in text
    day = visible(rich.page("/ledger/2026-03-04"))
    assert "1 open before, plus 1 seen, minus 2 finished, minus 0 removed, is 0 open after" in day
    assert "chains ledger verify LEDGER --key ledger.pub --until 2026-03-04" in day
    first = visible(rich.page("/ledger/2026-03-02"))
    assert "keys none signers SHA256:4Yz0cQ7gJ6m2o0v1Yt8l0w9Yw0mQd3uWmZ8o4rJ5p7E, ledger SHA256:" in first
    assert f"config none digest {'9b' * 32} 2026-03-02" in first
    assert "datetime" not in first
    rich.page("/ledger/2026-01-01", 404)
    rich.page("/ledger/yesterday", 400)
    rich.page(f"/ledger?page={'9' * 5000}", 200)


def test_a_ledger_without_a_key_is_never_called_verified(rich: World) -> None:
    settings = replace(rich.settings, ledger_keys=())
    text = visible(rich.page("/ledger", settings=settings))
    assert "Not verified" in text
    assert "Unbroken" not in text


def test_about_lists_every_key_of_the_search(world: World) -> None:
    text = visible(world.page("/about"))
    for key in Key:
        assert f"{key.value}:" in text
