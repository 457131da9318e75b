"""Small objects go to a bucket without the SDK around them: signed alike, read alike, and the SDK takes over."""

from __future__ import annotations

import asyncio
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from storage.base import Probe, StoreOptions
from storage.limits.allowance import Allowance
from storage.open import open_store
from storage.record import Stored
from storage.s3.client import Got, S3Client, digest_of
from storage.s3.errors import Exists, Missing
from storage.s3.settings import parse_s3_url
from storage.s3.wire import LARGEST
from tests.testbed import s3
from tests.testbed.certificates import make_certificates
from tests.testbed.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tests.testbed.s3_proxy import DROP, Proxy, s3_proxy
from tests.unit.storage import records

_numbers = count(1)
OURS = "provenance-chains"


@pytest.fixture(params=["s3_server", "moto_server"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    found: S3Server = request.getfixturevalue(request.param)
    for name, value in found.environ().items():
        monkeypatch.setenv(name, value)
    return found


def put(url: str) -> Stored:
    async def work() -> Stored:
        async with open_store(url, StoreOptions(attempts=2)) as store:
            return await store.put(records.attestation(records.subject(f"wire{next(_numbers)}")))

    return asyncio.run(work())


def agents(proxy: Proxy) -> list[tuple[str, str]]:
    """Return method and user agent of each request."""
    return [
        (seen.split()[0], headers.get("User-Agent", "").split("/")[0])
        for seen, headers in zip(proxy.seen, proxy.headers, strict=True)
    ]


def test_only_the_looks_at_the_bucket_are_the_sdk_s(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = server.make_bucket(f"wire-{next(_numbers)}")
    with s3_proxy(server.endpoint, ACCESS_KEY, SECRET_KEY) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        assert len(put(f"s3://{bucket}").receipts) == 2
        first, *rest = agents(proxy)
        assert first == ("GET", "Boto3")
        # the list that shows what was written is the other one
        assert sorted(rest) == [("GET", "Boto3")] + [("GET", OURS)] * 2 + [("PUT", OURS)] * 5


@pytest.mark.parametrize("harm", [DROP, 500, 503, 403])
def test_what_fails_on_the_wire_is_asked_of_the_sdk(
    harm: Any, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = server.make_bucket(f"wire-{next(_numbers)}")
    with s3_proxy(server.endpoint, ACCESS_KEY, SECRET_KEY) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        proxy.fault = lambda *_: harm if proxy.headers[-1].get("User-Agent") == OURS else None
        stored = put(f"s3://{bucket}")
        assert len(stored.receipts) == 2
        assert not stored.failures
        assert ("PUT", OURS) in agents(proxy)
        assert ("PUT", "Boto3") in agents(proxy)


def test_both_ways_read_the_same(server: S3Server) -> None:
    """Metadata with every character that may be in it, versions and locks."""
    bucket = server.make_bucket(f"wire-{next(_numbers)}", lock=True)
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)
    settings = {
        "ContentType": "application/json", "Metadata": {"run": "taskrun/a%2Fb/~-_.!*'()", "beside": "cert,chain"},
        "ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": until, "ObjectLockLegalHoldStatus": "ON",
    }  # fmt: skip
    key, data = "pre!fix*'()/run=1/ü~ +&?#.json", b"{}"

    async def work() -> None:
        client = S3Client(parse_s3_url(f"s3://{bucket}"), StoreOptions())
        try:
            await client.call("list_objects_v2", "", MaxKeys=1)
            wire = client._wire
            assert wire is not None
            version = await wire.put(key, data, digest_of(data), settings)
            assert version
            with pytest.raises(Exists):
                await client.put(key, data, digest_of(data))
            got: list[Got] = []
            for way in (wire, None):
                client._wire = way
                got += [await client.get(key, Allowance(99), named) for named in ("", version)]
            client._wire = wire
            with pytest.raises(Missing, match="404"):
                await client.get("nothing", Allowance(99))
            for each in fields(Got):
                values = [getattr(one, each.name) for one in got]
                assert all(value == values[0] for value in values), each.name
            assert (got[0].data, got[0].metadata) == (data, settings["Metadata"])
        finally:
            await client.close()

    asyncio.run(work())
    head = server.client.head_object(Bucket=bucket, Key=key)
    assert head["ContentType"] == "application/json"
    assert head["ObjectLockRetainUntilDate"] == until
    assert (head["ObjectLockMode"], head["ObjectLockLegalHoldStatus"]) == ("GOVERNANCE", "ON")


def test_large_objects_are_the_sdk_s(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = server.make_bucket(f"wire-{next(_numbers)}")
    with s3_proxy(server.endpoint, ACCESS_KEY, SECRET_KEY) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)

        async def work() -> None:
            client = S3Client(parse_s3_url(f"s3://{bucket}"), StoreOptions())
            try:
                await client.call("list_objects_v2", "", MaxKeys=1)
                data = b"x" * (LARGEST + 1)
                await client.put("large", data, digest_of(data))
                assert (await client.get("large", Allowance(2 * LARGEST))).data == data
            finally:
                await client.close()

        asyncio.run(work())
        assert agents(proxy) == [("GET", "Boto3"), ("PUT", "Boto3"), ("GET", OURS), ("GET", "Boto3")]


def test_bytes_that_are_not_their_digest_s_are_refused_by_the_service(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """The header of the checksum is sent: the probe of a bucket lives on that."""
    for name, value in s3_server.environ().items():
        monkeypatch.setenv(name, value)
    bucket = s3_server.make_bucket(f"wire-{next(_numbers)}")

    async def work() -> list[Probe]:
        async with open_store(f"s3://{bucket}") as store:
            return await store.probe()

    assert [one.state for one in asyncio.run(work())] == ["ok", "ok"]


def test_tls_trusts_whom_the_sdk_trusts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path / "certificates")
    with s3.versitygw(tmp_path, certificates=certificates) as server:
        for name, value in server.environ().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificates.ca_file))
        server.make_bucket("behind-tls")

        async def work() -> None:
            client = S3Client(parse_s3_url("s3://behind-tls"), StoreOptions())
            try:
                await client.call("list_objects_v2", "", MaxKeys=1)
                assert client._wire is not None
                assert await client._wire.put("key", b"x", digest_of(b"x"), {}) is not None
                assert (await client._wire.get("key", "")).body == b"x"
            finally:
                await client.close()

        asyncio.run(work())
