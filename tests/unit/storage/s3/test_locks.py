"""Whether an object is protected as it should be, and what is done where it is not."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from storage.base import StoreOptions
from storage.errors import StoreRejected
from storage.s3.client import Got
from storage.s3.settings import Lock, parse_s3_url
from storage.s3.store import S3Store, _is_locked

Json = Any
MADE = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def got(**more: Json) -> Got:
    found = {
        "data": b"x", "metadata": {}, "encryption": "", "kms_key": "", "lock_mode": "", "retain_until": None,
        "hold": False, "modified": MADE,
    }  # fmt: skip
    return Got(**found | more)


@pytest.mark.parametrize(
    ("asked", "there", "locked"),
    [
        ("COMPLIANCE", "COMPLIANCE", True),
        ("COMPLIANCE", "GOVERNANCE", False),
        ("COMPLIANCE", "", False),
        ("COMPLIANCE", "compliance", False),
        ("GOVERNANCE", "GOVERNANCE", True),
        ("GOVERNANCE", "COMPLIANCE", True),
        ("GOVERNANCE", "", False),
    ],
)
def test_what_somebody_may_lift_is_no_compliance(asked: str, there: str, locked: bool) -> None:
    """With ``s3:BypassGovernanceRetention`` anybody takes GOVERNANCE off; COMPLIANCE nobody does."""
    lock = Lock(asked, 7, hold=False)
    assert _is_locked(got(lock_mode=there, retain_until=MADE + 7 * DAY), lock) is locked


@pytest.mark.parametrize(
    ("until", "locked"),
    [
        (MADE + 7 * DAY, True),
        (MADE + 8 * DAY, True),
        (MADE + 6 * DAY, True),
        (MADE + 6 * DAY - timedelta(seconds=1), False),
        (MADE, False),
        (None, False),
    ],
)
def test_a_lock_lasts_as_long_as_it_should_up_to_a_day(until: datetime | None, locked: bool) -> None:
    for mode in ("COMPLIANCE", "GOVERNANCE"):
        found = got(lock_mode=mode, retain_until=until)
        assert _is_locked(found, Lock(mode, 7, hold=False)) is locked
        assert not _is_locked(found, Lock(mode, 7, hold=True)), "the legal hold is missing"
        assert (
            _is_locked(got(lock_mode=mode, retain_until=until, hold=True), Lock(mode, 7, hold=True)) is locked
        )


def test_a_service_that_tells_no_time_of_writing_is_held_to_now() -> None:
    lock = Lock("GOVERNANCE", 7, hold=False)
    later, sooner = datetime.now(UTC) + 7 * DAY, datetime.now(UTC) + 5 * DAY
    assert _is_locked(got(lock_mode="GOVERNANCE", retain_until=later, modified=None), lock)
    assert not _is_locked(got(lock_mode="GOVERNANCE", retain_until=sooner, modified=None), lock)


@pytest.mark.parametrize(("hold", "locked"), [(True, True), (False, False)])
def test_a_legal_hold_alone_needs_no_retention(hold: bool, locked: bool) -> None:
    assert _is_locked(got(hold=hold), Lock("", 0, hold=True)) is locked


class Bucket:
    """What an S3 service answers about one object that was there before, and what it is told to lock."""

    def __init__(self, there: Got, *, obeys: bool = True, is_new: bool = False) -> None:
        self.there, self.obeys, self.is_new = there, obeys, is_new
        self.calls: list[tuple[str, Json]] = []

    async def head(self, key: str, version: str) -> Got:
        assert (key, version) == ("key", "1")
        return self.there

    async def call(self, name: str, key: str, **arguments: Json) -> Json:
        assert key == arguments["Key"] == "key"
        self.calls.append((name, arguments))
        if self.obeys and name == "put_object_retention":
            asked = arguments["Retention"]
            self.there = got(
                lock_mode=asked["Mode"], retain_until=asked["RetainUntilDate"], hold=self.there.hold
            )
        if self.obeys and name == "put_object_legal_hold":
            there = self.there
            self.there = got(lock_mode=there.lock_mode, retain_until=there.retain_until, hold=True)
        return {}


def checked(bucket: Bucket, lock: Lock) -> None:
    store = S3Store("s3://bucket?object-lock=compliance&retain-days=7", StoreOptions())
    store._client = bucket  # type: ignore[assignment]
    protection = store._protection(lock)
    asyncio.run(store._check_lock("key", "1", lock, bucket.there, protection, is_new=bucket.is_new))


COMPLIANCE = Lock("COMPLIANCE", 7, hold=False)


def test_an_object_that_was_there_under_governance_gets_the_compliance_that_is_asked_for() -> None:
    bucket = Bucket(got(lock_mode="GOVERNANCE", retain_until=MADE + 7 * DAY))
    checked(bucket, COMPLIANCE)
    ((name, arguments),) = bucket.calls
    assert name == "put_object_retention"
    assert arguments["Key"] == "key"
    assert arguments["Retention"]["Mode"] == "COMPLIANCE"
    assert arguments["Retention"]["RetainUntilDate"] - datetime.now(UTC) > timedelta(days=6)


def test_one_that_stays_under_governance_gives_no_receipt() -> None:
    for bucket in (
        Bucket(got(lock_mode="GOVERNANCE", retain_until=MADE + 7 * DAY), obeys=False),
        Bucket(got(lock_mode="GOVERNANCE", retain_until=MADE + 7 * DAY), is_new=True),
    ):
        with pytest.raises(StoreRejected, match=r"s3://bucket/key: stored, but not locked as storage\.s3"):
            checked(bucket, COMPLIANCE)
        assert bool(bucket.calls) is not bucket.is_new, "what was just made is not locked a second time"


def test_a_hold_is_put_on_what_was_there_without_and_on_nothing_else() -> None:
    bucket = Bucket(got(lock_mode="COMPLIANCE", retain_until=MADE + 7 * DAY))
    checked(bucket, Lock("", 0, hold=True))
    assert bucket.calls == [("put_object_legal_hold", {"Key": "key", "LegalHold": {"Status": "ON"}})]
    bucket = Bucket(got())
    checked(bucket, Lock("COMPLIANCE", 7, hold=True))
    assert [name for name, _ in bucket.calls] == ["put_object_retention", "put_object_legal_hold"]
    bucket = Bucket(got(lock_mode="COMPLIANCE", retain_until=MADE + 7 * DAY))
    checked(bucket, COMPLIANCE)
    assert bucket.calls == []


def test_what_is_asked_for_is_sent_with_the_object() -> None:
    store = S3Store("s3://bucket?object-lock=compliance&retain-days=7&legal-hold=prod", StoreOptions())
    lock = store._settings.lock_for("prod")
    assert lock == Lock("COMPLIANCE", 7, hold=True)
    sent = store._protection(lock)
    assert (sent["ObjectLockMode"], sent["ObjectLockLegalHoldStatus"]) == ("COMPLIANCE", "ON")
    assert timedelta(days=6, hours=23) < sent["ObjectLockRetainUntilDate"] - datetime.now(UTC) <= 7 * DAY
    assert store._protection(None) == {}
    assert store._protection(Lock("", 0, hold=True)) == {"ObjectLockLegalHoldStatus": "ON"}
    governed = parse_s3_url("s3://bucket?object-lock=governance&retain-days=prod-*=9,*=3")
    assert governed.lock_for("prod-a") == Lock("GOVERNANCE", 9, hold=False)
    assert governed.lock_for("dev") == Lock("GOVERNANCE", 3, hold=False)


def test_encryption_and_lock_are_sent_together_and_the_time_is_of_whole_seconds() -> None:
    url = "s3://bucket?sse=aws:kms&sse-kms-key-id=k&object-lock=governance&retain-days=7"
    store = S3Store(url, StoreOptions())
    encrypted = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "k"}
    assert store._protection(None) == encrypted
    before = datetime.now(UTC).replace(microsecond=0)
    sent = store._protection(Lock("GOVERNANCE", 7, hold=False))
    until = sent.pop("ObjectLockRetainUntilDate")
    assert sent == {**encrypted, "ObjectLockMode": "GOVERNANCE"}
    assert until >= before + 7 * DAY
    assert until.microsecond == 0
    assert store._protection(Lock("", 0, hold=True)) == {**encrypted, "ObjectLockLegalHoldStatus": "ON"}
    assert S3Store("s3://bucket", StoreOptions())._protection(None) == {}
