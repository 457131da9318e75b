"""The image layout on disk: what other tools find there, what concurrent and broken use leaves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from storage import durable
from storage.base import FORM_A, Store, StoreOptions
from storage.errors import StoreRejected, StoreUnavailable
from storage.layout import store as oci_layout
from storage.layout.index import LAYOUT
from storage.limits import allowance
from storage.open import open_store
from storage.record import Record, Stored, Subject
from tests.unit.storage import records
from tests.unit.storage.fake_registry import OCI_INDEX, digest_of

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
NAME = "org.opencontainers.image.ref.name"


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(work())  # type: ignore[arg-type]


def layout(path: Path, **options: Any) -> Store:
    return open_store(f"oci-layout:{path}", StoreOptions(**options))


def put_all(path: Path, *several: Record, **options: Any) -> list[Stored]:
    async def go() -> list[Stored]:
        async with layout(path, **options) as store:
            return [await store.put(record) for record in several]

    return asyncio.run(go())


def index_of(path: Path) -> list[dict[str, Any]]:
    document = json.loads((path / "index.json").read_bytes())
    assert document["schemaVersion"] == 2
    assert document["mediaType"] == "application/vnd.oci.image.index.v1+json"
    entries: list[dict[str, Any]] = document["manifests"]
    return entries


def blob(path: Path, descriptor: dict[str, Any]) -> bytes:
    data = (path / "blobs" / "sha256" / descriptor["digest"].removeprefix("sha256:")).read_bytes()
    assert digest_of(data) == descriptor["digest"]
    assert len(data) == descriptor["size"]
    return data


def check_layout(path: Path) -> None:
    """Hold everything the index leads to against the specification."""
    assert json.loads((path / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    for entry in index_of(path):
        manifest = json.loads(blob(path, entry))
        assert manifest["mediaType"] == entry["mediaType"]
        for part in (manifest["config"], *manifest["layers"]):
            blob(path, part)
    for file in (path / "blobs" / "sha256").iterdir():
        assert digest_of(file.read_bytes()) == f"sha256:{file.name}"
    assert {file.name for file in path.iterdir()} == {"oci-layout", "index.json", "blobs"}


def test_the_folder_is_a_valid_image_layout(tmp_path: Path) -> None:
    image = records.subject()
    put_all(tmp_path / "new" / "layout", *records.records_of_run(image))
    path = tmp_path / "new" / "layout"
    check_layout(path)
    names = {entry.get("annotations", {}).get(NAME) for entry in index_of(path)}
    hexdigest = image.digest["sha256"]
    assert names == {None, f"sha256-{hexdigest}.att", f"sha256-{hexdigest}.sig"}
    bundles = [entry for entry in index_of(path) if "artifactType" in entry]
    assert len(bundles) == 3
    for entry in bundles:
        manifest = json.loads(blob(path, entry))
        assert manifest["artifactType"] == entry["artifactType"] == manifest["layers"][0]["mediaType"]
        assert "subject" not in manifest
        assert manifest["annotations"]["provenance.chains/subject"] == f"sha256:{hexdigest}"
        assert manifest["annotations"]["provenance.chains/run"] == "taskrun/default/build"
        assert manifest["annotations"]["provenance.chains/run-uid"] == records.origin().uid


def test_one_bundle_serves_all_its_subjects(tmp_path: Path) -> None:
    images = [records.subject(content=b"%d" % number) for number in range(3)]
    (stored,) = put_all(tmp_path / "l", records.attestation(*images))
    assert sorted(receipt.form for receipt in stored.receipts) == ["att", "att", "att", "layout"]

    async def work() -> None:
        async with layout(tmp_path / "l") as store:
            for image in images:
                assert len((await store.find(f"sha256:{image.digest['sha256']}")).evidence) == 2

    run(work)


def test_a_bundle_refers_to_an_image_that_is_in_the_layout(tmp_path: Path) -> None:
    path = tmp_path / "l"
    put_all(path, records.attestation())
    image = b'{"mediaType":"application/vnd.oci.image.manifest.v1+json","layers":[]}'
    digest = digest_of(image)
    (path / "blobs" / "sha256" / digest[7:]).write_bytes(image)
    here, elsewhere = Subject("registry.example/app", {"sha256": digest[7:]}), records.subject()
    (stored,) = put_all(path, records.attestation(here, elsewhere))
    receipts = {receipt.subject: receipt for receipt in stored.receipts if receipt.form == "layout"}
    assert set(receipts) == {digest, ""}
    manifest = json.loads((path / "blobs" / "sha256" / receipts[digest].digest[7:]).read_bytes())
    assert manifest["subject"] == {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": digest,
        "size": len(image),
    }

    async def work() -> None:
        async with layout(path) as store:
            assert len((await store.find(digest)).evidence) == 2

    run(work)


def test_subjects_with_other_digests_are_found_by_them(tmp_path: Path) -> None:
    commit = Subject("git+https://github.com/example/app.git", {"sha1": "a" * 40, "gitCommit": "a" * 40})
    (stored,) = put_all(tmp_path / "l", records.attestation(commit))
    assert [skipped.form for skipped in stored.skipped] == ["att"]

    async def work() -> None:
        async with layout(tmp_path / "l") as store:
            assert len((await store.find("gitCommit:" + "a" * 40)).evidence) == 1
            assert not (await store.find("sha512:" + "a" * 40)).evidence

    run(work)


def test_an_envelope_without_image_is_kept_where_envelopes_are_all_there_is(tmp_path: Path) -> None:
    record = records.attestation()
    (stored,) = put_all(tmp_path / "l", record, encoding_format=FORM_A)
    assert [receipt.form for receipt in stored.receipts] == ["layout"]
    check_layout(tmp_path / "l")

    async def work() -> None:
        async with layout(tmp_path / "l") as store:
            (evidence,) = (await store.find_run(record.origin.uid)).evidence
        assert (evidence.format, evidence.data) == ("dsse", record.envelope)

    run(work)


def test_foreign_entries_stay_and_foreign_bundles_are_found(tmp_path: Path) -> None:
    path = tmp_path / "l"
    (path / "blobs" / "sha256").mkdir(parents=True)
    (path / "oci-layout").write_bytes(LAYOUT)
    image = records.subject()
    digest = f"sha256:{image.digest['sha256']}"
    kind = "application/vnd.dev.sigstore.bundle.v0.3+json"
    manifest = json.dumps(
        {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "layers": [{"mediaType": kind, "digest": digest_of(b"bundle"), "size": 6}],
            "subject": {"digest": digest},
        }
    ).encode()
    for data in (b"bundle", manifest):
        (path / "blobs" / "sha256" / digest_of(data)[7:]).write_bytes(data)
    media_type = "application/vnd.oci.image.manifest.v1+json"
    foreign = [
        {"mediaType": media_type, "digest": digest_of(manifest), "size": len(manifest), "artifactType": kind},
        {"mediaType": media_type, "digest": digest, "size": 7, "platform": {"os": "plan9"}},
    ]
    text = json.dumps({"schemaVersion": 2, "annotations": {"a": "b"}, "manifests": foreign})
    (path / "index.json").write_text(text)
    put_all(path, records.attestation(image))
    document = json.loads((path / "index.json").read_bytes())
    assert document["annotations"] == {"a": "b"}
    assert document["manifests"][:2] == foreign

    async def work() -> None:
        async with layout(path) as store:
            found = await store.find(digest)
        assert b"bundle" in {item.data for item in found.evidence}
        assert len(found.evidence) == 3

    run(work)


def test_the_index_that_lists_referrers_by_tag_is_read(tmp_path: Path) -> None:
    path = tmp_path / "l"
    image = records.subject()
    put_all(path, records.attestation())
    manifest = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "layers": [{"mediaType": BUNDLE, "digest": digest_of(b"bundle"), "size": 6}],
    }
    listed = [add(path, json.dumps(manifest).encode()), {"digest": "sha256:" + "0" * 64}, {"digest": "odd"}]
    add(path, b"bundle")
    index = add(path, json.dumps({"mediaType": OCI_INDEX, "manifests": listed}).encode())
    lost = {"digest": "sha256:" + "1" * 64, "artifactType": BUNDLE}
    document = json.loads((path / "index.json").read_bytes())
    tag = f"sha256-{image.digest['sha256']}"
    document["manifests"] += [index | {"mediaType": OCI_INDEX, "annotations": {NAME: tag}}, lost]
    (path / "index.json").write_text(json.dumps(document))

    async def work() -> None:
        async with layout(path) as store:
            found = await store.find(f"sha256:{image.digest['sha256']}")
            (path / "blobs" / "sha256" / index["digest"][7:]).write_bytes(b"[]")
            broken = await store.find(f"sha256:{image.digest['sha256']}")
        assert [item.data for item in found.evidence] == [b"bundle"]
        assert len(found.skipped) == 3, "two that cannot be read, and a bundle that may be about it"
        assert not broken.evidence
        assert any("got bytes with" in skipped.reason for skipped in broken.skipped)

    run(work)


def add(path: Path, data: bytes) -> dict[str, Any]:
    (path / "blobs" / "sha256" / digest_of(data)[7:]).write_bytes(data)
    return {"digest": digest_of(data), "size": len(data)}


def test_one_search_holds_so_many_bytes_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = records.subject()
    put_all(tmp_path / "l", records.attestation(image))
    monkeypatch.setattr(allowance, "MOST_BYTES", 100)

    async def work() -> None:
        async with layout(tmp_path / "l") as store:
            found = await store.find(f"sha256:{image.digest['sha256']}")
        assert not found.evidence
        assert all("more than 100 bytes" in skipped.reason for skipped in found.skipped)

    run(work)


def test_several_stores_on_one_folder_keep_each_others_records(tmp_path: Path) -> None:
    path = tmp_path / "l"
    image = records.subject()

    async def work() -> None:
        stores = [layout(path) for _ in range(4)]
        for number in range(40):
            await stores[number % 4].put(records.attestation(image, run=records.origin(number)))
            if number % 7 == 0:
                await stores[number % 4].flush()
        await asyncio.gather(*(store.close() for store in stores))
        async with layout(path) as store:
            found = await store.find(f"sha256:{image.digest['sha256']}")
        assert len(found.evidence) == 80

    run(work)
    check_layout(path)


def test_the_index_is_written_in_growing_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oci_layout, "FLUSH_AT", 10)
    path = tmp_path / "l"
    sizes: list[int] = []

    async def work() -> None:
        async with layout(path) as store:
            for number in range(200):
                image = records.subject(content=b"%d" % number)
                await store.put(records.attestation(image, run=records.origin(number)))
                await asyncio.gather(*store._background)
                if (path / "index.json").exists():
                    sizes.append(len(index_of(path)))

    run(work)
    assert len(index_of(path)) == 400
    # each write comes when as many entries wait as were there before
    assert list(dict.fromkeys(sizes)) == [10, 20, 40, 80, 160, 320]


def test_flushes_at_the_same_time_share_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = []
    monkeypatch.setattr(oci_layout, "commit", lambda *a, **k: (writes.append(1), commit(*a, **k))[1])

    async def work() -> None:
        async with layout(tmp_path / "l") as store:
            for number in range(10):
                await store.put(records.attestation(run=records.origin(number)))
            await asyncio.gather(*(store.flush() for _ in range(10)))

    from storage.layout.commit import commit

    run(work)
    assert len(writes) == 1


def test_large_blobs_and_fsync_make_the_same_layout(tmp_path: Path) -> None:
    record = records.attestation(records.subject(), pad=2_000_000)
    put_all(tmp_path / "a", record)
    put_all(tmp_path / "b", record, fsync=True)
    check_layout(tmp_path / "b")
    assert index_of(tmp_path / "a") == index_of(tmp_path / "b")


def test_a_full_tag_is_a_failure_that_says_so(tmp_path: Path) -> None:
    image = records.subject()
    several = [records.attestation(image, run=records.origin(number)) for number in range(1001)]
    stored = put_all(tmp_path / "l", *several, encoding_format=FORM_A)
    assert not any(one.failures for one in stored[:1000])
    assert "is full: 1000 entries" in stored[1000].failures[0].reason


def test_nobodys_folder_is_searched_with_an_error(tmp_path: Path) -> None:
    async def work() -> None:
        async with layout(tmp_path / "typo") as store:
            with pytest.raises(StoreRejected, match="is not an OCI image layout"):
                await store.find("sha256:" + "a" * 64)

    run(work)
    assert not (tmp_path / "typo").exists()


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        (b"{", "is not an image index"),
        (b"[]", "is not an image index"),
        (b'{"manifests":[1]}', "is not an image index"),
    ],
)
def test_a_corrupt_index_is_left_alone(tmp_path: Path, index: bytes, reason: str) -> None:
    path = tmp_path / "l"
    path.mkdir()
    (path / "index.json").write_bytes(index)
    (stored,) = put_all(path, records.attestation(records.subject()))
    assert {failure.form for failure in stored.failures} == {"att", "layout"}
    assert all(reason in failure.reason and not failure.transient for failure in stored.failures)
    assert (path / "index.json").read_bytes() == index


def test_another_layout_version_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "oci-layout").write_text('{"imageLayoutVersion":"2.0.0"}')
    (stored,) = put_all(tmp_path, records.attestation())
    assert "has version '2.0.0'" in stored.failures[0].reason


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (stored,) = put_all(tmp_path / "file", records.attestation())
    assert not stored.failures[0].transient
    assert str(tmp_path / "file") in stored.failures[0].reason


def test_a_folder_that_cannot_be_made_is_named() -> None:
    (stored,) = put_all(Path("/proc/provenance"), records.attestation())
    assert "/proc/provenance" in stored.failures[0].reason


def test_a_missing_or_changed_blob_is_skipped_with_the_reason(tmp_path: Path) -> None:
    image = records.subject()
    record = records.attestation(image)
    path = tmp_path / "l"
    put_all(path, record)
    (path / "blobs" / "sha256" / digest_of(record.envelope)[7:]).unlink()
    (path / "blobs" / "sha256" / digest_of(record.bundle)[7:]).write_bytes(b"changed")

    async def work() -> None:
        async with layout(path) as store:
            found = await store.find(f"sha256:{image.digest['sha256']}")
        assert not found.evidence
        reasons = " and ".join(skipped.reason for skipped in found.skipped)
        assert "No such file" in reasons
        assert "got bytes with" in reasons

    run(work)


def test_a_lost_blob_comes_back_with_the_same_record(tmp_path: Path) -> None:
    record = records.attestation(records.subject())
    path = tmp_path / "l"
    put_all(path, record)
    for data in (record.envelope, record.bundle):
        (path / "blobs" / "sha256" / digest_of(data)[7:]).unlink()
    (stored,) = put_all(path, record)
    assert all(receipt.changed for receipt in stored.receipts)
    check_layout(path)


def test_a_full_disk_passes_and_nothing_half_written_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "l"
    put_all(path, records.attestation(records.subject()))
    before = sorted(file.name for file in path.rglob("*"))

    def full(handle: int, data: bytes) -> int:
        real_write(handle, bytes(data)[: len(data) // 2])
        raise OSError(28, "No space left on device")

    real_write = durable.os.write
    monkeypatch.setattr(durable.os, "write", full)
    (stored,) = put_all(path, records.attestation(records.subject(), run=records.origin(2)))
    monkeypatch.undo()
    assert all(failure.transient and "No space left" in failure.reason for failure in stored.failures)
    assert sorted(file.name for file in path.rglob("*")) == before
    check_layout(path)


def test_a_flush_that_failed_is_made_up_for_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "l"
    image = records.subject()

    async def work() -> None:
        store = layout(path)
        await store.put(records.attestation(image))
        monkeypatch.setattr(durable.os, "write", broken)
        with pytest.raises(StoreUnavailable, match="No space left"):
            await store.flush()
        monkeypatch.undo()
        await store.put(records.attestation(image, run=records.origin(2)))
        await store.close()

    def broken(handle: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    run(work)
    check_layout(path)
    assert len(index_of(path)) == 3


def test_a_held_lock_is_waited_for_and_then_named(tmp_path: Path) -> None:
    path = tmp_path / "l"

    async def work() -> None:
        first, second = layout(path), layout(path, timeout=0.1)
        await first.put(records.attestation())
        await second.put(records.attestation(run=records.origin(2)))
        assert isinstance(first, oci_layout.LayoutStore)
        with first._file.locked(1), pytest.raises(StoreUnavailable, match="another process has held"):
            await second.flush()
        await second.close()
        await first.close()

    run(work)
    assert len(index_of(path)) == 2


@pytest.mark.parametrize("url", ["oci-layout:"])
def test_a_url_without_path_is_rejected(url: str) -> None:
    with pytest.raises(StoreRejected, match="expected oci-layout:PATH"):
        open_store(url)


def test_an_index_put_in_the_place_of_ours_loses_nothing_that_was_received(tmp_path: Path) -> None:
    async def work() -> None:
        async with layout(tmp_path) as store:
            await store.put(records.attestation(records.subject(content=b"first")))
            await store.flush()
            received = {entry["digest"] for entry in index_of(tmp_path)}
            document = json.loads((tmp_path / "index.json").read_bytes())
            (tmp_path / "index.json").write_text(json.dumps(document | {"manifests": []}))
            await store.flush()
            assert {entry["digest"] for entry in index_of(tmp_path)} == received
            (tmp_path / "index.json").write_text(json.dumps(document | {"manifests": []}))
            await store.put(records.attestation(records.subject(content=b"second")))
        assert received < {entry["digest"] for entry in index_of(tmp_path)}

    run(work)


def test_equal_large_records_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    async def work() -> None:
        record = records.attestation(records.subject(), pad=2_000_000)
        async with layout(tmp_path) as store:
            stored = await asyncio.gather(*(store.put(record) for _ in range(24)))
        assert not [failure for one in stored for failure in one.failures]

    run(work)
