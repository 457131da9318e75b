"""Services that keep what they are given and list none of it: no receipt, as nobody finds it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from storage.base import Store, StoreOptions
from storage.grafeas.store import grafeas_url
from storage.open import open_store
from storage.record import Stored
from storage.s3.store import S3Store
from tests.testbed.clouds.archivista import Envelopes, archivista_endpoint
from tests.testbed.clouds.containeranalysis import Project, containeranalysis_endpoint
from tests.testbed.clouds.gcs import Bucket, gcs_endpoint
from tests.testbed.clouds.web import Answer, Request
from tests.unit.storage import records

QUICK = StoreOptions(timeout=5, attempts=1)


def hide(
    monkeypatch: pytest.MonkeyPatch, service: type, hides: Callable[[Request], bool], empty: dict[str, Any]
) -> list[str]:
    """Let services answer what ``hides`` names with ``empty``; returns method and path of each request."""
    seen: list[str] = []
    right = service.answer  # type: ignore[attr-defined]

    def answer(self: Any, request: Request) -> Answer:
        seen.append(f"{request.method} {request.path}")
        return Answer(200, json.dumps(empty).encode()) if hides(request) else right(self, request)

    monkeypatch.setattr(service, "answer", answer)
    return seen


def put(store: Store, times: int = 1) -> list[Stored]:
    async def work() -> list[Stored]:
        async with store:
            return [
                await store.put(records.attestation(records.subject(), run=records.origin(number)))
                for number in range(times)
            ]

    return asyncio.run(work())


NOTHING = {"data": {"dsses": {"edges": [], "pageInfo": {"hasNextPage": False, "endCursor": None}}}}


def test_an_archivista_whose_index_does_not_work_gives_no_receipt(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, Envelopes, lambda asked: asked.path == "/query", NOTHING)
    with archivista_endpoint() as server:
        (stored,) = put(open_store(f"archivista:{server.url}", QUICK))
    assert not stored.receipts
    (failure,) = stored.failures
    assert failure.transient
    assert "is stored, but a search for sha256:" in failure.reason


def test_an_archivista_whose_index_works_is_searched_once_for_many_records(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = hide(monkeypatch, Envelopes, lambda _: False, {})
    with archivista_endpoint() as server:
        stored = put(open_store(f"archivista:{server.url}", QUICK), times=3)
    assert all(one.receipts and not one.failures for one in stored)
    assert seen.count("POST /query") == 1


def test_a_grafeas_that_lists_no_occurrences_gives_no_receipt(monkeypatch: pytest.MonkeyPatch) -> None:
    def hides(asked: Request) -> bool:
        return asked.method == "GET" and asked.path.endswith("/occurrences")

    hide(monkeypatch, Project, hides, {})
    with containeranalysis_endpoint() as server:
        (stored,) = put(open_store(grafeas_url("proj", endpoint=server.url), QUICK))
    assert not stored.receipts
    (failure,) = stored.failures
    assert failure.transient
    assert failure.reason.endswith("a search does not find it")


@pytest.mark.parametrize("hidden", [False, True])
def test_a_bucket_whose_list_lacks_what_was_written_gives_no_receipt(
    hidden: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    class Bucket:
        """A client of a bucket in memory; its list may hide everything."""

        def __init__(self) -> None:
            self.objects: dict[str, bytes] = {}

        async def call(self, action: str, _: str, **asked: Any) -> dict[str, Any]:
            calls.append(action)
            prefix = asked.get("Prefix", "")
            found = [] if hidden else [{"Key": key} for key in self.objects if key.startswith(prefix)]
            return {"Contents": found} if found else {}

        async def put(self, key: str, data: bytes, _: bytes, **__: Any) -> str:
            self.objects[key] = data
            return ""

        async def get(self, key: str, *_: Any) -> Any:
            return type("Got", (), {"data": self.objects[key], "encryption": ""})

        async def close(self) -> None:
            pass

    store = S3Store("s3://evidence?region=eu-central-1", QUICK)
    monkeypatch.setattr(store, "_client", Bucket())
    first, *_ = stored = put(store, times=3)
    if hidden:
        assert not any(one.receipts for one in stored)
        assert first.failures[0].transient
        assert "written, but the bucket's list does not have it" in first.failures[0].reason
    else:
        assert all(one.receipts and not one.failures for one in stored)
        assert calls.count("list_objects_v2") == 2, "the bucket itself, and the list once"


@pytest.mark.parametrize("hidden", ["by-digest/", "by-run/", "taskrun-"])
def test_a_bucket_of_google_s_whose_list_lacks_what_was_written_gives_no_receipt(
    hidden: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hides(asked: Request) -> bool:
        return asked.query.get("prefix", "").startswith(hidden)

    hide(monkeypatch, Bucket, hides, {"kind": "storage#objects"})
    with gcs_endpoint() as bucket:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", bucket.url)
        (stored,) = put(open_store("gcs://evidence", QUICK))
    assert not stored.receipts
    (failure,) = stored.failures
    assert failure.transient
    assert ("other bytes came back" if hidden == "taskrun-" else "list does not have it") in failure.reason


def test_what_a_bucket_of_google_s_keeps_is_told_by_its_list_and_not_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = hide(monkeypatch, Bucket, lambda _: False, {})
    with gcs_endpoint() as bucket:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", bucket.url)
        stored = put(open_store("gcs://evidence", QUICK), times=3)
    assert all(one.receipts and not one.failures for one in stored)
    uploads, lists = "POST /upload/storage/v1/b/evidence/o", "GET /storage/v1/b/evidence/o"
    assert set(seen) == {uploads, lists}
    assert seen.count(uploads) == 3 * 8
    # six objects on two pages for each record, and what leads to the first one
    assert seen.count(lists) == 3 * 2 + 2
