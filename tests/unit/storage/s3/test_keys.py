"""Keys, settings and errors of the S3 store, without a service."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from botocore import exceptions as sdk

from storage.base import StoreOptions
from storage.errors import StoreRejected, StoreUnavailable
from storage.open import open_store
from storage.record import Subject
from storage.s3.client import S3Client
from storage.s3.errors import BadDigest, Conflict, Exists, Missing, NotLockable, explain
from storage.s3.keys import (
    UNDATED,
    blobs_of,
    created_of,
    day_of,
    metadata_of,
    origin_of,
    parse_key,
    run_folder,
    snapshot_blob,
    subject_folder,
    subjects_of,
)
from storage.s3.settings import Lock, parse_s3_url, s3_url
from tests.unit.storage import records


@pytest.mark.parametrize(
    ("created", "day"),
    [
        ("2026-01-02T03:04:05Z", "2026/01/02"),
        ("2026-01-02T01:00:00+02:00", "2026/01/01"),
        ("2026-01-02T03:04:05.123456Z", "2026/01/02"),
        ("0001-01-01T00:00:00+10:00", UNDATED),
        ("", UNDATED),
        ("yesterday", UNDATED),
        ("../../../x", UNDATED),
    ],
)
def test_a_day_is_that_of_the_end_in_utc(created: str, day: str) -> None:
    assert day_of(created) == day


def test_a_key_reads_back_as_what_it_was_made_of() -> None:
    record = replace(records.image_signature(records.subject(), certificate=b"C"), snapshot=b"{}")
    folder = run_folder(record.origin, record.created)
    blobs = [*blobs_of(record), snapshot_blob(record)]
    assert [blob.is_evidence for blob in blobs if blob] == [False, False, True, True, False]
    for blob in blobs:
        assert blob is not None
        place = parse_key(f"{folder}/{record.origin.uid}/{blob.tail}")
        assert place is not None
        assert (place.kind, place.namespace, place.day) == ("taskrun", "default", "2026/01/02")
        metadata = metadata_of(record, blob.beside)
        assert origin_of(place, metadata) == record.origin
        assert created_of(place, metadata) == record.created
        assert created_of(place, {}) == "2026-01-02"
        assert origin_of(place, {}).name == ""


@pytest.mark.parametrize("name", ["..", "", "a" * 3000, "ünïcode 😀", "with/slash", "-rf", "nul\x00"])
def test_odd_names_make_keys_of_the_same_shape(name: str) -> None:
    record = records.attestation(
        records.subject(), run=records.origin(name=name, namespace=name), predicate=name
    )
    for blob in blobs_of(record):
        key = f"{run_folder(record.origin, name)}/{record.origin.uid}/{blob.tail}"
        assert parse_key(key) is not None
        assert len(key.encode()) < 1024 - 200 - 90
        assert sum(map(len, metadata_of(record).values())) < 2048


@pytest.mark.parametrize("key", ["", "a/b", "/".join("abcdefgh"), "/".join("abcdefg") + "/" + "0" * 64])
def test_other_keys_are_none_of_ours(key: str) -> None:
    assert parse_key(key) is None


def test_only_digests_are_looked_for() -> None:
    assert subject_folder("sha256", "ab" * 32) == "subjects/sha256/" + "ab" * 32
    for algorithm, value in (("sha/256", "ab"), ("sha256", "../x"), ("", "ab"), ("sha256", "AB")):
        assert subject_folder(algorithm, value) is None
    odd = Subject("x", {"sha256": "zz", "gitCommit": "abcd"})
    assert subjects_of(records.attestation(odd)) == {"subjects/gitCommit/abcd": "gitCommit:abcd"}


def test_a_record_that_is_too_large_or_empty_is_rejected() -> None:
    record = records.attestation(records.subject())
    with pytest.raises(StoreRejected, match="the limit is"):
        blobs_of(replace(record, bundle=bytes(64 * 1024 * 1024 + 1)))
    with pytest.raises(StoreRejected, match="no bundle, envelope or signature"):
        blobs_of(replace(record, bundle=b"", envelope=b""))


def test_a_url_carries_every_setting() -> None:
    settings = {"region": "eu-1", "endpoint": "https://s3.example:9000", "addressing-style": "path",
                "ca-file": "/etc/ca file.pem", "sse": "aws:kms", "sse-kms-key-id": "arn:aws:kms:x:key/1&2",
                "object-lock": "compliance", "retain-days": "prod-*=30,*=7", "legal-hold": "a,b", "snapshots": "false"}  # fmt: skip
    found = parse_s3_url(s3_url("bucket", "/pre/fix/", settings))
    assert (found.bucket, found.prefix, found.root) == ("bucket", "pre/fix", "pre/fix/")
    assert {name: getattr(found, name.replace("-", "_")) for name in settings} == settings
    assert found.url == "s3://bucket/pre/fix"
    assert found.lock_for("prod-shop") == Lock("COMPLIANCE", 30, False)
    assert found.lock_for("a") == Lock("COMPLIANCE", 7, True)
    assert parse_s3_url("s3://bucket").lock_for("a") is None
    assert parse_s3_url("s3://bucket?legal-hold=x*").lock_for("xy") == Lock("", 0, True)
    assert parse_s3_url("s3://bucket?object-lock=governance&retain-days=x%3D1").lock_for("y") is None


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3:", "expected s3://BUCKET"),
        ("s3:bucket", "expected s3://BUCKET"),
        ("s3://", "expected s3://BUCKET"),
        ("s3://a", "not the name of a bucket"),
        ("s3://u:secret@bucket", "must not contain credentials"),
        ("s3://bucket/a//b", "prefix"),
        ("s3://bucket/ü", "prefix"),
        ("s3://bucket/" + "a" * 201, "prefix"),
        ("s3://bucket?regoin=x", "unknown setting 'regoin'"),
        ("s3://bucket?sse=AES", "expected one of nothing, AES256, aws:kms"),
        ("s3://bucket?sse-kms-key-id=x", "needs sse aws:kms"),
        ("s3://bucket?object-lock=governance", "needs retain-days"),
        ("s3://bucket?retain-days=7", "needs object-lock"),
        ("s3://bucket?object-lock=governance&retain-days=x", "expected DAYS"),
        ("s3://bucket?object-lock=governance&retain-days=99999", "at most 36500"),
        ("s3://bucket?endpoint=ftp://x", "expected https"),
        ("s3://bucket?endpoint=https://u:secret@x", "without a user or password"),
    ],
)
def test_a_url_that_cannot_be_meant_is_rejected(url: str, words: str) -> None:
    with pytest.raises(StoreRejected, match=words) as caught:
        open_store(url, StoreOptions())
    assert "u:secret" not in str(caught.value)


def answered(status: int, code: str, operation: str = "put_object") -> Any:
    response: Any = {
        "Error": {"Code": code, "Message": "said"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return explain(sdk.ClientError(response, operation), operation, "s3://bucket/key")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (412, "PreconditionFailed", Exists),
        (409, "ConditionalRequestConflict", Conflict),
        (503, "SlowDown", StoreUnavailable),
        (500, "InternalError", StoreUnavailable),
        (429, "", StoreUnavailable),
        (400, "RequestTimeout", StoreUnavailable),
        (400, "ExpiredToken", StoreUnavailable),
        (403, "AccessDenied", StoreRejected),
        (403, "RequestTimeTooSkewed", StoreRejected),
        (301, "PermanentRedirect", StoreRejected),
        (501, "NotImplemented", StoreRejected),
        (400, "BadDigest", BadDigest),
        (404, "ObjectLockConfigurationNotFoundError", NotLockable),
    ],
)
def test_what_may_pass_is_told_from_what_does_not(status: int, code: str, kind: type[Exception]) -> None:
    assert type(answered(status, code)) is kind
    assert type(answered(404, "NoSuchKey", "get_object")) is Missing
    assert type(answered(404, "NoSuchBucket", "get_object")) is StoreRejected


def test_errors_without_an_answer_are_told_in_words() -> None:
    for error in (sdk.EndpointConnectionError(endpoint_url="http://x"), sdk.ReadTimeoutError(endpoint_url="http://x"),
                  sdk.ConnectionClosedError(endpoint_url="http://x"), TimeoutError("late"),
                  sdk.CredentialRetrievalError(provider="x", error_msg="y"), sdk.NoCredentialsError()):  # fmt: skip
        assert type(explain(error, "get_object", "s3://b")) is StoreUnavailable
    assert "no credentials" in str(explain(sdk.NoCredentialsError(), "get_object", "s3://b"))
    for error, words in ((sdk.NoRegionError(), "region"),
                         (sdk.SSLError(endpoint_url="http://x", error="e"), "ca-file")):  # fmt: skip
        found = explain(error, "get_object", "s3://b")
        assert type(found) is StoreRejected
        assert words in str(found)


def test_the_region_that_pods_are_given_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-test-7")
    client = S3Client(parse_s3_url("s3://bucket"), StoreOptions())
    try:
        assert client._made().meta.region_name == "eu-test-7"
    finally:
        asyncio.run(client.close())
