"""The API: pages that follow each other, answers that are asked for again, badges, and verification now."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from chains.index.codes import Verdict
from chains.index.database import place_of
from chains.verify.criteria import Criteria
from chains.web.api import handlers, shapes
from chains.web.api import verify_now as verifying
from chains.web.api.badge import picture
from chains.web.api.verify_now import Trusting, VerifyNow
from chains.web.shares import TooBusy
from chains.web.source import Source
from chains.web.viewer import Viewer
from signers.keys.public_key import load_public_keys
from storage.base import Store, StoreOptions
from storage.open import open_store
from tests.unit.chains.index.query.index import Row, Run, sqlite_index
from tests.unit.chains.web.api.asked import EVERYTHING, Get, asked, get_all
from tests.unit.chains.web.world import World, inside

IMAGE = "11" * 32


def row(
    number: int, namespace: str = "shop", verdict: Verdict = Verdict.VERIFIED, digest: str = IMAGE
) -> Row:
    return Row(
        f"{number:064x}",
        Run(
            f"00000000-0000-4000-8000-{number:012}",
            namespace,
            f"build-{number}",
            finished=1_790_000_000 + number,
        ),
        "https://slsa.dev/provenance/v1",
        verdict=verdict,
        finished=1_790_000_000 + number,
        namespace=namespace,
        subjects=((f"sha256:{digest}", "registry.example/shop"),),
    )


def test_links_lead_through_all_pages_without_a_row_twice(tmp_path: Path) -> None:
    made = [row(number, verdict=Verdict.FAILED) for number in range(1, 8)]
    place = sqlite_index(tmp_path / "index.db", made)

    async def work(get: Get) -> None:
        for first, rows, key in (
            ("/api/v1/search?limit=3", "results", "digest"),
            ("/api/v1/gaps?limit=3&from=2026-01", "runs", "uid"),
        ):
            found: list[str] = []
            path, pages = first, 0
            while path:
                told = (await get(path)).json
                found += [one[key] for one in told[rows]]
                path, pages = told["next"], pages + 1
            assert (len(found), len(set(found)), pages) == (7, 7, 3), first
        # a cursor belongs to its query
        following = (await get("/api/v1/gaps?limit=3&from=2026-01")).json["next"]
        assert (await get(following.replace("from=2026-01", "from=2026-02"))).status == 400

    asked(place, work)


def test_an_answer_that_did_not_change_is_not_sent_again(tmp_path: Path) -> None:
    place = sqlite_index(tmp_path / "index.db", [row(1)])

    async def work(get: Get) -> None:
        for path in ("/api/v1/search", f"/badge/sha256/{IMAGE}.svg", "/api/v1/openapi.json", "/api/v1/gaps"):
            first = await get(path)
            tag = first.headers["ETag"]
            assert re.fullmatch(r'"[0-9a-f]{32}"', tag)
            assert first.headers["Cache-Control"] == "private, no-cache"
            assert first.headers["Vary"] == "Authorization, Cookie"
            for given in (tag, f'"x", W/{tag}', "*"):
                again = await get(path, If_None_Match=given)
                assert (again.status, again.body, again.headers["ETag"]) == (304, b"", tag)
            for given in ('"x"', tag.strip('"'), ""):
                assert (await get(path, If_None_Match=given)).status == 200

    asked(place, work)


def test_a_lineage_with_too_much_says_that_it_lacks_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "MOST_STATEMENTS", 3)
    place = sqlite_index(tmp_path / "index.db", [row(number) for number in range(1, 7)])
    (answer,) = get_all(place, [f"/api/v1/lineage/sha256/{IMAGE}"])
    assert answer.json["notRead"] == [
        "more than 3 statements are near: the rest was left out; pass a smaller --depth"
    ]


def test_the_api_only_reads(tmp_path: Path) -> None:
    place = sqlite_index(tmp_path / "index.db", [row(1)])

    async def work(get: Get) -> None:
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            answer = await get("/api/v1/search", method)
            assert (answer.status, answer.headers["Content-Type"]) == (405, "application/problem+json")
            assert "GET" in answer.headers["Allow"]
        assert (await get("/api/v1/search", "HEAD")).status == 200

    asked(place, work)


def test_an_index_that_is_not_there_is_told_without_its_place(tmp_path: Path) -> None:
    place = place_of(str(tmp_path / "secret-place" / "index.db"))
    for answer in get_all(
        place, ["/api/v1/search", "/api/v1/run/x", "/api/v1/lineage/sha256/aa", "/api/v1/gaps"]
    ):
        assert answer.status == 503
        assert answer.json["type"].endswith("/no-index")
        assert b"secret-place" not in answer.body
    (badge,) = get_all(place, [f"/badge/sha256/{IMAGE}.svg"])
    assert (badge.status, b"evidence: unknown" in badge.body) == (503, True)


def test_an_index_that_is_damaged_is_told_without_its_words(tmp_path: Path) -> None:
    path = tmp_path / "secret-place.db"
    sqlite_index(path, [row(1)])
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    (answer,) = get_all(place_of(str(path)), ["/api/v1/search"])
    assert answer.status == 503
    assert b"secret-place" not in answer.body


def test_a_badge_says_what_was_confirmed_when_and_no_more(tmp_path: Path) -> None:
    images = {name: f"{number:02x}" * 32 for number, name in enumerate(("good", "bad", "both", "odd"), 1)}
    made = [
        row(1, digest=images["good"]),
        row(2, digest=images["bad"], verdict=Verdict.FAILED),
        row(3, digest=images["both"], verdict=Verdict.FAILED),
        row(4, digest=images["both"]),
        row(5, digest=images["odd"], verdict=Verdict.INDETERMINATE),
    ]
    place = sqlite_index(tmp_path / "index.db", made)
    paths = [f"/badge/sha256/{digest}.svg" for digest in (*images.values(), "ff" * 32)]
    words = []
    for answer in get_all(place, paths):
        assert (answer.status, answer.headers["Content-Type"]) == (200, "image/svg+xml")
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        root = ET.fromstring(answer.body)
        assert root.attrib["role"] == "img"
        words.append(root.attrib["aria-label"])
        assert not re.search(rb"<script|href|style=| on", answer.body)
    assert words == [
        "evidence: confirmed 21 Sep 2026",
        "evidence: not confirmed",
        "evidence: confirmed 21 Sep 2026",
        "evidence: not confirmed",
        "evidence: unknown",
    ]


def test_every_picture_is_wide_enough_for_its_words() -> None:
    for words in ("confirmed 28 Nov 2026", "not confirmed", "unknown"):
        root = ET.fromstring(picture(words))
        assert int(root.attrib["width"]) > 6 * (len(words) + len("evidence"))


def trusting(world: World) -> Trusting:
    return Trusting(Criteria(keys=load_public_keys(world.folder / ".chains/signing.pub")))


def image_of(world: World) -> tuple[str, str]:
    """Return the digest of an attested image, and the namespace of its run."""
    with inside(world.folder):
        told = get_all(world.place, ["/api/v1/search?q=type:provenance%20verdict:verified"])[0].json
    one = next(one for one in told["results"] if one["subjects"] and one["namespace"])
    return one["subjects"][0]["digest"].partition(":")[2], one["namespace"]


def test_verify_judges_the_evidence_of_the_stores_now(world: World) -> None:
    image, _ = image_of(world)
    path = f"/api/v1/verify/sha256/{image}"
    stranger = Trusting(Criteria(keys=load_public_keys(world.folder / "stranger/.chains/signing.pub")))
    with inside(world.folder):
        (good,) = get_all(world.place, [path], trusting=trusting(world))
        (bad,) = get_all(world.place, [path], trusting=stranger)
        (nothing,) = get_all(world.place, [f"/api/v1/verify/sha256/{'ff' * 32}"], trusting=trusting(world))
    assert (good.json["verdict"], bad.json["verdict"], nothing.json["verdict"]) == (
        "VERIFIED",
        "FAILED",
        "NOT_FOUND",
    )
    used = [one for one in good.json["attestations"] if one["used"]]
    assert {one["signer"] for one in used} == set(good.json["signedBy"])
    # what nobody trusted signed says nothing
    assert all(one["predicateType"] is None and one["signer"] is None for one in bad.json["attestations"])


def test_verify_answers_who_sees_some_namespaces_by_their_evidence_alone(world: World) -> None:
    image, namespace = image_of(world)
    path, nowhere = f"/api/v1/verify/sha256/{image}", f"/api/v1/verify/sha256/{'ff' * 32}"
    with inside(world.folder):
        (own,) = get_all(world.place, [path], Viewer("x", (namespace,)), trusting=trusting(world))
        hidden, absent = get_all(
            world.place, [path, nowhere], Viewer("x", ("other",)), trusting=trusting(world)
        )
    assert own.json["verdict"] == "VERIFIED"
    told = []
    for answer, digest in ((hidden, image), (absent, "ff" * 32)):
        assert (answer.status, answer.json["verdict"], answer.json["attestations"]) == (200, "NOT_FOUND", [])
        told.append(re.sub(rb'"verifiedAt":"[^"]*"', b"", answer.body).replace(digest.encode(), b""))
    # what they may not see and what is not there are told in the same bytes
    assert told[0] == told[1]


def test_verify_asks_no_store_about_what_may_not_be_seen(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, _ = image_of(world)
    opened: list[str] = []

    def counted(url: str, options: StoreOptions | None) -> Store:
        opened.append(url)
        return open_store(url, options)

    monkeypatch.setattr(verifying, "open_store", counted)
    with inside(world.folder):
        get_all(
            world.place, [f"/api/v1/verify/sha256/{image}"], Viewer("x", ("other",)), trusting=trusting(world)
        )
        assert opened == []
        get_all(world.place, [f"/api/v1/verify/sha256/{image}"], trusting=trusting(world))
        assert len(opened) == 2


def test_one_verification_serves_all_who_ask_meanwhile_and_for_a_minute(world: World) -> None:
    image, namespace = image_of(world)
    digest, criteria = f"sha256:{image}", trusting(world).criteria
    assert criteria is not None

    async def work() -> list[shapes.Verification]:
        now = [0.0]
        verify = VerifyNow(trusting(world), lambda: now[0])
        source = Source(world.place)
        try:
            every = await asyncio.gather(
                *(verify.ask(source, EVERYTHING, digest, criteria) for _ in range(20))
            )
            assert all(one is every[0] for one in every)
            now[0] = 59
            assert await verify.ask(source, EVERYTHING, digest, criteria) is every[0]
            # another viewer's answer is their own
            own = await verify.ask(source, Viewer("x", (namespace,)), digest, criteria)
            assert own is not every[0]
            now[0] = 61
            assert await verify.ask(source, EVERYTHING, digest, criteria) is not every[0]
            return list(every)
        finally:
            await verify.close()
            await source.close()

    with inside(world.folder):
        asyncio.run(work())


def test_too_many_verifications_at_once_are_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "MOST_WAITING", 2)
    criteria = trusting(world).criteria
    assert criteria is not None

    async def work() -> int:
        verify = VerifyNow(trusting(world))
        source = Source(world.place)
        try:
            digests = [f"sha256:{number:064x}" for number in range(5)]
            told = await asyncio.gather(
                *(verify.ask(source, EVERYTHING, one, criteria) for one in digests), return_exceptions=True
            )
            return sum(isinstance(one, TooBusy) for one in told)
        finally:
            await verify.close()
            await source.close()

    with inside(world.folder):
        assert asyncio.run(work()) == 3


def test_verifications_of_one_viewer_do_not_refuse_those_of_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "OF_VIEWER", 2)
    criteria = trusting(world).criteria
    assert criteria is not None

    async def work() -> list[int]:
        verify = VerifyNow(trusting(world))
        source = Source(world.place)
        viewers = [Viewer("alice", ("a",)), Viewer("bob", ("a",))]
        digests = [f"sha256:{number:064x}" for number in range(5)]
        try:
            told = await asyncio.gather(
                *(verify.ask(source, viewer, one, criteria) for viewer in viewers for one in digests),
                return_exceptions=True,
            )
            return [number for number, one in enumerate(told) if not isinstance(one, TooBusy)]
        finally:
            await verify.close()
            await source.close()

    with inside(world.folder):
        assert asyncio.run(work()) == [0, 1, 5, 6]
