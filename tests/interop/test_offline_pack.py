"""Evidence in a bucket, from attest to verify, and its offline pack in the hands of stock cosign."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains
from tests.interop.attested import attest_image, run_of
from tests.testbed.commands import CommandError
from tests.testbed.cosign import Cosign
from tests.testbed.images import Registry
from tests.testbed.s3 import S3Server

pytestmark = pytest.mark.server
DIGEST = "ab" * 32
CONFIG = {
    "artifacts.taskrun.format": "slsa/v2alpha4", "artifacts.taskrun.storage": "s3", "artifacts.pipelinerun.storage": "s3", "artifacts.oci.storage": "s3",
    "storage.s3.prefix": "evidence", "storage.s3.object-lock.mode": "governance",
    "storage.s3.object-lock.retain-days": "7",
}  # fmt: skip


def told(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert chains([*words, "--output", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_from_a_bucket_into_a_pack_that_cosign_verifies(
    s3_server: S3Server,
    cosign: Cosign,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in s3_server.environ().items():
        monkeypatch.setenv(name, value)
    bucket = s3_server.make_bucket("interop-pack", lock=True)
    Path("config.json").write_text(json.dumps(CONFIG | {"storage.s3.bucket": bucket}))
    Path("run.json").write_text(json.dumps(run_of("registry.example/app", f"sha256:{DIGEST}")))
    (attested,) = told(capsys, "attest", "run.json", "--config", "config.json")["runs"]
    assert attested["state"] == "signed"
    assert {entry["store"] for entry in attested["entries"]} == {f"s3://{bucket}/evidence"}
    (again,) = told(capsys, "attest", "run.json", "--config", "config.json")["runs"]
    assert again["unchanged"]

    store = ("--store", f"s3://{bucket}/evidence")
    key = ("--key", ".chains/signing.pub")
    told(capsys, "verify", f"registry.example/app@sha256:{DIGEST}", *store, *key)
    snapshots = list((s3_server.folder or tmp_path).joinpath(bucket).rglob("snapshot/*.json"))
    assert [json.loads(path.read_text())["metadata"]["name"] for path in snapshots] == ["build"]

    assert told(capsys, "export", "pack", "ci/build", *store, *key)["bundles"] == 3
    index = [json.loads(line) for line in Path("pack/index.jsonl").read_text().splitlines()]
    for line, entry in zip(Path("pack/bundles.jsonl").read_bytes().splitlines(), index, strict=True):
        Path("bundle.json").write_bytes(line)
        check = ("verify-blob-attestation", "--bundle", "bundle.json", "--key", "pack/keys/key-1.pub",
                 "--insecure-ignore-tlog=true", "--type", entry["predicateType"], "--digestAlg", "sha256")  # fmt: skip
        cosign(*check, "--digest", DIGEST, cwd=tmp_path)
        with pytest.raises(CommandError):
            cosign(*check, "--digest", "cd" * 32, cwd=tmp_path)

    counts = told(capsys, "copy", store[1], "oci-layout:copied", *key)
    assert (counts["copied"], counts["refused"]) == (3, 0)
    told(capsys, "verify", f"sha256:{DIGEST}", "--store", "oci-layout:copied", *key)
    back = s3_server.make_bucket("interop-back")
    assert told(capsys, "copy", store[1], f"s3://{back}")["copied"] == 3
    told(capsys, "verify", f"sha256:{DIGEST}", "--store", f"s3://{back}", *key)
    listed = [
        {
            each["Key"].removeprefix("evidence/")
            for each in s3_server.client.list_objects_v2(Bucket=one)["Contents"]
        }
        for one in (bucket, back)
    ]
    assert listed[0] == listed[1]


def test_evidence_of_an_image_is_copied_out_of_a_registry(
    s3_server: S3Server,
    referrers_registry: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in s3_server.environ().items():
        monkeypatch.setenv(name, value)
    made = attest_image(referrers_registry, tmp_path, "copied-out")
    capsys.readouterr()
    key, image = ("--key", str(made.public_key)), f"{made.repository}@{made.digest}"
    bucket = s3_server.make_bucket("interop-registry")
    counts = told(capsys, "copy", "oci:", f"s3://{bucket}", image, *key)
    assert (counts["copied"], counts["failed"], counts["refused"]) == (3, 0, 0)
    told(capsys, "verify", made.digest, "--store", f"s3://{bucket}", *key)
    assert told(capsys, "copy", "oci:", f"s3://{bucket}", image, *key)["unchanged"] == 3
