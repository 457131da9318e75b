"""Tags that somebody else writes between any two of our requests: no entry may be lost, and none twice."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from storage.base import FORM_A, FORM_B, StoreOptions
from storage.oci import tag_writer
from storage.open import open_store
from storage.record import Record, Stored, Subject
from tests.unit.storage import records
from tests.unit.storage.fake_registry import OCI_INDEX, OCI_MANIFEST, FakeRegistry, digest_of, serving
from tests.unit.storage.oci.test_store import image_in

Json = Any


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows the first write does not matter here: every loss is made before it ends."""
    monkeypatch.setattr(tag_writer, "SHORTEST_PAUSE", 0.002)
    monkeypatch.setattr(tag_writer, "SHORTEST_WATCH", 0.002)


def foreign(registry: FakeRegistry, tag: str, number: int) -> str:
    """Add an entry to a tag as another tool does, and return its digest."""
    blob = f"foreign {number}".encode()
    registry.push_blob("team/app", blob)
    layer = {"mediaType": "text/plain", "digest": digest_of(blob), "size": len(blob)}
    known = registry.manifests.get(("team/app", tag))
    if ".att" in tag:
        empty = {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": registry.push_blob("team/app", b"{}"),
            "size": 2,
        }
        document = (
            json.loads(known[1]) if known else {"mediaType": OCI_MANIFEST, "config": empty, "layers": []}
        )
        document["layers"].append(layer)
        media_type = OCI_MANIFEST
    else:
        document = json.loads(known[1]) if known else {"mediaType": OCI_INDEX, "manifests": []}
        document["manifests"].append(layer)
        media_type = OCI_INDEX
    registry.push_manifest("team/app", json.dumps(document).encode(), tag, media_type)
    return digest_of(blob)


def entries(registry: FakeRegistry, tag: str) -> list[str]:
    document = json.loads(registry.manifests["team/app", tag][1])
    return [entry["digest"] for entry in document.get("layers") or document.get("manifests")]


class Other:
    """Somebody who writes the tag right before the registry answers the requests that match ``when``."""

    def __init__(
        self, registry: FakeRegistry, tag: str, when: str, *, times: int = 1, after: bool = False
    ) -> None:
        self.registry, self.tag, self.when, self.left, self.after = registry, tag, when, times, after
        self.written: list[str] = []
        registry.fault = self.fault

    def write(self) -> None:
        self.written.append(foreign(self.registry, self.tag, 100 + len(self.written)))

    async def fault(self, request: web.Request) -> web.StreamResponse | None:
        if not self.left or self.when not in f"{request.method} {request.path_qs}":
            return None
        self.left -= 1
        if self.after:
            answer = await self.registry.answer(request)
            self.write()
            return answer
        self.write()
        return None


def record_for(image: Subject, number: int = 1) -> Record:
    return records.attestation(image, run=records.origin(number))


def put(registry: FakeRegistry, record: Record, form: str = FORM_A) -> Any:
    async def work() -> Stored:
        async with open_store("oci:", StoreOptions(encoding_format=form)) as store:
            return await store.put(record)

    return work()


def race(when: str, *, there: int = 1, times: int = 1, after: bool = False, **settings: bool) -> None:
    async def go() -> None:
        async with serving(**settings) as registry:
            image = image_in(registry)
            tag = f"sha256-{image.digest['sha256']}.att"
            before = [foreign(registry, tag, number) for number in range(there)]
            other = Other(registry, tag, when, times=times, after=after)
            record = record_for(image)
            stored = await put(registry, record)
            assert [(one.form, one.changed) for one in stored.receipts] == [("att", True)], stored
            assert not stored.failures
            assert len(other.written) == times, "nobody wrote in between"
            found = entries(registry, tag)
            assert sorted(found) == sorted([*before, *other.written, digest_of(record.envelope)])

    asyncio.run(asyncio.wait_for(go(), 30))


@pytest.mark.parametrize("after", [False, True])
def test_an_entry_that_comes_while_the_merged_configuration_is_uploaded_is_kept(after: bool) -> None:
    """The tag had an entry, so that the configuration of both is made, and uploaded, after it was read."""

    async def go() -> None:
        async with serving() as registry:
            image = image_in(registry)
            tag = f"sha256-{image.digest['sha256']}.att"
            before = foreign(registry, tag, 0)
            registry.seen.clear()
            other = Other(registry, tag, "POST /v2/team/app/blobs/uploads/", after=after)

            async def once_the_tag_was_read(request: web.Request) -> web.StreamResponse | None:
                read = registry.count(f"GET /v2/team/app/manifests/{tag}")
                return await other.fault(request) if read else None

            registry.fault = once_the_tag_was_read
            record = record_for(image)
            stored = await put(registry, record)
            assert [(one.form, one.changed) for one in stored.receipts] == [("att", True)], stored
            assert len(other.written) == 1
            assert sorted(entries(registry, tag)) == sorted(
                [before, *other.written, digest_of(record.envelope)]
            )

    asyncio.run(asyncio.wait_for(go(), 30))


@pytest.mark.parametrize("there", [0, 1])
def test_an_entry_that_comes_before_the_tag_is_read_is_kept(there: int) -> None:
    race("GET /v2/team/app/manifests/sha256-", there=there)


@pytest.mark.parametrize("times", [1, 3])
def test_an_entry_that_comes_before_the_look_that_precedes_a_merged_write_is_kept(times: int) -> None:
    race("HEAD /v2/team/app/manifests/sha256-", there=1, times=times)


@pytest.mark.parametrize("there", [0, 1])
def test_an_entry_that_comes_after_the_write_is_kept_with_ours(there: int) -> None:
    race("PUT /v2/team/app/manifests/sha256-", there=there, after=True)


@pytest.mark.parametrize("times", [1, 3])
def test_an_entry_that_comes_between_look_and_write_is_kept_where_the_registry_has_etags(times: int) -> None:
    """Without them nobody can tell; with them the registry refuses our write, and we read again."""
    race("PUT /v2/team/app/manifests/sha256-", there=1, times=times, etags=True)


@pytest.mark.parametrize("there", [0, 1])
def test_what_another_writer_undid_is_written_again_before_it_counts(there: int) -> None:
    """Somebody who read before we wrote writes over us: our entry is gone, and theirs has to stay."""

    async def go() -> None:
        async with serving() as registry:
            image = image_in(registry)
            tag = f"sha256-{image.digest['sha256']}.att"
            before = [foreign(registry, tag, number) for number in range(there)]
            old = registry.manifests.get(("team/app", tag))
            undone: list[str] = []

            async def undo(request: web.Request) -> web.StreamResponse | None:
                if undone or request.method != "PUT" or f"/manifests/{tag}" not in request.path:
                    return None
                answer = await registry.answer(request)
                if old is None:
                    del registry.manifests["team/app", tag]
                else:
                    registry.manifests["team/app", tag] = old
                undone.append(foreign(registry, tag, 7))
                return answer

            registry.fault = undo
            record = record_for(image)
            stored = await put(registry, record)
            assert [one.changed for one in stored.receipts] == [True]
            assert sorted(entries(registry, tag)) == sorted([*before, *undone, digest_of(record.envelope)])
            assert stored.receipts[0].digest == digest_of(registry.manifests["team/app", tag][1])

    asyncio.run(asyncio.wait_for(go(), 30))


@pytest.mark.parametrize("when", ["GET", "PUT"])
def test_an_index_of_referrers_loses_nobodys_entry_either(when: str) -> None:
    async def go() -> None:
        async with serving(referrers=False) as registry:
            image = image_in(registry)
            tag = f"sha256-{image.digest['sha256']}"
            before = foreign(registry, tag, 0)
            other = Other(registry, tag, f"{when} /v2/team/app/manifests/sha256-", after=when == "PUT")
            stored = await put(registry, record_for(image), FORM_B)
            (receipt,) = stored.receipts
            assert receipt.changed
            assert len(other.written) == 1
            assert sorted(entries(registry, tag)) == sorted([before, *other.written, receipt.digest])

    asyncio.run(asyncio.wait_for(go(), 30))


def test_what_is_there_already_is_not_written_again_and_says_so() -> None:
    async def go() -> None:
        async with serving() as registry:
            image = image_in(registry)
            tag = f"sha256-{image.digest['sha256']}.att"
            record = record_for(image)
            await put(registry, record)
            foreign(registry, tag, 1)
            now = registry.manifests["team/app", tag]
            registry.seen.clear()
            stored = await put(registry, record)
            assert [(one.changed, one.digest) for one in stored.receipts] == [(False, digest_of(now[1]))]
            assert registry.count(f"PUT .*{tag}") == 0
            assert registry.manifests["team/app", tag] == now

    asyncio.run(asyncio.wait_for(go(), 30))


def test_a_tag_that_changes_with_every_write_is_given_up_as_one_that_may_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tag_writer, "MOST_TRIES", 3)

    async def go() -> None:
        async with serving(etags=True) as registry:
            image = image_in(registry)
            tag = f"sha256-{image.digest['sha256']}.att"
            foreign(registry, tag, 0)
            other = Other(registry, tag, "PUT /v2/team/app/manifests/sha256-", times=1000)
            stored = await put(registry, record_for(image))
            assert not stored.receipts
            (failure,) = stored.failures
            assert failure.transient
            assert (
                failure.reason == f"the tag {tag} of {registry.host}/team/app changed with each of 3 writes"
            )
            assert len(other.written) == 3

    asyncio.run(asyncio.wait_for(go(), 30))
