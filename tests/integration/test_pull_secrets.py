"""Pull secrets of pods, with the shipped overlay, on a real API server and real private registries.

The API server gives new pods the pull secrets of their service accounts, as in every cluster.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains
from tests.integration.test_admission import BUILDER
from tests.integration.test_deploy import apply
from tests.interop.attested import Attested, attest_image
from tests.testbed import cluster
from tests.testbed.admission_server import AdmissionServer, pod
from tests.testbed.cluster import MERGE, ApiError, ApiServer
from tests.testbed.images import Registry
from tests.testbed.kustomize import build

pytestmark = pytest.mark.server
Json = Any
OVERLAYS = Path(__file__).parents[2] / "deploy" / "overlays"
SHOP, TWIN, OTHER = "shop", "shop-twin", "shop-other"
"""Namespaces: the overlay grants the first one, the test the second one, and nobody the third one."""
WRONG = "wrong-" + secrets.token_hex(8)


@dataclass(frozen=True)
class Door:
    """The admission server, whose own credentials open no registry, and two private images that pass."""

    api: ApiServer
    server: AdmissionServer
    basic: Attested
    tokens: Attested
    registries: tuple[Registry, Registry]
    config: Path

    def secret(self, namespace: str, name: str, password: str = "") -> None:
        """Create or replace a Secret with credentials for both registries, theirs unless told otherwise."""
        content = docker_config(*self.registries, password=password)
        body = {
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace},
            "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": base64.b64encode(content.encode()).decode()},
        }  # fmt: skip
        apply(self.api, body)

    def create(self, namespace: str, image: str, *pulls: str, kind: str = "Pod", **spec: Json) -> Json:
        """Try to create a pod, or a Deployment of it. Raises :class:`ApiError` for a denial."""
        more = {"imagePullSecrets": [{"name": name} for name in pulls]} if pulls else {}
        body = pod("asked", image, **more, **spec)
        path = f"/api/v1/namespaces/{namespace}/pods"
        if kind == "Deployment":
            path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
            template = {"metadata": {"labels": {"app": "asked"}}, "spec": body["spec"]}
            chosen = {"selector": {"matchLabels": {"app": "asked"}}, "template": template}
            body = {"apiVersion": "apps/v1", "kind": kind, "metadata": body["metadata"], "spec": chosen}
        return self.api.request("POST", f"{path}?dryRun=All", body)

    def denial(self, namespace: str, image: str, *pulls: str, **more: Json) -> str:
        with pytest.raises(ApiError) as caught:
            self.create(namespace, image, *pulls, **more)
        assert caught.value.status == 403
        message: str = json.loads(caught.value.text)["message"]
        return message.partition("denied the request: ")[2]

    def outcomes(self) -> dict[str, float]:
        names = ("read", "forbidden", "unusable", "left_out")
        return {
            name: self.server.metric("chains_admission_pull_secrets_total", outcome=name) for name in names
        }


def docker_config(*registries: Registry, password: str = "") -> str:
    entries = {
        one.host: {"username": one.username, "password": password or one.password} for one in registries
    }
    return json.dumps({"auths": entries})


@pytest.fixture(scope="module")
def door(
    secured_registry: Registry, token_registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Door]:
    folder = tmp_path_factory.mktemp("pull-secrets")
    docker = folder / "docker"
    docker.mkdir()
    with (
        pytest.MonkeyPatch.context() as patch,
        cluster.api_server(tmp_path_factory.mktemp("api-server"), accounts=True) as api,
    ):
        patch.setenv("DOCKER_CONFIG", str(docker))
        registries = (secured_registry, token_registry)
        (docker / "config.json").write_text(docker_config(*registries))
        made = [attest_image(one, folder / f"made-{at}", "private/web") for at, one in enumerate(registries)]
        (docker / "config.json").unlink()
        authorities = folder / "ca.pem"
        authorities.write_bytes(b"".join(one.ca_file.read_bytes() for one in registries if one.ca_file))
        config = folder / "config.json"
        config.write_text(json.dumps({"storage.oci.ca-file": str(authorities)}))
        for name in (SHOP, TWIN, OTHER):
            api.request(
                "POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": {"guarded": "yes"}}}
            )
            api.request(
                "POST", f"/api/v1/namespaces/{name}/serviceaccounts", {"metadata": {"name": "default"}}
            )
        for manifest in (*build(OVERLAYS / "admission-recheck"), *build(OVERLAYS / "admission-pull-secrets")):
            apply(api, manifest)
            if manifest["metadata"].get("namespace") == SHOP:
                apply(api, {**manifest, "metadata": {**manifest["metadata"], "namespace": TWIN}})
        token = api.service_account_token("chains-admission", "chains-admission")
        given = ["--pull-secrets", "--config", str(config), "--processes", "2", "--recheck", "1s"]
        server = AdmissionServer(folder / "server", api, given, token)
        keys = [{"ref": str(one.public_key)} for one in made]
        signer = {"name": "tekton", "signer": {"keys": keys}, "builderId": BUILDER, "maxLevel": 2}
        images = [f"{one.host}/**" for one in registries]
        server.write_policy("private", {"match": {"images": images}, "trust": [signer]})
        try:
            server.start()
            chosen = {"matchLabels": {"guarded": "yes"}}
            server.register("mutating", "pins", chosen, timeout=10)
            server.register("validating", "door", chosen, timeout=10)
            found = Door(api, server, made[0], made[1], registries, config)
            server.wait(lambda: _is_asked(found))
            found.secret(SHOP, "registry")
            yield found
            server.unregister()
            assert server.stop() == 0
            log = server.log.read_text()
            assert "Traceback" not in log
            for secret in (*(one.password for one in registries), WRONG):
                for text in (
                    secret,
                    base64.b64encode(f"{registries[0].username}:{secret}".encode()).decode(),
                ):
                    assert text not in log
        finally:
            server.close()


def _is_asked(door: Door) -> bool:
    try:
        door.create(OTHER, f"{door.registries[0].host}/private/unknown@sha256:{'0' * 64}")
    except ApiError as error:
        return error.status == 403 and "denied" in error.text
    return False


@pytest.mark.parametrize("at", [0, 1], ids=["basic", "tokens"])
def test_a_private_image_runs_with_the_secret_that_shows_its_evidence_and_with_nobody_elses(
    door: Door, at: int
) -> None:
    image = (door.basic, door.tokens)[at].reference
    assert "store_rejected" in door.denial(SHOP, image)
    door.create(SHOP, image, "registry")
    # what one namespace may see is told to no other, with the answer in memory or not
    for _ in range(6):
        assert "store_rejected" in door.denial(SHOP, image)
        assert "store_rejected" in door.denial(TWIN, image)
        assert "store_rejected" in door.denial(TWIN, image, "registry")
        assert "store_rejected" in door.denial(OTHER, image, "registry")
        door.create(SHOP, image, "registry")


def _passes(door: Door, namespace: str, image: str, *pulls: str, **more: Json) -> bool:
    try:
        door.create(namespace, image, *pulls, **more)
    except ApiError as error:
        if error.status != 403:
            raise
        return False
    return True


def test_what_may_not_be_read_is_told_in_the_log_and_counted_and_the_answer_goes_on(door: Door) -> None:
    before = door.outcomes()["forbidden"]
    door.secret(OTHER, "registry")
    door.secret(SHOP, "unnamed")
    assert "store_rejected" in door.denial(OTHER, door.basic.reference, "registry")
    assert "store_rejected" in door.denial(SHOP, door.basic.reference, "unnamed")
    door.server.wait(lambda: door.outcomes()["forbidden"] > before)
    lines = [json.loads(line) for line in door.server.log.read_text().splitlines() if line.startswith("{")]
    shown = {
        (one["namespace"], one["object"])
        for one in lines
        if "without a pull secret" in one["message"] and "may not read it" in one["reason"]
    }
    assert {(OTHER, "secrets/registry"), (SHOP, "secrets/unnamed")} <= shown


def test_a_workload_has_the_secrets_of_its_account_and_its_pods_get_them_from_the_api_server(
    door: Door,
) -> None:
    image = door.tokens.reference
    path = f"/api/v1/namespaces/{SHOP}/serviceaccounts"
    door.api.request(
        "POST", path, {"metadata": {"name": "puller"}, "imagePullSecrets": [{"name": "registry"}]}
    )
    account = {"serviceAccountName": "puller"}
    door.create(SHOP, image, kind="Deployment", **account)
    created = door.create(SHOP, image, **account)
    assert created["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    assert "store_rejected" in door.denial(SHOP, image, kind="Deployment")
    # secrets that the pod names are taken in the place of the account's
    assert "store_rejected" in door.denial(SHOP, image, "none", kind="Deployment", **account)
    door.api.request("PATCH", f"{path}/puller", {"imagePullSecrets": None}, kind=MERGE)
    door.server.wait(lambda: not _passes(door, SHOP, image, kind="Deployment", **account))


def test_a_tag_of_a_private_image_is_pinned_for_whoever_can_pull_it(door: Door) -> None:
    registry, image = door.registries[1], door.tokens
    manifest = registry.manifest("private/web", image.digest)
    registry.push_manifest("private/web", manifest, "application/vnd.oci.image.manifest.v1+json", "v1")
    tagged = f"{image.repository}:v1"
    for _ in range(3):
        created = door.create(SHOP, tagged, "registry")
        assert created["spec"]["containers"][0]["image"] == f"{tagged}@{image.digest}"
        told = door.denial(TWIN, tagged)
        assert "not_pinned" in told
        assert image.digest not in told
        told = door.denial(TWIN, tagged, kind="Deployment")
        assert "tag_not_resolved" in told
        assert image.digest not in told


def test_a_wrong_password_is_told_without_the_password_and_a_corrected_one_counts_within_seconds(
    door: Door,
) -> None:
    image = door.basic.reference
    door.secret(TWIN, "registry", WRONG)
    door.server.wait(lambda: "pull secret 1" in door.denial(TWIN, image, "registry"))
    told = door.denial(TWIN, image, "registry")
    assert "store_rejected" in told
    assert WRONG not in told
    door.secret(TWIN, "registry")
    door.server.wait(lambda: _passes(door, TWIN, image, "registry"))
    # the same credentials in two namespaces are one question; without the Secret, nothing is known again
    door.api.request("DELETE", f"/api/v1/namespaces/{TWIN}/secrets/registry")
    door.server.wait(lambda: not _passes(door, TWIN, image, "registry"))


def test_what_runs_already_and_preflight_are_looked_at_with_the_secrets_of_the_pods(
    door: Door, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = pod("running", door.tokens.reference, imagePullSecrets=[{"name": "registry"}])
    door.api.request("POST", f"/api/v1/namespaces/{SHOP}/pods", body)

    def images(state: str) -> float:
        return door.server.metric("chains_recheck_images", state=state)

    door.server.wait(lambda: images("passes") == 1)
    assert [images(state) for state in ("fails", "undecided", "skipped")] == [0, 0, 0]
    token = door.api.service_account_token("chains-admission", "chains-admission")
    asked = [
        "preflight", str(door.server.policies), "--cluster", "--namespace", SHOP, "--output", "json",
        "--config", str(door.config), "--kubeconfig", str(door.api.kubeconfig(tmp_path, token)),
    ]  # fmt: skip
    found = {}
    for options in ([], ["--pull-secrets"]):
        chains([*asked, *options])
        (check,) = json.loads(capsys.readouterr().out)["images"]
        found[bool(options)] = (check["image"], check["state"], check["reason"])
    assert found[False] == (door.tokens.reference, "undecided", "store_rejected")
    assert found[True] == (door.tokens.reference, "pass", None)
