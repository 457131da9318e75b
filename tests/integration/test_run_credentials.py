"""Registry credentials of runs, with the manifests of ``deploy/`` on a real API server and real registries."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_deploy import (
    ACCOUNT,
    DEPLOY,
    SYSTEM,
    Deployed,
    applied,
    apply,
    make_namespaces,
    may,
    run_in,
    signed,
    wait,
)
from tests.interop.attested import slug
from tests.testbed import servers
from tests.testbed.cluster import MERGE, ApiError, ApiServer
from tests.testbed.images import Registry
from tests.testbed.kustomize import build

pytestmark = pytest.mark.server
Json = Any
CI, OTHER = "ci", "other"
FORMS = {".att", ".sig", ""}


@dataclass
class Tenant:
    """The controller with the overlay for ``ci``, and the registries that its CA file knows."""

    server: ApiServer
    controller: Deployed
    rotating: Registry
    htpasswd: Path

    def secret(
        self, name: str, registry: Registry, *, user: str = "", password: str = "", **more: Json
    ) -> str:
        """Create or replace a Secret with one credential, the registry's own unless told otherwise."""
        content = docker_config(registry.host, user or registry.username, password or registry.password)
        body = {
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": CI},
            "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": base64.b64encode(content.encode()).decode()}, **more,
        }  # fmt: skip
        apply(self.server, body)
        return name

    def account(self, name: str, *secrets: str, pull: tuple[str, ...] = ()) -> str:
        body: Json = {
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": CI},
            "secrets": [{"name": each} for each in secrets], "imagePullSecrets": [{"name": each} for each in pull],
        }  # fmt: skip
        apply(self.server, body)
        return name

    def run(self, name: str, registry: Registry, account: str, namespace: str = CI, **spec: Json) -> Json:
        """Push an image, create the run that built it under an account, and return the run once it is marked."""
        digest = registry.push_image(name)
        run = run_in(namespace, name, f"{registry.host}/{name}", digest)
        run["spec"] = {"taskRef": {"name": "buildah"}, "serviceAccountName": account, **spec}
        created = self.server.create_run(run)
        self.controller.wait(lambda: signed(self.server, created) != "")
        return self.server.get_run("TaskRun", namespace, name)

    def is_stored(self, run: Json, registry: Registry) -> bool:
        name = run["metadata"]["name"]
        image = next(each["value"] for each in run["status"]["results"] if each["name"] == "IMAGE_DIGEST")
        tags = {image.replace(":", "-") + end for end in FORMS}
        return state(run) == "true" and tags <= set(registry.tags(name))


def docker_config(host: str, user: str, password: str) -> str:
    return json.dumps({"auths": {host: {"username": user, "password": password}}})


def state(run: Json) -> str:
    return str(run["metadata"]["annotations"]["chains.tekton.dev/signed"])


def reason(run: Json) -> str:
    return str(json.loads(run["metadata"]["annotations"]["chains.tekton.dev/outcome"])["reason"])


@pytest.fixture(scope="module")
def tenant(
    api_server: ApiServer,
    secured_registry: Registry,
    token_registry: Registry,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Tenant]:
    folder, rotating_at = tmp_path_factory.mktemp("tenant"), tmp_path_factory.mktemp("rotating")
    make_namespaces(api_server)
    manifests = build(DEPLOY / "base")
    authorities = folder / "ca.pem"
    with (
        servers.distribution(rotating_at, tls=True, htpasswd=True) as rotating,
        applied(api_server, [*manifests, *build(DEPLOY / "overlays" / "tenant-credentials")]),
    ):
        known = [each.ca_file for each in (secured_registry, token_registry, rotating) if each.ca_file]
        authorities.write_bytes(b"".join(each.read_bytes() for each in known))
        body = {"data": {"storage.oci.ca-file": str(authorities)}}
        api_server.request("PATCH", f"/api/v1/namespaces/{SYSTEM}/configmaps/chains-config", body, kind=MERGE)
        controller = Deployed(api_server, folder, manifests, folder / "token")
        try:
            controller.wait(lambda: controller.ask("/readyz") == "ok\n")
            yield Tenant(api_server, controller, rotating, rotating_at / "htpasswd")
        finally:
            controller.process.kill()
            controller.process.wait()


@pytest.mark.parametrize("registry", ["secured_registry", "token_registry"])
def test_a_run_is_pushed_with_the_secret_of_its_account(
    registry: str, tenant: Tenant, request: pytest.FixtureRequest
) -> None:
    found: Registry = request.getfixturevalue(registry)
    name = slug(request)
    account = tenant.account(name, tenant.secret(name, found))
    assert tenant.is_stored(tenant.run(name, found, account), found)


@pytest.mark.parametrize("registry", ["secured_registry", "token_registry"])
def test_the_right_secret_is_found_behind_wrong_and_missing_ones(
    registry: str, tenant: Tenant, request: pytest.FixtureRequest
) -> None:
    found: Registry = request.getfixturevalue(registry)
    name = slug(request)
    wrong = tenant.secret(f"{name}-wrong", found, password="hunter2")
    right = tenant.secret(f"{name}-right", found)
    account = tenant.account(name, f"{name}-gone", wrong, pull=(right,))
    assert tenant.is_stored(tenant.run(name, found, account), found)


def test_a_pull_secret_of_the_pod_template_is_taken_too(
    tenant: Tenant, secured_registry: Registry, request: pytest.FixtureRequest
) -> None:
    name = slug(request)
    template = {"imagePullSecrets": [{"name": tenant.secret(name, secured_registry)}]}
    run = tenant.run(name, secured_registry, "no-such-account", podTemplate=template)
    assert tenant.is_stored(run, secured_registry)


@pytest.mark.parametrize(
    ("registry", "refusal"),
    [("secured_registry", "(answered 401"), ("token_registry", "(the token server localhost of ")],
)
def test_where_all_are_wrong_the_run_fails_and_each_is_explained(
    registry: str, refusal: str, tenant: Tenant, request: pytest.FixtureRequest
) -> None:
    found: Registry = request.getfixturevalue(registry)
    name = slug(request)
    wrong = [tenant.secret(f"{name}-{number}", found, password=f"hunter{number}") for number in range(2)]
    account = tenant.account(name, wrong[0], f"{name}-gone", pull=(wrong[1],))
    run = tenant.run(name, found, account)
    assert state(run) == "failed"
    told = reason(run).partition("credentials tried: ")[2]
    of = f"of service account {CI}/{account}"
    expected = [
        f"the entry '{found.host}' of secret {wrong[0]} {of} {refusal}",
        f"secret {name}-gone {of} (does not exist)",
        f"the entry '{found.host}' of secret {wrong[1]} {of} {refusal}",
        "the controller's own docker configuration: none, as there is no docker config.json (",
        f"one of them must be allowed to push to {found.host}/{name}",
    ]
    places = [told.find(text) for text in expected]
    assert places == sorted(places), told
    assert places[0] == 0, told
    everything = json.dumps(run) + tenant.controller.log.read_text()
    assert "hunter0" not in everything
    assert base64.b64encode(f"{found.username}:hunter0".encode()).decode() not in everything


@contextmanager
def own(controller: Deployed, registry: Registry, user: str = "") -> Iterator[None]:
    """Give the controller's own docker configuration a credential, as its mounted Secret does."""
    mount(controller.docker, docker_config(registry.host, user or registry.username, registry.password))
    try:
        yield
    finally:
        controller.docker.unlink()


def mount(path: Path, content: str) -> None:
    """Replace a mounted file as the kubelet does: by another one, at once."""
    new = path.with_suffix(".new")
    new.write_text(content)
    new.rename(path)


def test_without_the_overlay_a_run_is_pushed_with_the_controllers_own_credentials(
    tenant: Tenant, token_registry: Registry, request: pytest.FixtureRequest
) -> None:
    name = slug(request)
    with own(tenant.controller, token_registry):
        assert tenant.is_stored(tenant.run(name, token_registry, "default", OTHER), token_registry)
    run = tenant.run(f"{name}-none", token_registry, "default", OTHER)
    assert state(run) == "failed"
    told = f"service account {OTHER}/default (the controller's account may not read it; the overlay tenant-credentials grants it)"
    assert told in reason(run)


def test_a_secret_rotated_as_the_runbook_says_is_used_without_a_restart(
    tenant: Tenant, request: pytest.FixtureRequest
) -> None:
    name, registry = slug(request), tenant.rotating
    account = tenant.account(name, tenant.secret(name, registry))
    assert tenant.is_stored(tenant.run(name, registry, account), registry)
    with renamed(tenant.htpasswd) as user:
        tenant.secret(name, registry, user=user)
        run = tenant.run(f"{name}-next", user_of(registry, user), account)
        assert tenant.is_stored(run, user_of(registry, user))


def test_the_controllers_own_credentials_rotated_as_the_runbook_says_are_used_without_a_restart(
    tenant: Tenant, request: pytest.FixtureRequest
) -> None:
    name, registry = slug(request), tenant.rotating
    with own(tenant.controller, registry):
        assert tenant.is_stored(tenant.run(name, registry, "default", OTHER), registry)
        with renamed(tenant.htpasswd) as user:
            config = docker_config(registry.host, user, registry.password)
            mount(tenant.controller.docker, config)
            run = tenant.run(f"{name}-next", user_of(registry, user), "default", OTHER)
            assert tenant.is_stored(run, user_of(registry, user))


@contextmanager
def renamed(htpasswd: Path) -> Iterator[str]:
    """Give the registry's only user another name: what it was called is refused from now on."""
    before = htpasswd.read_text()
    user = "robot-rotated"
    htpasswd.write_text(before.replace(servers.USERNAME, user, 1))
    try:
        yield user
    finally:
        htpasswd.write_text(before)


def user_of(registry: Registry, user: str) -> Registry:
    return Registry(
        registry.host, registry.pid, registry.log, registry.tls, registry.ca_file, user, registry.password
    )


def test_the_overlay_lets_read_secrets_by_name_in_its_namespace_and_nothing_more(tenant: Tenant) -> None:
    token = tenant.server.service_account_token(SYSTEM, ACCOUNT)
    verbs = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
    for resource in ("/secrets", "/serviceaccounts"):
        assert [verb for verb in verbs if may(tenant.server, token, verb, resource, CI)] == ["get"]
        for namespace in ("", OTHER, SYSTEM):
            assert not any(may(tenant.server, token, verb, resource, namespace) for verb in verbs)
    for sub in ("serviceaccounts/token", "pods/exec"):
        assert not any(may(tenant.server, token, verb, f"/{sub}", CI) for verb in verbs)


def test_a_token_rotated_as_the_runbook_says_is_used_and_the_old_one_is_worth_nothing(
    tenant: Tenant, token_registry: Registry, request: pytest.FixtureRequest
) -> None:
    name, server, file = slug(request), tenant.server, tenant.controller.docker.parents[1] / "token"
    old = file.read_text()
    path = f"/api/v1/namespaces/{SYSTEM}/serviceaccounts/{ACCOUNT}"
    server.request("DELETE", path)
    mount(file, server.service_account_token(SYSTEM, ACCOUNT))

    def is_refused() -> bool:
        try:
            server.request("GET", "/apis/tekton.dev/v1/namespaces/ci/taskruns?limit=1", token=old)
        except ApiError as error:
            return error.status == 401
        return False

    # the API server remembers for some seconds whom a token is
    wait(is_refused, "the old token is refused")
    account = tenant.account(name, tenant.secret(name, token_registry))
    assert tenant.is_stored(tenant.run(name, token_registry, account), token_registry)
