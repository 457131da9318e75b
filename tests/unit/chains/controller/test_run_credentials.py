"""Whose registry credentials a run has, in which order, how often they are read and what is told of them."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chains.attest.stores import Stores
from chains.cluster.errors import ClusterError, ClusterForbidden, ClusterUnavailable, ObjectGone
from chains.controller import run_credentials as module
from chains.controller.flow import build_flow
from chains.controller.run_credentials import (
    MOST_ACCOUNTS,
    Account,
    AccountKeychain,
    AccountStores,
    account_of,
)
from chains.tekton.snapshot import take_snapshot
from signers.keys.keyfile import generate_key
from storage.annotations import AnnotationStore
from storage.base import StoreOptions
from storage.errors import StoreRejected
from storage.formats.reference import Repository
from storage.oci.docker_config import Credential
from storage.oci.store import RegistryStore

Json = Any
APP = Repository("registry.example", "team/app")
JSON, CFG = "kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg"
OWN = Credential("the file", "own", "own")


class Objects:
    """An API server with these objects of the namespace ``ci``; an error stands for what it answers."""

    def __init__(self, **found: Json) -> None:
        self.found = {name.replace("__", "/").replace("_", "-"): each for name, each in found.items()}
        self.asked: list[str] = []

    async def get(self, path: str) -> Json:
        await asyncio.sleep(0)
        name = path.removeprefix("/api/v1/namespaces/ci/")
        self.asked.append(name)
        found = self.found.get(name, ObjectGone(f"GET {path}: 404"))
        if isinstance(found, ClusterError):
            raise found
        return found


class Own:
    """The controller's own credentials."""

    def __init__(self, error: StoreRejected | None = None) -> None:
        self.error = error

    async def candidates(self, repository: Repository, *, again: bool = False) -> Sequence[Credential]:
        if self.error is not None:
            raise self.error
        return [OWN]


def account(*names: str, pull: Sequence[str] = ()) -> Json:
    return {
        "secrets": [{"name": name} for name in names],
        "imagePullSecrets": [{"name": name} for name in pull],
    }


def secret(*keys: str, kind: str = JSON, password: str = "hunter2") -> Json:
    auths = {
        key: {"username": key.rpartition("/")[2], "password": password}
        for key in keys or ["registry.example"]
    }
    content = {"auths": auths} if kind == JSON else auths
    name = ".dockerconfigjson" if kind == JSON else ".dockercfg"
    return {"type": kind, "data": {name: base64.b64encode(json.dumps(content).encode()).decode()}}


def keychain(cluster: Objects, *pull: str, name: str = "builder", own: Own | None = None) -> AccountKeychain:
    return AccountKeychain(cluster, Account("ci", name, pull), own or Own())  # type: ignore[arg-type]


def candidates(cluster: Objects, *pull: str, **options: Any) -> list[Credential]:
    return list(asyncio.run(keychain(cluster, *pull, **options).candidates(APP)))


def told(found: Sequence[Credential]) -> list[tuple[str, str]]:
    return [(each.source, each.unusable or each.username) for each in found]


def run_of(kind: str, spec: Json) -> Json:
    return take_snapshot(
        {
            "apiVersion": "tekton.dev/v1", "kind": kind, "metadata": {"name": "r", "namespace": "ci", "uid": "u"},
            "spec": spec, "status": {"conditions": [{"type": "Succeeded", "status": "True"}]},
        }
    )  # fmt: skip


TEMPLATE = {"imagePullSecrets": [{"name": "a"}, {"name": "b"}]}


@pytest.mark.parametrize(
    ("kind", "spec", "expected"),
    [
        ("TaskRun", {}, Account("ci", "default")),
        (
            "TaskRun",
            {"serviceAccountName": "builder", "podTemplate": TEMPLATE},
            Account("ci", "builder", ("a", "b")),
        ),
        ("PipelineRun", {}, Account("ci", "default")),
        (
            "PipelineRun",
            {"taskRunTemplate": {"serviceAccountName": "pipeline", "podTemplate": TEMPLATE}},
            Account("ci", "pipeline", ("a", "b")),
        ),
    ],
)
def test_the_account_is_the_runs_own_or_default(kind: str, spec: Json, expected: Account) -> None:
    assert account_of(run_of(kind, spec)) == expected


def test_secrets_come_before_pull_secrets_those_before_the_pod_templates_and_the_controllers_own_last() -> (
    None
):
    cluster = Objects(
        serviceaccounts__builder=account("push", "both", pull=["pull", "both"]),
        secrets__push=secret("registry.example/one", "registry.example/team", "registry.example"),
        secrets__both=secret(kind=CFG),
        secrets__pull=secret(),
        secrets__pod=secret(),
    )
    of = "of service account ci/builder"
    assert told(candidates(cluster, "pod", "both")) == [
        (f"the entry 'registry.example/team' of secret push {of}", "team"),
        (f"the entry 'registry.example' of secret push {of}", "registry.example"),
        (f"the entry 'registry.example' of secret both {of}", "registry.example"),
        (f"the entry 'registry.example' of secret pull {of}", "registry.example"),
        ("the entry 'registry.example' of secret pod of the run's pod template", "registry.example"),
        ("the controller's own docker configuration: the file", "own"),
    ]
    assert len(cluster.asked) == len(set(cluster.asked)) == 5


def test_what_cannot_be_used_is_told_and_the_next_one_tried() -> None:
    names = [
        "denied",
        "gone",
        "away",
        "token",
        "broken",
        "list",
        "no-auths",
        "elsewhere",
        "../configmaps/x",
        "good",
    ]
    cluster = Objects(
        serviceaccounts__builder=account(*names),
        secrets__denied=ClusterForbidden("GET x: 403 secrets is forbidden"),
        secrets__away=ClusterUnavailable("GET x: 503 busy"),
        secrets__token={"type": "kubernetes.io/service-account-token", "data": {"token": "aHVudGVyMg=="}},
        secrets__broken={
            "type": JSON,
            "data": {".dockerconfigjson": base64.b64encode(b'{"auths": hunter2').decode()},
        },
        secrets__list={"type": CFG, "data": {".dockercfg": base64.b64encode(b"[]").decode()}},
        secrets__no_auths={"type": JSON, "data": {}},
        secrets__elsewhere=secret("other.example"),
        secrets__good=secret(),
    )
    found = candidates(cluster)
    reasons = {each.source.split()[1]: (each.unusable, each.transient) for each in found[:-2]}
    content = "has no .dockerconfigjson of registries and credentials"
    assert reasons == {
        "denied": ("the controller's account may not read it; the overlay tenant-credentials grants it", False),
        "gone": ("does not exist", False),
        "away": ("cannot be read: GET x: 503 busy", True),
        "token": ("is of type kubernetes.io/service-account-token; expected kubernetes.io/dockerconfigjson or kubernetes.io/dockercfg", False),
        "broken": (content, False),
        "list": ("has no .dockercfg of registries and credentials", False),
        "no-auths": (content, False),
        "elsewhere": ("has no entry for registry.example", False),
        "../configmaps/x": ("is no name of an object", False),
    }  # fmt: skip
    assert [each.username for each in found[-2:]] == ["registry.example", "own"]
    assert "hunter2" not in repr(found)
    assert not any(".." in path for path in cluster.asked)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "does not exist"),
        (
            ClusterForbidden("403"),
            "the controller's account may not read it; the overlay tenant-credentials grants it",
        ),
        ({}, "names no secrets"),
        ({"secrets": [{}, None, "x"], "imagePullSecrets": {}}, "names no secrets"),
    ],
)
def test_an_account_without_credentials_leaves_the_controllers_own(answer: Json, reason: str) -> None:
    cluster = Objects(**({} if answer is None else {"serviceaccounts__builder": answer}))
    first, own = candidates(cluster)
    assert (first.source, first.unusable) == ("service account ci/builder", reason)
    assert own.username == "own"


def test_a_name_that_leads_elsewhere_in_the_api_is_not_asked_for() -> None:
    for name in ("../secrets/push", "a/b", "..", "A", "x?limit=1", "a" * 300, "-"):
        cluster = Objects()
        assert candidates(cluster, name=name)[0].unusable == "is no name of an object"
        assert cluster.asked == []


def test_a_broken_configuration_of_the_controllers_own_does_not_take_the_accounts_away() -> None:
    cluster = Objects(serviceaccounts__builder=account("push"), secrets__push=secret())
    good, own = candidates(cluster, own=Own(StoreRejected("config.json is not JSON")))
    assert good.username == "registry.example"
    assert told([own]) == [("the controller's own docker configuration", "config.json is not JSON")]


def test_no_more_secrets_are_read_than_fit() -> None:
    cluster = Objects(serviceaccounts__builder=account(*(f"s{number}" for number in range(100))))
    assert candidates(cluster)[0].unusable == "only 32 of 100 secrets are read"
    assert len(cluster.asked) == 33


def test_an_account_is_read_once_for_all_and_again_when_it_expires_or_was_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    cluster = Objects(serviceaccounts__builder=account("push"), secrets__push=secret())
    chain = keychain(cluster)

    async def reads(after: float, *, again: bool = False) -> int:
        now[0] += after
        before = len(cluster.asked)
        await asyncio.gather(*(chain.candidates(APP, again=again) for _ in range(20)))
        return len(cluster.asked) - before

    async def work() -> None:
        assert await reads(0) == 2
        assert await reads(299) == 0
        assert await reads(0.5, again=True) == 2
        assert await reads(0.2, again=True) == 0, "refusals one after another read it once"
        assert await reads(300) == 2
        cluster.found["secrets/push"] = ClusterUnavailable("503")
        assert await reads(300) == 2
        assert await reads(1) == 2, "what was not whole does not last"
        cluster.found["serviceaccounts/builder"] = ClusterForbidden("403")
        assert await reads(300) == 1
        assert await reads(299) == 0, "a missing permission is remembered"

    asyncio.run(work())


def test_each_account_has_stores_of_its_own_and_no_more_than_fit_are_kept() -> None:
    async def work() -> None:
        shared = [AnnotationStore("tekton:", StoreOptions()), RegistryStore("oci:", StoreOptions())]
        async with shared[1]:
            stores = Stores({"tekton": shared[:1], "oci": shared[1:]})
            pool = AccountStores(Objects(), stores, Own())  # type: ignore[arg-type]

            def of(name: str) -> Stores:
                return pool.stores_for(run_of("TaskRun", {"serviceAccountName": name}))

            first = of("a")
            assert of("a") is first is not of("b")
            assert first.chosen(["tekton"])[0] is shared[0]
            assert first.chosen(["oci"])[0] is not shared[1]
            for number in range(MOST_ACCOUNTS - 1):
                of(f"x{number}")
                of("b")
            assert of("a") is not first
            assert of("b") is of("b")
            assert len(pool._opened) == MOST_ACCOUNTS

    asyncio.run(work())


def test_without_a_registry_there_is_nothing_per_account() -> None:
    stores = Stores({"tekton": [AnnotationStore("tekton:", StoreOptions())]})
    pool = AccountStores(Objects(), stores, Own())  # type: ignore[arg-type]
    assert pool.stores_for(run_of("TaskRun", {})) is stores


def test_the_configuration_turns_them_off_and_without_a_cluster_there_are_none(tmp_path: Path) -> None:
    (tmp_path / "x509.pem").write_bytes(generate_key())
    data = {"artifacts.taskrun.storage": "oci"}
    cluster: Any = Objects()
    flow = build_flow(data, tmp_path, cluster)
    run = run_of("TaskRun", {})
    assert flow.of(run).stores is not flow.stores
    for off in (
        build_flow(data, tmp_path),
        build_flow(data | {"storage.oci.run-credentials": "false"}, tmp_path, cluster),
    ):
        assert off.of(run) is off.flow
