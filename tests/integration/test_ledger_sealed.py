"""Days of a ledger with a timestamp and a log entry, and their statements in a locked bucket: against real services."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from botocore.exceptions import ClientError

from chains.assembly.sealers import open_sealer
from chains.assembly.trust import open_listed_keys, open_trusted_root
from chains.audit.ledger.close import close_day
from chains.audit.ledger.folder import LogFolder
from chains.audit.ledger.read import read_ledger
from chains.audit.ledger.state import LedgerState
from chains.audit.ledger.statement import PREDICATE
from chains.audit.ledger.stored import compare_stored, record_of
from chains.audit.ledger.walk import Trusted, walk_log
from chains.audit.ledger.writer import LogWriter
from chains.cli.main import run as chains
from chains.config.parse import parse_config
from signers.formats.bundle import Bundle
from signers.open import open_signer
from storage.base import StoreOptions
from storage.open import open_store
from storage.record import Stored
from tests.testbed.cosign import Cosign
from tests.testbed.s3 import S3Server
from tests.testbed.sigstore import SigstoreServices
from tests.unit.chains.audit.ledger.made import ORIGIN, Clock, four_days, sealer_of, seen

pytestmark = pytest.mark.server
EXAMPLE = Path(__file__).parents[2] / "examples" / "ledger"


def test_a_day_has_a_timestamp_and_a_log_entry_that_verify_and_cannot_be_exchanged(
    sigstore_services: SigstoreServices, tmp_path: Path
) -> None:
    assert chains(["keys", "generate", str(tmp_path / "ledger.pem")]) == 0
    config = parse_config(
        {
            "transparency.enabled": "true",
            "transparency.url": sigstore_services.rekor,
            "transparency.version": "2",
            "signers.timestamp.url": sigstore_services.timestamp,
            "signers.x509.trusted-root": str(sigstore_services.trusted_root),
        }
    )
    sealer, clock = open_sealer(config, open_signer(str(tmp_path / "ledger.pem"))), Clock()
    writer = LogWriter(tmp_path / "ledger" / "log", ORIGIN, clock)
    writer.append([seen(1)])
    clock.move(days=2)
    begun = datetime.now(UTC) - timedelta(seconds=2)
    for day in (clock.now.date() - timedelta(days=2), clock.now.date() - timedelta(days=1)):
        close_day(writer.log, day, sealer, datetime.now(UTC), transparency=True)
    writer.close(ends=False)
    sealer.close()

    def read(*, root: bool = True) -> LedgerState:
        keys = open_listed_keys([str(tmp_path / "ledger.pub")])
        trusted = open_trusted_root(str(sigstore_services.trusted_root)) if root else None
        return read_ledger(tmp_path / "ledger", keys, datetime.now(UTC), trusted)

    state = read()
    assert state.problems == ()
    for each in state.days:
        assert each.verified
        assert each.signed is not None
        assert begun <= each.signed <= datetime.now(UTC) + timedelta(seconds=2)
    assert [each.signed for each in read(root=False).days] == [None, None]

    assert [each.log_entries for each in state.days] == [1, 1]
    first, second = (writer.log.file(each.day, ".bundle.json") for each in state.days)
    material = "verificationMaterial"
    for name in ("timestampVerificationData", "tlogEntries"):
        kept = first.read_bytes()
        assert Bundle.from_bytes(kept).log_entries
        mine, other = orjson.loads(kept), orjson.loads(second.read_bytes())
        mine[material][name] = other[material][name]
        first.write_bytes(orjson.dumps(mine))
        assert [finding.code for finding in read().problems] == ["signature"], name
        # what is taken away is found if it is demanded, and cannot be if it is not
        mine[material].pop(name)
        first.write_bytes(orjson.dumps(mine))
        assert read().problems == ()
        for option in ("--require-log", "--require-timestamp"):
            words = [
                "--key",
                str(tmp_path / "ledger.pub"),
                "--trusted-root",
                str(sigstore_services.trusted_root),
            ]
            taken = (name == "tlogEntries") == (option == "--require-log")
            code = chains(["ledger", "verify", str(tmp_path / "ledger"), *words, option])
            assert (code == 1) == taken, (name, option)
        first.write_bytes(kept)


def test_stock_cosign_verifies_the_entries_of_a_day_and_refuses_changed_ones(
    cosign: Cosign, tmp_path: Path
) -> None:
    words = [
        "verify-blob-attestation", "--key", EXAMPLE / "ledger.pub", "--insecure-ignore-tlog=true",
        "--type", PREDICATE, "--bundle", EXAMPLE / "share-0-of-1" / "2026-03-02.bundle.json",
    ]  # fmt: skip
    entries = EXAMPLE / "share-0-of-1" / "2026-03-02.jsonl"
    assert cosign(*words, entries).returncode == 0
    changed = tmp_path / "changed.jsonl"
    changed.write_bytes(entries.read_bytes().replace(b"probe-1", b"probe-2"))
    refused = cosign(*words, changed, check=False)
    assert refused.returncode != 0
    assert "digests do not match" in refused.stderr


def test_the_statements_of_a_ledger_are_locked_in_a_bucket_and_show_what_was_changed(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in S3Server("http://127.0.0.1:9", 0).environ().items():
        monkeypatch.setenv(name, value)  # no credential of this machine is seen
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.endpoint)
    bucket = s3_server.make_bucket("locked-ledger", lock=True)
    url = f"s3://{bucket}?object-lock=compliance&retain-days=1"
    log = LogFolder(tmp_path / "log")
    clock = four_days(log.path, sealer_of(tmp_path))
    days = [day for day in log.days() if log.is_closed(day)]

    async def put() -> list[Stored]:
        async with open_store(url, StoreOptions()) as store:
            return [await store.put(record_of(log, day)) for day in days]

    async def codes() -> list[tuple[str, str]]:
        async with open_store(url, StoreOptions()) as store:
            found = await compare_stored(walk_log(log, Trusted([], clock.now)), store)
        return [(finding.code, str(finding.day)) for finding in found]

    for stored in asyncio.run(put()):
        assert not stored.failures
        for receipt in stored.receipts:
            key = receipt.location.removeprefix(f"s3://{bucket}/")
            head = s3_server.client.head_object(Bucket=bucket, Key=key)
            assert head["ObjectLockMode"] == "COMPLIANCE"
            with pytest.raises(ClientError, match="AccessDenied"):
                s3_server.client.delete_object(
                    Bucket=bucket, Key=key, VersionId=head["VersionId"], BypassGovernanceRetention=True
                )
    assert asyncio.run(codes()) == []
    # whoever holds the folder and the key can cut and sign again, and the bucket still says what was
    for suffix in (".bundle.json", ".checkpoint", ".open.jsonl"):
        log.file(days[-1], suffix).unlink()
    path = log.file(days[-1], ".jsonl")
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    close_day(log, days[-1], sealer_of(tmp_path), clock.now)
    assert asyncio.run(codes()) == [("fork", str(days[-1]))]
