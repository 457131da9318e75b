"""What every store reports and loses when its server fails, refuses or returns wrong data: one test body.

Registries have ``tests/faults/test_registry_quirks.py``, folders ``test_stores.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import grpc
import pytest

from storage.base import Store, StoreOptions
from storage.errors import StoreError, StoreUnavailable
from storage.grafeas.store import grafeas_url
from storage.open import open_store
from storage.record import Findings
from tests.testbed.clouds import mongo
from tests.testbed.clouds.dynamodb import make_table
from tests.testbed.s3 import ACCESS_KEY, SECRET_KEY
from tests.testbed.s3_proxy import FLIP, Proxy, s3_proxy
from tests.unit.storage import records

_numbers = count(1)
QUICK = StoreOptions(timeout=2.0, attempts=1)
BY_PROXY = (
    "s3 versitygw",
    "s3 moto",
    "dynamodb moto",
    "gcs local endpoint",
    "grafeas local endpoint",
    "archivista local endpoint",
)


@dataclass
class Faulty:
    """A store whose server misbehaves from the ``after``-th request on; status 0 ends that."""

    url: str
    options: StoreOptions
    harm: Callable[[int, int], None]
    """Called with status and ``after``."""
    permission: str
    """The permission that the error of a refusal must name."""
    finds: int
    """The number of pieces of evidence of one run with an image."""
    proxy: Proxy | None = None

    def open(self) -> Store:
        return open_store(self.url, self.options)


@pytest.fixture(
    params=[
        pytest.param(name, marks=() if "moto" in name else pytest.mark.server)
        for name in (*BY_PROXY, "mongo local endpoint", "firestore local endpoint")
    ]
)
def faulty(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    kind = request.param.split()[0]
    if kind == "mongo":
        server = request.getfixturevalue("mongo_server")
        harm = _counting(server, {0: 0, 403: 13, 503: 11600})
        options = StoreOptions(timeout=2.0, attempts=1, mongo_server_url=server.url)
        yield Faulty("mongo://c/e?id_field=Name", options, harm, "readWrite", 6)
        return
    if kind == "firestore":
        server = request.getfixturevalue("firestore_server")
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", server.address)
        status = grpc.StatusCode
        harm = _counting(server, {0: None, 403: status.PERMISSION_DENIED, 503: status.UNAVAILABLE})
        url = "firestore://projects/p/databases/(default)/documents/e?name_field=Name"
        yield Faulty(url, QUICK, harm, "roles/datastore.user", 6)
        return
    name = {"s3 versitygw": "s3_server", "s3 moto": "moto_server", "dynamodb moto": "moto_server"}.get(
        request.param, {"gcs": "gcs_bucket"}.get(kind, f"{kind}_server")
    )
    server = request.getfixturevalue(name)
    with s3_proxy(getattr(server, "endpoint", "") or server.url, ACCESS_KEY, SECRET_KEY) as proxy:
        yield _behind(proxy, kind, server, monkeypatch)


def _behind(proxy: Proxy, kind: str, server: Any, monkeypatch: pytest.MonkeyPatch) -> Faulty:
    def harm(status: int, after: int) -> None:
        proxy.seen.clear()
        proxy.headers.clear()
        proxy.fault = lambda *_: status if status and len(proxy.seen) > after else None

    if kind in {"s3", "dynamodb"}:
        for name, value in (server.environ() | {"AWS_ENDPOINT_URL": proxy.url}).items():
            monkeypatch.setenv(name, value)
    if kind == "s3":
        bucket = server.make_bucket(f"faulty-{next(_numbers)}")
        return Faulty(f"s3://{bucket}", QUICK, harm, "s3:", 6, proxy)
    if kind == "dynamodb":
        table = make_table(server.client_for("dynamodb"))
        return Faulty(f"dynamodb://{table}?partition_key=Name", QUICK, harm, "dynamodb:", 6, proxy)
    if kind == "gcs":
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        return Faulty("gcs://evidence", QUICK, harm, "storage.objects", 6, proxy)
    if kind == "grafeas":
        url = grafeas_url("proj", endpoint=proxy.url)
        return Faulty(url, QUICK, harm, "roles/containeranalysis", 3, proxy)
    return Faulty(f"archivista:{proxy.url}", QUICK, harm, "asks for a login", 3, proxy)


def _counting(server: Any, values: dict[int, Any]) -> Callable[[int, int], None]:
    """Make ``server.fails`` count its reads, because not every server has a proxy that counts requests."""
    state = {"status": 0, "left": 0}

    def fails(_: Any) -> Any:
        state["left"] -= 1
        return values[state["status"]] if state["left"] < 0 else values[0]

    server.__class__ = type("Counting", (type(server),), {"fails": property(fails)})

    def harm(status: int, after: int) -> None:
        state.update(status=status, left=after)

    return harm


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(work())  # type: ignore[arg-type]


def test_an_outage_in_the_middle_loses_nothing(faulty: Faulty) -> None:
    image = records.subject(f"registry.example/outage{next(_numbers)}", b"%d" % next(_numbers))
    made = records.records_of_run(image)
    digest = f"sha256:{image.digest['sha256']}"

    async def work() -> None:
        async with faulty.open() as store:
            faulty.harm(503, 3)
            first = await asyncio.gather(*(store.put(record) for record in made))
            failures = [failure for one in first for failure in one.failures]
            assert failures
            assert all(failure.transient for failure in failures), failures
            faulty.harm(503, 0)
            with pytest.raises(StoreUnavailable):
                await store.find(digest, image.name)
            faulty.harm(0, 0)
            again = await asyncio.gather(*(store.put(record) for record in made))
            assert not [failure for one in again for failure in one.failures]
            found = await store.find(digest, image.name)
            assert not found.skipped
            assert len(found.evidence) == faulty.finds
            assert {record.envelope for record in made[:2]} <= {one.data for one in found.evidence}

    run(work)


def test_a_refusal_names_the_permission(faulty: Faulty) -> None:
    async def work() -> None:
        async with faulty.open() as store:
            faulty.harm(403, 0)
            stored = await store.put(records.attestation(records.subject()))
            assert not stored.receipts
            assert faulty.permission in stored.failures[0].reason

    run(work)


@pytest.mark.parametrize("faulty", BY_PROXY, indirect=True)
def test_wrong_bytes_that_come_back_are_no_evidence(faulty: Faulty) -> None:
    """Where names have no digest, changing the last byte of an answer makes it unreadable."""
    image = records.subject(f"registry.example/lie{next(_numbers)}", b"%d" % next(_numbers))
    record = records.attestation(image)
    digest = f"sha256:{image.digest['sha256']}"

    async def work() -> None:
        async with faulty.open() as store:
            assert not (await store.put(record)).failures
            assert faulty.proxy is not None
            faulty.proxy.fault = lambda *_: FLIP
            try:
                found = await store.find(digest, image.name)
            except StoreError:
                found = Findings()
            assert not found.evidence
            faulty.proxy.fault = lambda *_: None
            assert (await store.find(digest, image.name)).evidence

    run(work)


@pytest.mark.server
def test_a_database_that_keeps_other_values_gives_no_receipt(
    mongo_server: mongo.MongoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = mongo._update

    def rotten(documents: dict[str, bytes], asked: dict[str, Any]) -> dict[str, Any]:
        for one in asked["updates"]:
            one["u"] = {name: _spoilt(value) for name, value in one["u"].items()}
        return update(documents, asked)

    monkeypatch.setattr(mongo, "_update", rotten)

    async def work() -> None:
        options = StoreOptions(timeout=2.0, attempts=1, mongo_server_url=mongo_server.url)
        async with open_store("mongo://c/e?id_field=Name", options) as store:
            (failure,) = (await store.put(records.attestation(records.subject()))).failures
            assert "other values came back" in failure.reason

    run(work)


def _spoilt(value: Any) -> Any:
    return value[:-1] + value[:1] if isinstance(value, str | bytes) and len(value) > 1 else value
