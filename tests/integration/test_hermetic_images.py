"""The environment of images in a real registry, through the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from chains.cli.main import run as chains
from tests.faults.hermetic import objects
from tests.testbed.images import CONFIG, LAYER, MANIFEST, Registry, descriptor

pytestmark = pytest.mark.server
Json = Any


def push(registry: Registry, repository: str, *env: str) -> str:
    """Push an image that sets variables and return its name with digest."""
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Env": [*env]}}).encode()
    layer = repository.encode()
    for blob in (config, layer):
        registry.push_blob(repository, blob)
    body = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, config),
        "layers": [descriptor(LAYER, layer)],
    }
    return f"{registry.host}/{repository}@{registry.push_manifest(repository, json.dumps(body).encode(), MANIFEST)}"


@pytest.mark.parametrize(
    ("env", "level"),
    [(["PATH=/bin"], "enforced"), (["TEKTON_RESOURCE_NAME=x"], "requested-only")],
    ids=["clean", "defeating"],
)
def test_attest_reads_what_the_step_image_sets(
    env: list[str],
    level: str,
    referrers_registry: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    monkeypatch.chdir(tmp_path)
    image = push(referrers_registry, f"steps/{level}", *env)
    found = objects("image-may-set-the-defeating-variable")
    for step in found["TaskRun"]["status"]["steps"]:
        step["imageID"] = image
    found["Pod"]["status"]["containerStatuses"][0]["imageID"] = image
    Path("runs.yaml").write_text(
        yaml.safe_dump({"kind": "List", "apiVersion": "v1", "items": [*found.values()]})
    )
    config = {"execution.image-environments": "true", "artifacts.taskrun.format": "slsa/v2alpha4"}
    Path("config.yaml").write_text(yaml.safe_dump(config))
    assert chains(["attest", "runs.yaml", "--config", "config.yaml"]) == 0
    capsysbinary.readouterr()
    code = chains(["verify", "runs.yaml", "--require", "hermetic", "--output", "json"])
    assert code == (0 if level == "enforced" else 1)
    (check,) = [one for one in json.loads(capsysbinary.readouterr().out)["checks"] if one["id"] == "hermetic"]
    assert check["actual"] == f"level {level}"
