"""Artifacts named by package URL: their evidence lies beside the image that they mean, where cosign looks."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains
from tests.interop.attested import run_of, slug
from tests.testbed.cosign import Cosign
from tests.testbed.images import Registry

pytestmark = pytest.mark.server
SPELLINGS: dict[str, Callable[[str, str, str], str]] = {
    "oci": lambda host, name, digest: (
        f"pkg:oci/{name}@{digest.replace(':', '%3A')}?repository_url={host}/{name}"
    ),
    "oci-without-name": lambda host, name, digest: f"pkg:oci/{name}@{digest}?repository_url={host}",
    "docker": lambda host, name, digest: f"pkg:docker/{name}@{digest}?repository_url={host}",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("server", ["referrers_registry", "plain_registry"])
def test_evidence_about_a_package_url_is_stored_beside_its_image(
    server: str,
    spelling: str,
    cosign: Cosign,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    registry: Registry = request.getfixturevalue(server)
    name = slug(request)
    digest = registry.push_image(name)
    uri = SPELLINGS[spelling](registry.host, name, digest)
    run: Any = run_of(uri, digest)
    run["status"]["results"] = [
        {
            "name": "APP_ARTIFACT_OUTPUTS",
            "type": "object",
            "value": {"uri": uri, "digest": digest, "isBuildArtifact": "true"},
        }
    ]
    config = {
        "artifacts.taskrun.format": "slsa/v2alpha4",
        "artifacts.taskrun.storage": "oci",
        "storage.oci.encoding-format": "both",
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "run.json").write_text(json.dumps(run))
    key = tmp_path / "signing.key"
    assert chains(["keys", "generate", str(key)]) == 0
    given = ["--config", str(tmp_path / "config.json"), "--store", "oci:"]
    capsys.readouterr()
    assert chains(["attest", str(tmp_path / "run.json"), *given, "--key", str(key), "--output", "json"]) == 0
    (outcome,) = json.loads(capsys.readouterr().out)["runs"]
    assert outcome["state"] == "signed"
    assert {(one["payload"], one["form"]) for one in outcome["entries"]} == {
        (payload, form) for payload in ("provenance", "execution-report") for form in ("att", "referrer")
    }
    public = key.with_suffix(".pub")
    assert chains(["verify", str(tmp_path / "run.json"), *given, "--key", str(public)]) == 0
    printed = cosign(
        *("verify-attestation", "--key", public, "--insecure-ignore-tlog=true", "--allow-insecure-registry"),
        *("--type", "slsaprovenance1", f"{registry.host}/{name}@{digest}"),
    ).stdout
    statement = json.loads(b64decode(json.loads(printed.splitlines()[0])["payload"]))
    assert statement["subject"] == [{"name": uri, "digest": {"sha256": digest.removeprefix("sha256:")}}]
