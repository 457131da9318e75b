"""Retention against real S3 services: locks read back, made longer, evidence disposed of, whoever kills it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from chains.cli.main import run as chains
from tests.audit_truth import task_run, uid_of
from tests.testbed.s3 import READER, S3Server

Json = Any
Retention = Callable[..., Json]
_numbers = count(1)
RULES = """
apiVersion: provenance.chains/v1
kind: Retention
metadata: {name: evidence}
spec:
  classes:
    - {name: all, match: {}, keep: KEEP, lock: LOCK, reason: company rule 7}
  holds: HOLDS
"""


@pytest.fixture
def server(s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The service with object lock, in an empty folder; no credential of this machine is seen."""
    monkeypatch.chdir(tmp_path)
    for name, value in s3_server.environ().items():
        monkeypatch.setenv(name, value)
    for name in ("evidence", "disposition"):
        assert chains(["keys", "generate", f"{name}.key"]) == 0
    return s3_server


@pytest.fixture
def bucket(server: S3Server) -> str:
    return server.make_bucket(f"retention-{next(_numbers)}", lock=True)


@pytest.fixture
def retention(capsys: pytest.CaptureFixture[str]) -> Retention:
    """Run a command of ``retention``, check its exit code, and return its JSON."""

    def run(code: int, command: str, *more: str) -> Json:
        capsys.readouterr()
        words = ["retention", command, "--rules", "rules.yaml", "--key", "evidence.pub", "--output", "json"]
        assert chains([*words, *more]) == code, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    return run


def write_rules(keep: str = "36500d", lock: str = "none", holds: str = "[]") -> None:
    text = RULES.replace("KEEP", keep).replace("LOCK", lock).replace("HOLDS", holds)
    Path("rules.yaml").write_text(text)


def attest(url: str, *numbers: int) -> None:
    """Attest runs that ended in 2020."""
    runs = json.loads(json.dumps([task_run(number) for number in numbers]).replace("2026-10", "2020-10"))
    Path("runs.json").write_text(json.dumps(runs))
    assert chains(["attest", "runs.json", "--store", url, "--key", "evidence.key"]) == 0


def versions(server: S3Server, bucket: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    page = server.client.list_object_versions(Bucket=bucket)
    for one in page.get("Versions", ()):
        found.setdefault(one["Key"], []).append(one["VersionId"])
    return found


def dispose(*more: str) -> tuple[str, ...]:
    return (
        "dispose", "--signer", "disposition.key", "--approved-by", "R. Manager", "--reason", "term is over",
        "--disposition-key", "disposition.pub", *more,
    )  # fmt: skip


def codes(found: Json) -> dict[str, int]:
    return {code: number for code, number in found["codes"].items() if number}


def test_locks_are_read_back_and_made_longer(server: S3Server, bucket: str, retention: Retention) -> None:
    url = f"s3://{bucket}"
    attest(f"{url}?object-lock=governance&retain-days=30", 1)
    write_rules("36500d", "compliance")
    found = retention(1, "check", "--store", url)
    (about,) = found["stores"]
    assert (about["lock"], about["versioning"], about["default"]) == ("locked", "enabled", None)
    assert found["states"]["keep"] == 6
    assert codes(found) == {"lock_weak": 6, "lock_short": 6}
    one = found["pieces"][0]
    assert one["keepUntil"] == "2120-09-07T00:00:10Z"
    soon = datetime.now(UTC) + timedelta(days=30)
    for lock in one["objects"]:
        assert lock["mode"] == "GOVERNANCE"
        assert abs(datetime.fromisoformat(lock["until"]) - soon) < timedelta(hours=1)
        assert lock["version"]
    # nothing happens without --apply
    planned = retention(0, "renew", "--store", url)
    assert not planned["applied"]
    assert planned["changes"] == len({each["location"] for each in planned["objects"]}) > 12
    assert codes(retention(1, "check", "--store", url)) == {"lock_weak": 6, "lock_short": 6}
    renewed = retention(0, "renew", "--store", url, "--apply")
    assert (renewed["changes"], renewed["failed"]) == (planned["changes"], 0)
    found = retention(0, "check", "--store", url, "--all")
    assert codes(found) == {}
    assert {(lock["mode"], lock["until"]) for each in found["pieces"] for lock in each["objects"]} == {
        ("COMPLIANCE", "2120-09-07T00:00:10Z")
    }
    # a shorter term makes no lock shorter
    write_rules("3650d", "governance")
    assert retention(0, "renew", "--store", url, "--apply")["changes"] == 0
    assert codes(retention(0, "check", "--store", url)) == {}


def test_what_has_no_lock_no_hold_or_was_deleted_is_named(
    server: S3Server, bucket: str, retention: Retention
) -> None:
    url = f"s3://{bucket}"
    attest(url, 1, 2)
    holds = "[{id: case-17, match: {namespaces: [team-1]}, reason: lawsuit, by: legal, from: 2020-01-01T00:00:00Z}]"
    write_rules("36500d", "governance", holds)
    found = retention(1, "check", "--store", url)
    assert found["states"]["held"] == found["states"]["keep"] == 6
    assert codes(found) == {"lock_missing": 12, "hold_missing": 6}
    assert retention(0, "renew", "--store", url, "--apply")["failed"] == 0
    found = retention(0, "check", "--store", url, "--all")
    holding = {one["run"]["uid"]: one["lock"]["legalHold"] for one in found["pieces"]}
    assert holding == {uid_of(1): True, uid_of(2): False}
    # one object loses its hold, and is found
    key = next(key for key in versions(server, bucket) if uid_of(1) in key and key.endswith(".bundle.json"))
    server.client.put_object_legal_hold(Bucket=bucket, Key=key, LegalHold={"Status": "OFF"})
    assert codes(retention(1, "check", "--store", url)) == {"hold_missing": 1}
    server.client.put_object_legal_hold(Bucket=bucket, Key=key, LegalHold={"Status": "ON"})
    # a delete marker hides evidence, although its version is locked
    key = next(key for key in versions(server, bucket) if key.startswith("runs/") and uid_of(2) in key
               and key.endswith(".bundle.json"))  # fmt: skip
    server.client.delete_object(Bucket=bucket, Key=key)
    found = retention(1, "check", "--store", url)
    assert codes(found) == {"gone": 1}
    (gone,) = [one for one in found["pieces"] if one["state"] == "gone"]
    assert (gone["location"], gone["run"]["uid"]) == (f"{url}/{key}", uid_of(2))
    assert "it has a delete marker" in gone["words"]


def test_a_bucket_without_locks_and_an_account_that_may_not_see_them(
    server: S3Server, retention: Retention, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = server.make_bucket(f"retention-{next(_numbers)}")
    attest(f"s3://{plain}", 1)
    write_rules(lock="governance")
    found = retention(1, "check", "--store", f"s3://{plain}")
    assert codes(found) == {"lock_missing": 6}
    assert "object lock is off" in found["stores"][0]["detail"]
    # nothing can be locked there: it is told, and nothing is said to be done
    renewed = retention(1, "renew", "--store", f"s3://{plain}", "--apply")
    assert renewed["failed"] == renewed["changes"] > 0
    locked = server.make_bucket(f"retention-{next(_numbers)}", lock=True)
    attest(f"s3://{locked}", 1)
    statement = {
        "Effect": "Allow", "Principal": READER[0],
        "Action": ["s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket", "s3:ListBucketVersions",
                   "s3:GetBucketVersioning", "s3:GetBucketObjectLockConfiguration"],
        "Resource": [f"arn:aws:s3:::{locked}", f"arn:aws:s3:::{locked}/*"],
    }  # fmt: skip
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    server.client.put_bucket_policy(Bucket=locked, Policy=policy)
    for name, value in server.environ(*READER).items():
        monkeypatch.setenv(name, value)
    found = retention(4, "check", "--store", f"s3://{locked}")
    assert codes(found) == {"lock_unknown": 6}
    assert "s3:GetObjectRetention" in found["pieces"][0]["problems"][0]["words"]


def test_evidence_is_disposed_of_with_its_record_and_nothing_else(
    server: S3Server, bucket: str, retention: Retention
) -> None:
    url = f"s3://{bucket}"
    attest(url, 1, 2)
    holds = "[{id: case-17, match: {runs: [UID]}, reason: lawsuit, by: legal, from: 2020-01-01T00:00:00Z, lock: false}]"
    write_rules("30d", holds=holds.replace("UID", uid_of(2)))
    before = versions(server, bucket)
    assert len(retention(0, *dispose("--store", url))["pieces"]) == 6
    assert versions(server, bucket) == before  # without --apply
    done = retention(0, *dispose("--store", url, "--apply"))
    assert (done["deleted"], len(done["records"]), done["kept"]) == (6, 1, [])
    after = versions(server, bucket)
    # nothing of the first run is left, with its snapshot and pointers; nothing of the second one is missing
    assert not [key for key in after if uid_of(1) in key]
    assert {key for key in after if uid_of(2) in key} == {key for key in before if uid_of(2) in key}
    assert {key.split("/")[1] for key in after if key.startswith("runs/")} == {"taskrun", "disposition"}
    # the bucket has no versions left of it either
    found = retention(0, "check", "--store", url, "--disposition-key", "disposition.pub", "--all")
    assert {state: number for state, number in found["states"].items() if number} == {"held": 6, "keep": 2}


def test_a_locked_object_keeps_its_piece_whole(server: S3Server, bucket: str, retention: Retention) -> None:
    url = f"s3://{bucket}"
    attest(f"{url}?object-lock=governance&retain-days=30", 1)
    write_rules("30d")
    before = versions(server, bucket)
    found = retention(0, "check", "--store", url, "--all")
    assert found["states"]["disposable"] == 6
    done = retention(1, *dispose("--store", url, "--apply"))
    assert (done["deleted"], done["records"], len(done["kept"])) == (0, [], 6)
    assert "it is locked (governance) until" in done["kept"][0]["reason"]
    assert versions(server, bucket) == before


def test_who_kills_it_leaves_a_record_and_the_next_start_goes_on(
    server: S3Server, bucket: str, retention: Retention
) -> None:
    """SIGKILL at every request: a deletion without a record is never there, and nothing is left at the end."""
    url = f"s3://{bucket}"
    write_rules("30d")
    attest(url, 1)
    script = (
        "import os, signal, sys; from storage.s3.client import S3Client; from chains.cli.main import run\n"
        "call, left = S3Client.call, [int(sys.argv[1])]\n"
        "async def counted(self, operation, key, **more):\n"
        "    if operation == 'delete_object':\n"
        "        left[0] -= 1\n"
        "        if left[0] < 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return await call(self, operation, key, **more)\n"
        "S3Client.call = counted\n"
        "sys.exit(run(sys.argv[2:]))\n"
    )
    words = ["retention", "--rules", "rules.yaml", "--key", "evidence.pub", "--store", url, "--apply"]
    command, *others = dispose()
    everything = len(versions(server, bucket))
    killed = 0
    for allowed in (0, 5, 100):
        found = subprocess.run(
            [sys.executable, "-c", script, str(allowed), words[0], command, *words[1:], *others],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}, check=False, capture_output=True,
        )  # fmt: skip
        killed += found.returncode == -signal.SIGKILL
        here = versions(server, bucket)
        if len([key for key in here if uid_of(1) in key]) < everything:
            assert [key for key in here if key.startswith("runs/disposition/")]
    assert killed == 2
    assert found.returncode == 0, found.stderr
    assert not [key for key in versions(server, bucket) if uid_of(1) in key]
    # one record alone was written: the later starts went on from it
    folders = {key.split("/")[6] for key in versions(server, bucket) if key.startswith("runs/disposition/")}
    assert len(folders) == 1


def test_moto_tells_the_same_locks(
    moto_server: S3Server, server: S3Server, retention: Retention, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in moto_server.environ().items():
        monkeypatch.setenv(name, value)
    bucket = moto_server.make_bucket(f"retention-{next(_numbers)}", lock=True)
    url = f"s3://{bucket}"
    attest(f"{url}?object-lock=compliance&retain-days=30", 1)
    write_rules("36500d", "compliance")
    assert codes(retention(1, "check", "--store", url)) == {"lock_short": 6}
    assert retention(0, "renew", "--store", url, "--apply")["failed"] == 0
    assert codes(retention(0, "check", "--store", url)) == {}
    (key, (version, *_)) = next(iter(versions(moto_server, bucket).items()))
    with pytest.raises(ClientError):
        moto_server.client.delete_object(Bucket=bucket, Key=key, VersionId=version)
