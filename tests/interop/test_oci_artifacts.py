"""Artifacts of other kinds than images, pushed by ORAS and Helm: attested, verified, judged and found beside them."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from chains.cli.main import run as chains
from tests.interop.attested import run_of, slug
from tests.testbed.commands import Command
from tests.testbed.cosign import Cosign
from tests.testbed.images import Registry

pytestmark = pytest.mark.server
Json = Any
KITOPS = "application/vnd.kitops.modelkit"
DATASET = {"uri": "s3://training-data/churn/train.parquet", "digest": "sha256:" + "95" * 32}
WASM = b"\0asm\1\0\0\0"


@dataclass(frozen=True, slots=True)
class Pushed:
    """An artifact in a registry. ``kind`` is its ``artifactType``, or the type of its configuration."""

    repository: str
    digest: str
    kind: str


class Tools:
    """ORAS and Helm, with a folder for the files that they push."""

    def __init__(self, registry: Registry, folder: Path, oras: Command, helm: Command) -> None:
        self.registry, self.folder = registry, folder
        self.oras, self.helm = replace(oras, home=folder), replace(helm, home=folder)

    def push(
        self, name: str, files: Mapping[str, tuple[str, bytes]], *, kind: str = "", config: str = ""
    ) -> Pushed:
        """Push files, each with its media type, under an artifact type or with a configuration of a type."""
        words = ["--artifact-type", kind] if kind else []
        if config:
            (self.folder / "config.json").write_text('{"manifestVersion":"1.0.0"}')
            words += ["--config", f"config.json:{config}"]
        for path, (_, content) in files.items():
            (self.folder / path).write_bytes(content)
        listed = [f"{path}:{media}" for path, (media, _) in files.items()]
        reference = f"{self.registry.host}/{name}"
        done = self.oras("push", "--plain-http", "--format", "json", *words, f"{reference}:1", *listed)
        return self._pushed(name, json.loads(done.stdout)["digest"])

    def chart(self, name: str) -> Pushed:
        """Package and push a chart as Helm's users do."""
        self.helm("create", "shop")
        self.helm("package", "shop")
        self.helm("push", "shop-0.1.0.tgz", f"oci://{self.registry.host}/{name}", "--plain-http")
        found = self.registry.request("HEAD", f"/v2/{name}/shop/manifests/0.1.0")
        return self._pushed(f"{name}/shop", found.headers["Docker-Content-Digest"])

    def _pushed(self, name: str, digest: str) -> Pushed:
        manifest = json.loads(self.registry.request("GET", f"/v2/{name}/manifests/{digest}").body)
        kind = manifest.get("artifactType") or manifest["config"]["mediaType"]
        return Pushed(f"{self.registry.host}/{name}", digest, kind)


def packed(name: str) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = 4
        archive.addfile(entry, io.BytesIO(b"data"))
    return gzip.compress(output.getvalue(), mtime=0)


def modelkit(tools: Tools, name: str) -> Pushed:
    parts = {part: (f"{KITOPS}.{part}.v1.tar+gzip", packed(part)) for part in ("model", "dataset", "code")}
    return tools.push(name, parts, kind=f"{KITOPS}.manifest.v1+json", config=f"{KITOPS}.config.v1+json")


def wasm(tools: Tools, name: str) -> Pushed:
    return tools.push(
        name, {"app.wasm": ("application/wasm", WASM)}, config="application/vnd.wasm.config.v0+json"
    )


def sbom(tools: Tools, name: str) -> Pushed:
    document = json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": []}).encode()
    media = "application/vnd.cyclonedx+json"
    return tools.push(name, {"sbom.json": (media, document)}, kind=media)


def files(tools: Tools, name: str) -> Pushed:
    return tools.push(name, {"rules.txt": ("text/plain", b"allow")}, kind="application/vnd.example.rules.v1")


def chart(tools: Tools, name: str) -> Pushed:
    return tools.chart(name)


KINDS: Mapping[Callable[[Tools, str], Pushed], str] = {
    modelkit: f"{KITOPS}.manifest.v1+json",
    chart: "application/vnd.cncf.helm.config.v1+json",
    wasm: "application/vnd.wasm.config.v0+json",
    sbom: "application/vnd.cyclonedx+json",
    files: "application/vnd.example.rules.v1",
}
RULE = 'provenance.predicate.buildDefinition.resolvedDependencies.exists(d, d.uri.startsWith("s3://{}/"))'


def hints(pushed: Pushed, how: str) -> list[Json]:
    """Return the results by which a task tells what it pushed, and from which dataset."""
    dataset = {"name": "dataset-ARTIFACT_INPUTS", "type": "object", "value": DATASET}
    if how == "IMAGES":
        named = f"{pushed.repository}@{pushed.digest}"
        return [{"name": "IMAGES", "type": "string", "value": named}, dataset]
    output = {"uri": pushed.repository, "digest": pushed.digest, "isBuildArtifact": "true"}
    return [{"name": "pushed-ARTIFACT_OUTPUTS", "type": "object", "value": output}, dataset]


def attest(pushed: Pushed, folder: Path, how: str) -> Path:
    """Attest a run that pushed the artifact, into its registry; return the public key."""
    run = run_of(pushed.repository, pushed.digest)
    run["status"]["results"] = hints(pushed, how)
    (folder / "run.json").write_text(json.dumps(run))
    config = {
        "artifacts.taskrun.format": "slsa/v2alpha4",
        "artifacts.taskrun.storage": "oci",
        "storage.oci.encoding-format": "both",
    }
    (folder / "settings.json").write_text(json.dumps(config))
    key = folder / "signing.key"
    assert chains(["keys", "generate", str(key)]) == 0
    words = ["--config", str(folder / "settings.json"), "--key", str(key), "--store", "oci:"]
    assert chains(["attest", str(folder / "run.json"), *words]) == 0
    return folder / "signing.pub"


def policy(folder: Path, key: Path, images: str, bucket: str) -> Path:
    document = {
        "apiVersion": "provenance.chains/v1",
        "kind": "Policy",
        "metadata": {"name": "models"},
        "spec": {
            "match": {"images": [images]},
            "trust": [
                {
                    "name": "builder",
                    "signer": {"keys": [{"ref": key.name}]},
                    "builderId": "https://tekton.dev/chains/v2",
                    "maxLevel": 2,
                }
            ],
            "rules": [{"name": "dataset", "cel": RULE.format(bucket), "message": "unknown training data"}],
        },
    }
    path = folder / f"{bucket}.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.mark.parametrize(
    ("push", "kind", "how"),
    [
        (modelkit, "referrers_registry", "IMAGES"),
        (modelkit, "plain_registry", "ARTIFACT_OUTPUTS"),
        (chart, "referrers_registry", "ARTIFACT_OUTPUTS"),
        (wasm, "plain_registry", "IMAGES"),
        (sbom, "referrers_registry", "IMAGES"),
        (files, "plain_registry", "ARTIFACT_OUTPUTS"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_any_artifact_of_a_registry_is_a_subject_that_others_verify(
    push: Callable[[Tools, str], Pushed],
    how: str,
    kind: str,
    cosign: Cosign,
    oras: Command,
    helm: Command,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tools = Tools(request.getfixturevalue(kind), tmp_path, oras, helm)
    pushed = push(tools, slug(request))
    assert pushed.kind == KINDS[push]
    key = attest(pushed, tmp_path, how)
    reference = f"{pushed.repository}@{pushed.digest}"

    capsys.readouterr()
    assert chains(["verify", reference, "--key", str(key), "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "VERIFIED"

    told = cosign(
        "verify-attestation",
        "--key",
        key,
        "--insecure-ignore-tlog=true",
        "--type",
        "slsaprovenance1",
        reference,
    ).stdout
    statement = json.loads(b64decode(json.loads(told.splitlines()[0])["payload"]))
    assert statement["subject"] == [
        {"name": pushed.repository, "digest": {"sha256": pushed.digest.removeprefix("sha256:")}}
    ]
    dependencies = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert DATASET["uri"] in [each["uri"] for each in dependencies]

    # what lies beside it: by tags for cosign, by the referrers API for ORAS
    assert "Attestations for an image tag" in cosign("tree", reference).stdout
    found = json.loads(tools.oras("discover", "--plain-http", "--format", "json", reference).stdout)
    assert found["referrers"], "the bundles are referrers"

    accepted = policy(tmp_path, key, pushed.repository, "training-data")
    assert chains(["verify", reference, "--policy", str(accepted)]) == 0
    refused = policy(tmp_path, key, pushed.repository, "elsewhere")
    assert chains(["verify", reference, "--policy", str(refused)]) == 1
    # another artifact of the same repository has no evidence
    other = tools.push(pushed.repository.partition("/")[2], {"other.txt": ("text/plain", b"x")}, kind="x/y")
    assert chains(["verify", f"{other.repository}@{other.digest}", "--key", str(key)]) == 3


def test_an_artifact_that_a_pod_mounts_as_a_volume_is_found_by_preflight(
    referrers_registry: Registry,
    oras: Command,
    helm: Command,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tools = Tools(referrers_registry, tmp_path, oras, helm)
    good, bad = (modelkit(tools, f"{slug(request)}/{name}") for name in ("good", "bad"))
    key = attest(good, tmp_path, "IMAGES")
    judged = policy(tmp_path, key, f"{referrers_registry.host}/{slug(request)}/*", "training-data")
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    for number, model in enumerate((good, bad)):
        reference = f"{model.repository}@{model.digest}"
        container = {"name": "server", "image": "registry.example.com/server:1"}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"serve-{number}", "namespace": "ml"},
            "spec": {
                "containers": [container],
                "volumes": [{"name": "model", "image": {"reference": reference}}],
            },
        }
        served = {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": f"served-{number}", "namespace": "ml"},
            "spec": {"predictor": {"model": {"storageUri": f"oci://{reference}"}}},
        }
        (manifests / f"{number}.yaml").write_text(yaml.safe_dump_all([pod, served]))
    capsys.readouterr()
    assert chains(["preflight", str(judged), str(manifests), "--output", "json"]) == 1
    told = json.loads(capsys.readouterr().out)
    states = {
        use["object"]: image["state"]
        for image in told["images"]
        for use in image["uses"]
        if use["container"] in {"volume model", "predictor model"}
    }
    assert states == {
        "Pod/ml/serve-0": "pass",
        "InferenceService/ml/served-0": "pass",
        "Pod/ml/serve-1": "fail",
        "InferenceService/ml/served-1": "fail",
    }
