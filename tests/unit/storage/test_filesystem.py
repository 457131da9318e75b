"""The plain folder: names a person understands, and nothing outside of it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from storage import durable
from storage.base import Store, StoreOptions
from storage.errors import StoreRejected
from storage.formats.names import plain_name
from storage.open import open_store
from storage.record import Record, Stored
from tests.unit.storage import records


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(work())  # type: ignore[arg-type]


def put_all(path: Path, *several: Record) -> list[Stored]:
    async def go() -> list[Stored]:
        async with open_store(f"file:{path}") as store:
            return [await store.put(record) for record in several]

    return asyncio.run(go())


def test_names_tell_what_a_file_is(tmp_path: Path) -> None:
    image = records.subject()
    made = records.records_of_run(image)
    put_all(tmp_path, *made)
    uid, short = records.origin().uid, image.digest["sha256"][:12]
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    folder = "taskrun-default-build"
    links = f"by-digest/sha256/{image.digest['sha256']}"
    evidence = {
        f"taskrun-{uid}.slsa.dev-provenance-v1.envelope.json",
        f"taskrun-{uid}.slsa.dev-provenance-v1.bundle.json",
        f"taskrun-{uid}.in-toto.io-attestation-scai-v0.3.envelope.json",
        f"taskrun-{uid}.in-toto.io-attestation-scai-v0.3.bundle.json",
        f"taskrun-{uid}.{short}.sig",
        f"taskrun-{uid}.{short}.bundle.json",
    }
    explaining = {
        f"taskrun-{uid}.slsa.dev-provenance-v1.payload.json",
        f"taskrun-{uid}.in-toto.io-attestation-scai-v0.3.payload.json",
        f"taskrun-{uid}.{short}.payload",
    }
    places = (folder, links, f"by-run/{uid}")
    assert names == {f"{place}/{name}" for place in places for name in evidence} | {
        f"{folder}/{name}" for name in explaining
    } | {f"by-run/{uid}/.run.json"}
    signature = (tmp_path / folder / f"taskrun-{uid}.{short}.sig").read_bytes()
    assert base64.b64decode(signature) == made[2].signature
    assert (tmp_path / folder / f"taskrun-{uid}.{short}.payload").read_bytes() == made[2].payload


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("taskrun-default-build", "taskrun-default-build"),
        ("a.b_c-D", "a.b_c-D"),
        ("../x", "_x-89fa4d9d9f6a"),
        ("", "-e3b0c44298fc"),
        (".hidden", "hidden-"),
        ("ü", "_-"),
        ("a/b", "a_b-"),
        ("a\x00b", "a_b-"),
        ("\ud800", "_-"),
    ],
)
def test_odd_names_become_plain_ones(text: str, expected: str) -> None:
    made = plain_name(text)
    assert made.startswith(expected.rpartition("-")[0])
    assert "/" not in made
    assert len(made) <= 100


def test_names_that_differ_stay_different() -> None:
    texts = ["a/b", "a:b", "a_b", "a b", "x" * 200, "x" * 201]
    assert len({plain_name(text) for text in texts}) == len(texts)


def test_another_content_of_the_same_name_is_kept_beside_the_first(tmp_path: Path) -> None:
    image = records.subject()
    first = records.attestation(image)
    second = replace(first, envelope=b"signed by another key", bundle=b"{}")
    (one, two, again) = put_all(tmp_path, first, second, second)
    assert {receipt.changed for receipt in one.receipts + two.receipts} == {True}
    assert {receipt.changed for receipt in again.receipts} == {False}

    async def work() -> None:
        async with open_store(f"file:{tmp_path}") as store:
            found = await store.find(f"sha256:{image.digest['sha256']}")
        assert {item.data for item in found.evidence} == {
            first.envelope,
            first.bundle,
            second.envelope,
            second.bundle,
        }

    run(work)


def test_links_that_lead_out_of_the_store_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "secret.bundle.json").write_text("secret")
    store = tmp_path / "store"
    put_all(store, records.attestation(records.subject()))
    links = store / "by-digest" / "sha256" / ("a" * 64)
    links.mkdir()
    (links / "x.bundle.json").symlink_to(tmp_path / "secret.bundle.json")
    (links / "y.bundle.json").symlink_to("absent")
    (links / "z.txt").symlink_to("../../../oci")

    async def work() -> None:
        async with open_store(f"file:{store}") as opened:
            found = await opened.find("sha256:" + "a" * 64)
        assert not found.evidence
        assert len(found.skipped) == 3

    run(work)


def test_a_record_without_evidence_is_a_failure(tmp_path: Path) -> None:
    made = records.attestation(records.subject())
    (stored,) = put_all(tmp_path, replace(made, bundle=b"", envelope=b""))
    assert "no bundle, envelope or signature" in stored.failures[0].reason


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (stored,) = put_all(tmp_path / "file", records.attestation())
    assert not stored.failures[0].transient
    assert str(tmp_path / "file") in stored.failures[0].reason


def test_a_folder_that_cannot_be_made_is_named() -> None:
    (stored,) = put_all(Path("/proc/provenance"), records.attestation())
    assert "/proc/provenance" in stored.failures[0].reason


def test_a_full_disk_passes_and_nothing_half_written_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable.os, "write", full)
    (stored,) = put_all(tmp_path, records.attestation())
    monkeypatch.undo()
    assert stored.failures[0].transient
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_fsync_changes_nothing_that_can_be_seen(tmp_path: Path) -> None:
    async def work() -> None:
        store: Store = open_store(f"file:{tmp_path}", StoreOptions(fsync=True))
        async with store:
            stored = await store.put(records.attestation(records.subject()))
        assert len(stored.receipts) == 2

    run(work)


def test_a_digest_that_is_none_is_rejected(tmp_path: Path) -> None:
    async def work() -> None:
        async with open_store(f"file:{tmp_path}") as store:
            for digest in ("../../etc", "sha256:../..", "sha256:", "sha256:xyz", "", "a/b:00"):
                with pytest.raises(StoreRejected, match="expected algorithm:hex"):
                    await store.find(digest)

    run(work)


def test_nobodys_folder_is_searched_with_an_error(tmp_path: Path) -> None:
    async def work() -> None:
        async with open_store(f"file:{tmp_path / 'typo'}") as store:
            with pytest.raises(StoreRejected, match="is no folder"):
                await store.find("sha256:" + "a" * 64)

    run(work)
