"""Small answers come from the event loop, all others from a thread, and both are what the files say now."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage.base import StoreOptions
from storage.errors import StoreRejected
from storage.layout import index, manifests, searches
from storage.layout.blobs import Blobs
from storage.layout.manifests import Manifests
from storage.layout.store import LayoutStore
from storage.record import Findings, Record
from tests.unit.storage.records import attestation, subject

Json = Any
DIGEST = f"sha256:{subject().digest['sha256']}"


def opened(folder: Path) -> LayoutStore:
    return LayoutStore(f"oci-layout:{folder}", StoreOptions())


def put(folder: Path, *records: Record) -> None:
    async def work() -> None:
        store = opened(folder)
        for one in records:
            await store.put(one)
        await store.close()

    asyncio.run(work())


@pytest.fixture
def aside(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked in a thread."""
    asked: list[str] = []
    to_thread = asyncio.to_thread

    async def noted(work: Callable[..., Json], *given: Json, **more: Json) -> Json:
        asked.append(work.__name__)
        return await to_thread(work, *given, **more)

    monkeypatch.setattr(asyncio, "to_thread", noted)
    return asked


async def warm(store: LayoutStore) -> None:
    """Let the store read its index and make the table of it."""
    for _ in range(2):
        await store.find(DIGEST)


async def near(store: LayoutStore) -> Findings:
    """Search as after an answer that came fast."""
    store._searches.is_near = True
    return await store.find(DIGEST)


def test_questions_that_come_at_once_read_the_index_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, attestation(subject()))
    read: list[int] = []
    parsed = index._parsed

    def noted(data: bytes) -> Json:
        read.append(len(data))
        return parsed(data)

    monkeypatch.setattr(index, "_parsed", noted)

    async def work() -> None:
        store = opened(tmp_path)
        found = await asyncio.gather(*(store.find(DIGEST) for _ in range(16)))
        assert {len(one.evidence) for one in found} == {2}
        await store.close()

    asyncio.run(work())
    assert len(read) == 1


def test_a_small_answer_comes_from_the_event_loop_and_is_the_same(tmp_path: Path, aside: list[str]) -> None:
    put(tmp_path, attestation(subject()), attestation(subject(), predicate="https://other.example"))

    aside.clear()

    async def work() -> None:
        store = opened(tmp_path)
        first = await store.find(DIGEST)
        assert len(first.evidence) == 4
        assert await store.find(DIGEST) == first
        assert aside == ["_answer", "_answer"]
        assert await near(store) == first
        store._searches.is_near = True
        assert len((await store.find_run(attestation(subject()).origin.uid)).evidence) == 4
        assert len(aside) == 2
        store._searches.is_near = False  # as after an answer that came late
        assert await store.find(DIGEST) == first
        assert len(aside) == 3

    asyncio.run(work())


def test_what_others_wrote_is_read_in_a_thread(tmp_path: Path, aside: list[str]) -> None:
    put(tmp_path, attestation(subject()))

    async def work() -> None:
        store = opened(tmp_path)
        await warm(store)
        other = opened(tmp_path)
        await other.put(attestation(subject(), predicate="https://other.example"))
        await other.close()
        aside.clear()
        assert len((await near(store)).evidence) == 4
        assert aside == ["_answer"]

    asyncio.run(work())


def test_a_blob_that_was_changed_or_taken_away_is_told_from_the_event_loop_too(
    tmp_path: Path, aside: list[str]
) -> None:
    put(tmp_path, attestation(subject()))

    store = opened(tmp_path)

    async def work(*, is_first: bool = False) -> Findings:
        if is_first:
            await warm(store)
            aside.clear()
        return await near(store)

    changed, gone = asyncio.run(work(is_first=True)).evidence
    Path(store._blobs.path(changed.digest)).write_bytes(b"x")
    Path(store._blobs.path(gone.location.partition("@")[2])).unlink()
    found = asyncio.run(work())
    assert not found.evidence
    reasons = sorted(item.reason for item in found.skipped)
    assert len(reasons) == 2
    assert (
        f": expected digest {changed.digest}, got bytes with sha256:2d711642b726b04401627ca9fbac32f5"
        in reasons[0]
    )
    assert reasons[1].startswith(f"cannot read {store._blobs.path(gone.location.partition('@')[2])}: ")
    assert aside == []


def test_an_answer_that_needs_many_bytes_or_files_is_asked_again_in_a_thread(
    tmp_path: Path, aside: list[str]
) -> None:
    large, many = tmp_path / "large", tmp_path / "many"
    put(large, attestation(subject(), pad=searches.FEW_BYTES))
    put(many, *(attestation(subject(), predicate=f"https://{number}.example") for number in range(40)))

    async def work() -> None:
        for folder, expected in ((large, 2), (many, 80)):
            store = opened(folder)
            await warm(store)
            aside.clear()
            found = await near(store)
            assert len(found.evidence) == expected
            assert not found.skipped
            assert aside == ["_answer"]

    asyncio.run(work())


def test_a_folder_that_is_no_layout_any_more_is_refused(tmp_path: Path) -> None:
    put(tmp_path, attestation(subject()))

    async def work() -> None:
        store = opened(tmp_path)
        await warm(store)
        (tmp_path / "oci-layout").unlink()
        with pytest.raises(StoreRejected, match="is not an OCI image layout"):
            await near(store)

    asyncio.run(work())


def test_manifests_are_remembered_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "MOST", 2)
    read: list[str] = []
    original = manifests.read_manifest

    def noted(data: bytes, *given: str) -> Json:
        read.append(given[1])
        return original(data, *given)

    monkeypatch.setattr(manifests, "read_manifest", noted)
    known = Manifests()
    for place in ("a", "b", "a", "c", "b", "a"):
        known.read(b"{}", "oci-layout", place, "sha256:0", DIGEST)
    assert read == ["a", "b", "c", "a"]
    # another subject may not be that of the manifest
    known.read(b"{}", "oci-layout", "a", "sha256:0", "")
    assert read[4:] == ["a"]
    # a large one is read each time
    for _ in range(2):
        known.read(b"{}" + b" " * 8192, "oci-layout", "d", "sha256:1", DIGEST)
    assert read[5:] == ["d", "d"]


def test_a_bundle_of_another_tool_is_read_again_only_for_what_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = subject("other", b"other")
    put(tmp_path, attestation(subject()), attestation(other))
    index = tmp_path / "index.json"
    document = json.loads(index.read_text())
    for entry in document["manifests"]:
        entry.pop("annotations")  # as tools write that know nothing of our index
    bundles = {
        one["digest"] for one in document["manifests"] if "sigstore.bundle" in one.get("artifactType", "")
    }
    assert len(bundles) == 2
    index.write_text(json.dumps(document))
    read: list[str] = []
    original = Blobs.read

    def noted(blobs: Blobs, digest: str, limit: int) -> bytes:
        read.append(digest)
        return original(blobs, digest, limit)

    monkeypatch.setattr(Blobs, "read", noted)

    async def manifests_for(store: LayoutStore, digest: str) -> tuple[Findings, list[str]]:
        read.clear()
        found = await store.find(digest)
        return found, [one for one in read if one in bundles]

    async def work() -> None:
        store = opened(tmp_path)
        first, looked_at = await manifests_for(store, DIGEST)
        assert set(looked_at) == bundles
        (own,) = {one.location.partition("@")[2] for one in first.evidence}
        again, looked_at = await manifests_for(store, DIGEST)
        assert again == first
        assert set(looked_at) == {own}
        found, looked_at = await manifests_for(store, f"sha256:{other.digest['sha256']}")
        assert set(looked_at) == bundles - {own}
        assert found.evidence
        assert not {one.digest for one in found.evidence} & {one.digest for one in first.evidence}
        # what names a digest in a form that is not seen at a glance is read each time
        assert store._blobs.manifests.names(own, "sha256:") is None

    asyncio.run(work())


def test_digests_that_manifests_name_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "MOST_NAMING", 2)
    known, one, two = Manifests(), "sha256:" + "1" * 64, "sha256:" + "2" * 64
    known.learn("a", f'{{"subject":"{one}"}}'.encode())
    assert (known.names("a", one), known.names("a", two), known.names("b", one)) == (True, False, None)
    for data in (b"", f'{{"subject":"{one}\\u0031"}}'.encode(), f'"{one}"'.encode() + b" " * 8192):
        known.learn("b", data)
        assert known.names("b", one) is None
    known.learn("b", " ".join(f"sha256:{number:064x}" for number in range(20)).encode())
    assert known.names("b", one) is None
    known.learn("b", two.encode())
    known.learn("c", two.encode())
    assert (known.names("a", one), known.names("b", two), known.names("c", two)) == (None, True, True)


def test_a_folder_that_cannot_be_looked_into_is_told_as_one_that_the_store_refuses(tmp_path: Path) -> None:
    folder = tmp_path / ("n" * 300)  # no file system takes such a name, whoever asks

    async def work() -> None:
        async with opened(folder) as store:
            with pytest.raises(StoreRejected, match=r"cannot read .*: File name too long"):
                await store.find(DIGEST)
            with pytest.raises(StoreRejected, match=r"cannot read .*: File name too long"):
                async for _ in store.list_runs():
                    pass

    asyncio.run(work())
