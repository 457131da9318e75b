"""A receipt for a bundle means that readers find it, whatever a registry says of its referrers API."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web

from storage.base import FORM_A, FORM_B, StoreOptions
from storage.oci import listings, tag_writer
from storage.oci.docker_config import Credential
from storage.oci.store import RegistryStore
from storage.open import open_store
from storage.record import Findings, Stored, Subject
from tests.unit.storage import records
from tests.unit.storage.fake_registry import FakeRegistry, index_response, refused, serving
from tests.unit.storage.oci.test_login import Several
from tests.unit.storage.oci.test_store import image_in, run

BUNDLES = StoreOptions(encoding_format=FORM_B, attempts=1)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tag_writer, "SHORTEST_PAUSE", 0.002)
    monkeypatch.setattr(tag_writer, "SHORTEST_WATCH", 0.002)
    monkeypatch.setattr(listings, "PAUSES", (0.001, 0.001))


async def put(image: Subject, number: int = 1, options: StoreOptions = BUNDLES) -> Stored:
    async with open_store("oci:", options) as store:
        return await store.put(records.attestation(image, run=records.origin(number)))


async def find(image: Subject) -> Findings:
    async with open_store("oci:") as store:
        return await store.find(f"sha256:{image.digest['sha256']}", image.name)


def index_of(registry: FakeRegistry, image: Subject) -> list[str]:
    _, data = registry.manifests["team/app", f"sha256-{image.digest['sha256']}"]
    return [entry["digest"] for entry in json.loads(data)["manifests"]]


@pytest.mark.parametrize("told", [False, True], ids=["without OCI-Subject", "with OCI-Subject"])
def test_a_registry_that_lists_nothing_gets_the_index_and_the_bundle_is_found(told: bool) -> None:
    async def work(registry: FakeRegistry) -> None:
        image = image_in(registry)
        stored = await put(image)
        assert [(one.form, one.changed) for one in stored.receipts] == [("referrer", True)]
        assert not stored.failures
        assert index_of(registry, image) == [stored.receipts[0].digest]
        found = await find(image)
        assert [item.data for item in found.evidence] == [records.attestation(image).bundle]
        assert not found.skipped

    run(work, lists=False, tells_subject=told)


def test_where_neither_the_list_nor_the_index_shows_it_there_is_no_receipt() -> None:
    async def work(registry: FakeRegistry) -> None:
        async def no_tags(request: web.Request) -> web.StreamResponse | None:
            if request.method == "PUT" and "/manifests/sha256-" in request.path:
                return refused(403, "DENIED", "tags like this are not allowed")
            return None

        image = image_in(registry)
        registry.fault = no_tags
        stored = await put(image)
        assert not stored.receipts
        (failure,) = stored.failures
        assert (failure.form, failure.transient) == ("referrer", False)
        assert "403 DENIED: tags like this are not allowed" in failure.reason

    run(work, lists=False)


def test_an_index_that_is_taken_and_not_kept_is_no_receipt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tag_writer, "MOST_TRIES", 3)

    async def work(registry: FakeRegistry) -> None:
        async def forget(request: web.Request) -> web.StreamResponse | None:
            if request.method == "PUT" and "/manifests/sha256-" in request.path:
                return web.Response(status=201)
            return None

        image = image_in(registry)
        registry.fault = forget
        stored = await put(image)
        assert not stored.receipts
        assert len(stored.failures) == 1

    run(work, lists=False)


def test_a_registry_that_lists_a_little_later_is_waited_for_and_gets_no_index() -> None:
    async def work(registry: FakeRegistry) -> None:
        async def later(request: web.Request) -> web.StreamResponse | None:
            if "/referrers/" in request.path and registry.count("GET .*/referrers/") < 3:
                return index_response([])
            return None

        image = image_in(registry)
        registry.fault = later
        stored = await put(image)
        assert stored.receipts
        assert registry.count("GET .*/referrers/") == 3
        assert ("team/app", f"sha256-{image.digest['sha256']}") not in registry.manifests

    run(work, tells_subject=True)


def test_a_repository_is_asked_once_while_it_is_believed_and_again_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def work(registry: FakeRegistry) -> None:
        async with open_store("oci:", BUNDLES) as store:
            for number in range(3):
                await store.put(records.attestation(image_in(registry), run=records.origin(number)))
            assert registry.count("GET .*/referrers/") == 1
            await store.put(records.attestation(image_in(registry, "team/other")))
            assert registry.count("GET .*/referrers/") == 2, "another repository is asked by itself"
            monkeypatch.setattr(listings, "SHOWN_FOR", -1.0)
            await store.put(records.attestation(image_in(registry, "team/third")))
            await store.put(records.attestation(image_in(registry, "team/third"), run=records.origin(5)))
            assert registry.count("GET .*/team/third/referrers/") == 2

    run(work)


def test_a_repository_that_stops_saying_oci_subject_is_asked_again_and_gets_the_index() -> None:
    async def work(registry: FakeRegistry) -> None:
        image = image_in(registry)
        async with open_store("oci:", BUNDLES) as store:
            await store.put(records.attestation(image, run=records.origin(1)))
            assert registry.count("GET .*/referrers/") == 1
            registry.tells_subject = registry.lists = False
            stored = await store.put(records.attestation(image, run=records.origin(2)))
            assert registry.count("GET .*/referrers/") == 2
        assert index_of(registry, image) == [stored.receipts[0].digest]

    run(work, tells_subject=True)


def test_a_manifest_that_was_there_and_is_not_listed_gets_into_the_index() -> None:
    async def work(registry: FakeRegistry) -> None:
        image = image_in(registry)
        (before,) = (await put(image)).receipts
        registry.lists = False
        (again,) = (await put(image)).receipts
        assert again.digest == before.digest
        assert again.changed, "it is the index that is new"
        assert index_of(registry, image) == [before.digest]

    run(work, tells_subject=True)


def test_a_registry_that_takes_the_tag_for_the_digest_gives_no_receipt_and_the_next_step() -> None:
    async def work(registry: FakeRegistry) -> None:
        image = image_in(registry)
        stored = await put(image)
        assert not stored.receipts
        (failure,) = stored.failures
        assert not failure.transient
        assert "and resolves the tag sha256-" in failure.reason
        assert failure.reason.endswith("set storage.oci.encoding-format to dsse")
        assert (await put(image, options=StoreOptions(encoding_format=FORM_A))).receipts
        found = await find(image)
        assert [item.source for item in found.evidence] == ["oci-att"]
        assert not found.skipped, "the image is no index of referrers"

    run(work, referrers=False, dashes=True)


def test_an_envelope_that_the_registry_does_not_keep_gives_no_receipt() -> None:
    async def work(registry: FakeRegistry) -> None:
        async def forget(request: web.Request) -> web.StreamResponse | None:
            lost = request.method in {"HEAD", "GET"} and "/blobs/" in request.path
            return web.Response(status=404) if lost else None

        image = image_in(registry)
        registry.fault = forget
        stored = await put(image, options=StoreOptions(encoding_format=FORM_A))
        assert not stored.receipts
        (failure,) = stored.failures
        assert failure.transient
        assert "and does not have it" in failure.reason

    run(work)


def test_a_registry_that_keeps_what_it_takes_is_asked_for_a_blob_once() -> None:
    async def work(registry: FakeRegistry) -> None:
        async with open_store("oci:", StoreOptions(encoding_format=FORM_A)) as store:
            for number in range(3):
                image = image_in(registry, f"team/app{number}")
                assert (await store.put(records.attestation(image))).receipts
        assert registry.count("HEAD .*/blobs/") == 1

    run(work)


def test_two_stores_beside_each_other_share_what_is_known() -> None:
    async def work() -> None:
        nobody = Several([Credential("none")])
        async with serving() as registry:
            image = image_in(registry)
            async with RegistryStore("oci:", BUNDLES, nobody) as store:
                for number in range(3):
                    await store.sibling(nobody).put(records.attestation(image, run=records.origin(number)))
            assert registry.count("GET .*/referrers/") == 1

    asyncio.run(work())
