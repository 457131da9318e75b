"""The S3 store against real services: locks, encryption, outages, rights and every way to credentials."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from storage.base import Probe, StoreOptions
from storage.errors import StoreError, StoreRejected, StoreUnavailable
from storage.open import open_store
from storage.record import Findings, Record, Stored, Subject
from tests.testbed import s3
from tests.testbed.certificates import make_certificates
from tests.testbed.s3 import ACCESS_KEY, READER, SECRET_KEY, S3Server
from tests.testbed.s3_proxy import DROP, FLIP, Proxy, s3_proxy
from tests.unit.storage import records

_numbers = count(1)
UID = records.origin().uid


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No credential of this machine is seen."""
    for name, value in S3Server("http://127.0.0.1:9", 0).environ().items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture
def bucket(s3_server: S3Server, environment: pytest.MonkeyPatch) -> str:
    """A new bucket that the environment leads to."""
    environment.setenv("AWS_ENDPOINT_URL", s3_server.endpoint)
    return s3_server.make_bucket(f"plain-{next(_numbers)}")


@pytest.fixture
def locked(s3_server: S3Server, environment: pytest.MonkeyPatch) -> str:
    """A new bucket with object lock."""
    environment.setenv("AWS_ENDPOINT_URL", s3_server.endpoint)
    return s3_server.make_bucket(f"locked-{next(_numbers)}", lock=True)


@pytest.fixture
def proxy(s3_server: S3Server, bucket: str, environment: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """Something between the store and the service."""
    with s3_proxy(s3_server.endpoint, ACCESS_KEY, SECRET_KEY) as found:
        environment.setenv("AWS_ENDPOINT_URL", found.url)
        yield found


def put(url: str, *several: Record, **options: Any) -> list[Stored]:
    async def work() -> list[Stored]:
        async with open_store(url, StoreOptions(**({"attempts": 2} | options))) as store:
            return await asyncio.gather(*(store.put(record) for record in several))

    return asyncio.run(work())


def find(url: str, subject: Subject) -> Findings:
    async def work() -> Findings:
        async with open_store(url, StoreOptions(attempts=1)) as store:
            return await store.find(f"sha256:{subject.digest['sha256']}")

    return asyncio.run(work())


def find_run(url: str) -> Findings:
    async def work() -> Findings:
        async with open_store(url) as store:
            return await store.find_run(UID)

    return asyncio.run(work())


def whole_run() -> tuple[Subject, list[Record]]:
    subject = records.subject()
    return subject, [replace(one, snapshot=b'{"kind":"TaskRun"}') for one in records.records_of_run(subject)]


def keys(server: S3Server, bucket: str) -> list[str]:
    return [each["Key"] for each in server.client.list_objects_v2(Bucket=bucket).get("Contents", ())]


def reasons(stored: list[Stored]) -> str:
    assert not any(one.receipts for one in stored)
    assert all(one.failures for one in stored)
    return "\n".join(failure.reason for one in stored for failure in one.failures)


def test_everything_about_a_run_and_about_an_artifact_is_one_listing_away(
    s3_server: S3Server, bucket: str
) -> None:
    subject, made = whole_run()
    stored = put(f"s3://{bucket}/evidence", *made)
    assert all(one.receipts and not one.failures for one in stored)
    run = f"evidence/runs/taskrun/default/2026/01/02/{UID}/"
    names = [key.removeprefix(run) for key in keys(s3_server, bucket) if key.startswith(run)]
    assert {name.split("/")[0] for name in names} == {
        "slsa.dev-provenance-v1", "in-toto.io-attestation-scai-v0.3", "image-signature", "snapshot"
    }  # fmt: skip
    pointers = f"evidence/subjects/sha256/{subject.digest['sha256']}/taskrun/default/2026/01/02/{UID}/"
    pointed = {key.removeprefix(pointers) for key in keys(s3_server, bucket) if key.startswith(pointers)}
    assert pointed == {name for name in names if name.endswith((".bundle.json", ".envelope.json", ".sig"))}
    found = find_run(f"s3://{bucket}/evidence")
    assert found.snapshot == b'{"kind":"TaskRun"}'
    assert len(found.evidence) == 6
    assert {(one.origin, one.created) for one in found.evidence} == {(made[0].origin, records.ENDED)}


def test_runs_are_listed_by_the_day_they_ended(bucket: str) -> None:
    made = [
        replace(records.attestation(run=records.origin(number)), created=created)
        for number, created in enumerate(
            (
                "2025-12-31T23:59:59Z",
                "2026-01-02T01:00:00+02:00",
                "2026-01-02T03:00:00Z",
                "2026-02-01T00:00:00Z",
                "",
            )
        )
    ]
    put(f"s3://{bucket}", *made)

    async def listed(since: str = "", until: str = "") -> list[int]:
        async with open_store(f"s3://{bucket}") as store:
            return sorted([int(run.origin.uid[-3:]) async for run in store.list_runs(since, until)])

    assert asyncio.run(listed()) == [0, 1, 2, 3, 4]
    assert asyncio.run(listed("2026-01-01T00:00:00Z")) == [1, 2, 3]
    assert asyncio.run(listed("2026-01-02T12:00:00Z", "2026-01-31T00:00:00Z")) == [2]
    assert asyncio.run(listed(until="2026-01-01T00:00:00Z")) == [0, 1, 4]


def test_a_locked_object_cannot_be_deleted_and_says_so(s3_server: S3Server, locked: str) -> None:
    url = f"s3://{locked}?object-lock=compliance&retain-days=prod-*%3D30,*%3D7&legal-hold=legal-*"
    here = [
        records.attestation(records.subject(), run=records.origin(number, namespace=namespace))
        for number, namespace in enumerate(("prod-shop", "dev", "legal-7"))
    ]
    stored = put(url, *here)
    for one, days, hold in zip(stored, (30, 7, 7), (False, False, True), strict=True):
        assert not one.failures
        key = one.receipts[0].location.removeprefix(f"s3://{locked}/")
        head = s3_server.client.head_object(Bucket=locked, Key=key)
        assert head["ObjectLockMode"] == "COMPLIANCE"
        left = head["ObjectLockRetainUntilDate"] - datetime.now(UTC)
        assert timedelta(days=days, minutes=-5) < left <= timedelta(days=days)
        assert (head.get("ObjectLockLegalHoldStatus") == "ON") is hold
        with pytest.raises(ClientError, match="AccessDenied"):
            s3_server.client.delete_object(
                Bucket=locked, Key=key, VersionId=head["VersionId"], BypassGovernanceRetention=True
            )
    again = put(url, *here)
    assert not any(receipt.changed or one.failures for one in again for receipt in one.receipts)


def test_what_was_there_without_a_lock_is_locked_when_it_is_stored_again(
    s3_server: S3Server, locked: str
) -> None:
    _, made = whole_run()
    put(f"s3://{locked}", *made)
    stored = put(f"s3://{locked}?object-lock=governance&retain-days=1&legal-hold=*", *made)
    for one in stored:
        assert not one.failures
        for receipt in one.receipts:
            assert not receipt.changed
            key = receipt.location.removeprefix(f"s3://{locked}/")
            head = s3_server.client.head_object(Bucket=locked, Key=key)
            assert head["ObjectLockMode"] == "GOVERNANCE"
            assert head["ObjectLockLegalHoldStatus"] == "ON"


@pytest.mark.parametrize("name", ["s3_server", "moto_server"])
def test_a_bucket_that_cannot_lock_gives_no_receipt(
    name: str, request: pytest.FixtureRequest, environment: pytest.MonkeyPatch
) -> None:
    server: S3Server = request.getfixturevalue(name)
    environment.setenv("AWS_ENDPOINT_URL", server.endpoint)
    bucket = server.make_bucket(f"bare-{next(_numbers)}")
    url = f"s3://{bucket}?object-lock=governance&retain-days=7"
    assert "object lock needs versioning" in reasons(put(url, *whole_run()[1]))
    server.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    assert "object lock is off for this bucket" in reasons(put(url, *whole_run()[1]))
    assert keys(server, bucket) == []


def test_moto_too_keeps_locks(moto_server: S3Server, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("AWS_ENDPOINT_URL", moto_server.endpoint)
    bucket = moto_server.make_bucket(f"locked-{next(_numbers)}", lock=True)
    stored = put(f"s3://{bucket}?object-lock=compliance&retain-days=7", *whole_run()[1])
    assert all(one.receipts and not one.failures for one in stored)
    key = stored[0].receipts[0].location.removeprefix(f"s3://{bucket}/")
    version = moto_server.client.head_object(Bucket=bucket, Key=key)["VersionId"]
    with pytest.raises(ClientError, match="AccessDenied"):
        moto_server.client.delete_object(Bucket=bucket, Key=key, VersionId=version)


def test_encryption_that_was_asked_for_is_there(
    moto_server: S3Server, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("AWS_ENDPOINT_URL", moto_server.endpoint)
    bucket = moto_server.make_bucket(f"secret-{next(_numbers)}")
    key = moto_server.client_for("kms").create_key()["KeyMetadata"]["Arn"]
    for sse, query in (("AES256", "sse=AES256"), ("aws:kms", f"sse=aws:kms&sse-kms-key-id={key}")):
        (stored,) = put(f"s3://{bucket}/{sse[-3:]}?{query}", records.attestation(records.subject()))
        assert not stored.failures
        for receipt in stored.receipts:
            head = moto_server.client.head_object(
                Bucket=bucket, Key=receipt.location.removeprefix(f"s3://{bucket}/")
            )
            assert head["ServerSideEncryption"] == sse
            assert head.get("SSEKMSKeyId", "") == (key if sse == "aws:kms" else "")


def test_a_service_that_ignores_encryption_gives_no_receipt(bucket: str) -> None:
    """versitygw takes the header and does nothing."""
    text = reasons(put(f"s3://{bucket}?sse=AES256", records.attestation(records.subject())))
    assert "storage.s3.sse is AES256, but the object has no encryption" in text


def test_an_outage_in_the_middle_loses_nothing(bucket: str, proxy: Proxy) -> None:
    subject, made = whole_run()
    for harm in (DROP, 503):
        proxy.seen.clear()
        url = f"s3://{bucket}/{harm}"

        def fault(method: str, path: str, harm: Any = harm) -> Any:
            return harm if len(proxy.seen) > 4 else None

        proxy.fault = fault
        failed = put(url, *made)
        assert any(failure.transient for one in failed for failure in one.failures)
        with pytest.raises(StoreUnavailable):
            find(url, subject)
        proxy.fault = lambda *_: None
        stored = put(url, *made)
        assert all(one.receipts and not one.failures for one in stored)
        assert len(find(url, subject).evidence) == 6


def test_an_answer_that_was_lost_is_no_second_object(bucket: str, proxy: Proxy, s3_server: S3Server) -> None:
    lost: list[str] = []

    def fault(method: str, path: str) -> str | None:
        if method == "PUT" and path not in lost:
            lost.append(path)
            return DROP
        return None

    proxy.fault = fault
    (stored,) = put(f"s3://{bucket}", records.attestation(records.subject()))
    assert len(stored.receipts) == 2
    assert len(keys(s3_server, bucket)) == 5  # two objects, two pointers, one UID


def test_bytes_that_come_back_wrong_give_no_receipt(bucket: str, proxy: Proxy) -> None:
    proxy.fault = lambda method, path: FLIP if method == "GET" and ".envelope.json" in path else None
    text = reasons(put(f"s3://{bucket}", records.attestation(records.subject())))
    assert "read back sha256:" in text
    assert "expected sha256:" in text


def test_bytes_that_changed_in_the_bucket_are_told_and_not_used(s3_server: S3Server, bucket: str) -> None:
    subject, made = whole_run()
    put(f"s3://{bucket}", *made)
    assert s3_server.folder is not None
    for suffix in ("*.bundle.json", "*.sig", "*.payload.json"):
        for path in (s3_server.folder / bucket / "runs").rglob(suffix):
            data = path.read_bytes()
            path.write_bytes(data[:-3] + b"AAA")
    found = find(f"s3://{bucket}", subject)
    assert {one.format for one in found.evidence} == {"dsse"}
    assert len(found.skipped) == 4
    assert all("they were changed" in one.reason or "base64" in one.reason for one in found.skipped)
    text = reasons(put(f"s3://{bucket}", *made))
    assert "another writer changed it" in text


def test_a_pointer_without_its_object_is_told(s3_server: S3Server, bucket: str) -> None:
    subject, made = whole_run()
    put(f"s3://{bucket}", made[0])
    (gone,) = [
        key for key in keys(s3_server, bucket) if key.endswith(".bundle.json") and key.startswith("runs")
    ]
    s3_server.client.delete_object(Bucket=bucket, Key=gone)
    found = find(f"s3://{bucket}", subject)
    assert [one.format for one in found.evidence] == ["dsse"]
    (skipped,) = found.skipped
    assert "404" in skipped.reason


def test_more_than_can_be_read_is_told(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    subject, made = whole_run()
    put(f"s3://{bucket}", *made)
    monkeypatch.setattr("storage.s3.find._MOST_KEYS", 4)
    found = find(f"s3://{bucket}", subject)
    assert len(found.evidence) == 4
    assert "the limit is 4" in found.skipped[0].reason


def test_who_may_not_is_told_what_is_needed(
    s3_server: S3Server, bucket: str, environment: pytest.MonkeyPatch
) -> None:
    record = records.attestation(records.subject())
    environment.setenv("AWS_ACCESS_KEY_ID", READER[0])
    environment.setenv("AWS_SECRET_ACCESS_KEY", READER[1])
    stored = put(f"s3://{bucket}", record)
    assert "403" in reasons(stored)
    assert "not allowed: the credentials need s3:ListBucket" in reasons(stored)
    assert not any(failure.transient for one in stored for failure in one.failures)
    with pytest.raises(StoreRejected, match="need s3:ListBucket"):
        find(f"s3://{bucket}", records.subject())
    environment.setenv("AWS_SECRET_ACCESS_KEY", "wrong-and-never-shown")
    with pytest.raises(StoreRejected, match="secret key is wrong") as caught:
        find(f"s3://{bucket}", records.subject())
    assert "never-shown" not in str(caught.value)
    environment.delenv("AWS_ACCESS_KEY_ID")
    environment.delenv("AWS_SECRET_ACCESS_KEY")
    assert "there are no credentials" in reasons(put(f"s3://{bucket}", record))


def test_a_probe_tells_what_is_wrong_and_leaves_nothing(
    s3_server: S3Server, bucket: str, locked: str, environment: pytest.MonkeyPatch
) -> None:
    def probed(url: str) -> list[tuple[str, str]]:
        async def work() -> list[Probe]:
            async with open_store(url) as store:
                return await store.probe()

        return [(one.what, one.state) for one in asyncio.run(work())]

    assert probed(f"s3://{locked}?legal-hold=*") == [("bucket", "ok"), ("write", "ok")]
    assert probed(f"s3://{bucket}") == [("bucket", "ok"), ("write", "ok")]
    assert keys(s3_server, bucket) == keys(s3_server, locked) == []
    assert probed(f"s3://{bucket}?legal-hold=*") == [("bucket", "failed")]
    grant = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": READER[0], "Action": "s3:ListBucket", "Resource": f"arn:aws:s3:::{bucket}"}
    ]}  # fmt: skip
    s3_server.client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(grant))
    environment.setenv("AWS_ACCESS_KEY_ID", READER[0])
    environment.setenv("AWS_SECRET_ACCESS_KEY", READER[1])
    assert probed(f"s3://{bucket}") == [("bucket", "ok"), ("write", "failed")]
    assert "the credentials need s3:PutObject" in reasons(put(f"s3://{bucket}", records.attestation()))


def test_a_bucket_that_is_not_there_is_told(bucket: str) -> None:
    assert "there is no such bucket" in reasons(put("s3://nowhere-at-all", records.attestation()))
    with pytest.raises(StoreRejected, match="there is no such bucket"):
        find("s3://nowhere-at-all", records.subject())


def test_a_service_that_is_down_may_come_back(environment: pytest.MonkeyPatch) -> None:
    stored = put("s3://anything", records.attestation(), timeout=1.0)
    assert all(failure.transient for one in stored for failure in one.failures)


def stores_and_finds(url: str) -> bool:
    subject = records.subject()
    (stored,) = put(url, records.attestation(subject))
    assert not stored.failures, stored.failures
    return len(find(url, subject).evidence) == 2


def test_credentials_come_from_shared_files(
    bucket: str, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.delenv("AWS_ACCESS_KEY_ID")
    environment.delenv("AWS_SECRET_ACCESS_KEY")
    path = tmp_path / "credentials"
    path.write_text(f"[evidence]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n")
    environment.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    environment.setenv("AWS_PROFILE", "evidence")
    assert stores_and_finds(f"s3://{bucket}")


@pytest.fixture
def role(moto_server: S3Server, environment: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy before moto, which unlike versitygw takes session tokens; it hands out a role's credentials."""
    moto_server.make_bucket("of-a-role")  # in us-east-1 making it again is no error
    environment.delenv("AWS_ACCESS_KEY_ID")
    environment.delenv("AWS_SECRET_ACCESS_KEY")
    with s3_proxy(moto_server.endpoint, "ASIAROLE", "the-role-s-secret") as found:
        environment.setenv("AWS_ENDPOINT_URL", found.url)
        yield found


def is_by_role(proxy: Proxy) -> bool:
    """Whether every request to the bucket was signed with the role's credentials."""
    asked = [headers for seen, headers in zip(proxy.seen, proxy.headers, strict=True) if "/of-a-role" in seen]
    assert asked
    return all(
        "Credential=ASIAROLE/" in one["Authorization"] and one["X-Amz-Security-Token"] == "session"
        for one in asked
    )


def test_credentials_come_from_a_web_identity(
    environment: pytest.MonkeyPatch, tmp_path: Path, role: Proxy
) -> None:
    (tmp_path / "token").write_text("a.projected.token")
    environment.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    environment.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/evidence")
    assert stores_and_finds("s3://of-a-role/web")
    assert role.seen.count("POST /") == 2  # once for each store
    assert is_by_role(role)


def test_credentials_come_from_the_instance_s_role(environment: pytest.MonkeyPatch, role: Proxy) -> None:
    environment.delenv("AWS_EC2_METADATA_DISABLED")
    environment.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", role.url)
    assert stores_and_finds("s3://of-a-role/instance")
    assert any("security-credentials/builder-role" in one for one in role.seen)
    assert is_by_role(role)


def test_requests_go_through_a_proxy(
    bucket: str, environment: pytest.MonkeyPatch, s3_server: S3Server, proxy: Proxy
) -> None:
    environment.setenv("HTTP_PROXY", proxy.url)
    environment.setenv("http_proxy", proxy.url)
    assert stores_and_finds(f"s3://{bucket}?endpoint={s3_server.endpoint}")
    assert proxy.seen
    assert all(f" {s3_server.endpoint}/{bucket}" in one for one in proxy.seen)


def test_buckets_are_named_in_the_host_where_that_is_asked_for(bucket: str, proxy: Proxy) -> None:
    with pytest.raises(StoreError):
        find(f"s3://{bucket}?addressing-style=virtual&endpoint=http://localhost:9", records.subject())
    find(f"s3://{bucket}?addressing-style=path", records.subject())
    assert all(f"/{bucket}?" in one for one in proxy.seen)


def test_a_private_ca_is_trusted_where_it_is_named(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path / "certificates")
    with s3.versitygw(tmp_path, certificates=certificates) as server:
        environment.setenv("AWS_ENDPOINT_URL", server.endpoint)
        with pytest.raises(StoreRejected, match=r"not trusted: name its CA with storage\.s3\.ca-file"):
            find("s3://behind-tls", records.subject())
        server.make_bucket("behind-tls")
        assert stores_and_finds(f"s3://behind-tls?ca-file={certificates.ca_file}")
