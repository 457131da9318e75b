"""Evidence at each platform of an image index, on request: stock cosign verifies it for each digest."""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains
from tests.interop.attested import run_of, slug
from tests.testbed.cosign import Cosign
from tests.testbed.images import INDEX, Registry

pytestmark = pytest.mark.server
KEY = "storage.oci.attach-to-platforms"


@pytest.fixture(params=["referrers_registry", "plain_registry"])
def registry(request: pytest.FixtureRequest) -> Registry:
    found: Registry = request.getfixturevalue(request.param)
    return found


def attest(
    folder: Path, repository: str, digest: str, capsys: pytest.CaptureFixture[str], code: int = 0, **more: str
) -> Any:
    """Attest a run that built an image into both forms, and return its outcome."""
    config = {"artifacts.taskrun.format": "slsa/v2alpha4", "artifacts.taskrun.storage": "oci",
              "storage.oci.encoding-format": "both", KEY: "true"} | more  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "run.json").write_text(json.dumps(run_of(repository, digest)))
    if not (folder / "signing.key").exists():
        assert chains(["keys", "generate", str(folder / "signing.key")]) == 0
    capsys.readouterr()
    given = ["--config", str(folder / "config.json"), "--key", str(folder / "signing.key"), "--store", "oci:"]
    assert chains(["attest", str(folder / "run.json"), *given, "--output", "json"]) == code
    (outcome,) = json.loads(capsys.readouterr().out)["runs"]
    return outcome


def test_cosign_verifies_the_index_and_each_of_its_images(
    registry: Registry,
    cosign: Cosign,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = slug(request)
    images = [registry.push_image(name, platform=platform) for platform in ("amd64", "arm64")]
    index = registry.push_index(name, images)
    repository = f"{registry.host}/{name}"
    outcome = attest(tmp_path, repository, index, capsys)
    assert outcome["state"] == "signed"
    received = {(one["subject"], one["payload"], one["form"]) for one in outcome["entries"]}
    for digest in (index, *images):
        for payload, tag in (("provenance", "att"), ("execution-report", "att"), ("image-signature", "sig")):
            assert {(digest, payload, tag), (digest, payload, "referrer")} <= received
        for flags in ([], ["--new-bundle-format=false"]):
            common = ["--key", tmp_path / "signing.pub", "--insecure-ignore-tlog=true", *flags]
            reference = f"{repository}@{digest}"
            cosign("verify", *common, reference)
            printed = cosign("verify-attestation", *common, "--type", "slsaprovenance1", reference).stdout
            statement = json.loads(b64decode(json.loads(printed.splitlines()[0])["payload"]))
            named = [f"sha256:{one['digest']['sha256']}" for one in statement["subject"]]
            assert named == [index, *images]
    again = attest(tmp_path, repository, index, capsys)
    assert again["unchanged"]


def test_without_the_request_the_index_alone_is_attested(
    referrers_registry: Registry, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    name = slug(request)
    index = referrers_registry.push_index(name)
    outcome = attest(tmp_path, f"{referrers_registry.host}/{name}", index, capsys, **{KEY: "false"})
    assert {one["subject"] for one in outcome["entries"]} == {index}


def test_what_is_beside_the_images_is_no_platform(
    referrers_registry: Registry, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    """BuildKit lists its attestations in the index, for the platform unknown/unknown."""
    name = slug(request)
    image, surroundings = (
        referrers_registry.push_image(name, content=text) for text in (b"image", b"beside")
    )
    entries = [
        {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 1,
         "platform": {"os": system, "architecture": system}}
        for digest, system in ((image, "linux"), (surroundings, "unknown"))
    ]  # fmt: skip
    data = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
    index = referrers_registry.push_manifest(name, data, INDEX)
    outcome = attest(tmp_path, f"{referrers_registry.host}/{name}", index, capsys)
    assert {one["subject"] for one in outcome["entries"]} == {index, image}


def test_a_registry_that_cannot_be_asked_leaves_the_run_unsigned_for_now(
    referrers_registry: Registry, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    del request
    gone = replace(referrers_registry, host="127.0.0.1:9")
    outcome = attest(tmp_path, f"{gone.host}/app", "sha256:" + "a" * 64, capsys, code=1)
    assert outcome["state"] == "failed"
    assert "cannot connect" in outcome["reason"]
    assert outcome["entries"] == []


def test_an_index_that_makes_no_sense_is_told(
    referrers_registry: Registry, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    name = slug(request)
    data = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [{"platform": {}}]}).encode()
    index = referrers_registry.push_manifest(name, data, INDEX)
    outcome = attest(tmp_path, f"{referrers_registry.host}/{name}", index, capsys, code=1)
    assert "neither an image nor a valid image index" in outcome["reason"]
