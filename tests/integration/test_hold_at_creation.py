"""``deploy/overlays/hold-at-creation`` on a real API server: a run is held from its first moment on, and released."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chains.cluster.client import Cluster
from chains.cluster.discovery import find_access
from chains.doctor.hold import check_hold
from chains.doctor.report import DoctorCheck
from tests.integration.test_deploy import (
    ACCOUNT,
    DEPLOY,
    HOLDS,
    SYSTEM,
    TEKTON,
    Deployed,
    allow_runs,
    applied,
    apply,
    make_namespaces,
    path_of,
    run_in,
    signed,
    store_in_annotations,
    take_off,
    wait,
)
from tests.testbed.cluster import MERGE, ApiError, ApiServer
from tests.testbed.commands import Command
from tests.testbed.kustomize import build

pytestmark = pytest.mark.server
Json = Any
OTHER = "example.com/mine"
KINDS = list(HOLDS)


@pytest.fixture(scope="module")
def manifests(api_server: ApiServer) -> Iterator[list[Json]]:
    """The base and the overlay, in force."""
    make_namespaces(api_server)
    base = build(DEPLOY / "base")
    with applied(api_server, base):
        for account in (("ci", "developer"), TEKTON):
            allow_runs(api_server, *account)
        held = build(DEPLOY / "overlays" / "hold-at-creation")
        for manifest in held:
            apply(api_server, manifest)
        try:
            wait(lambda: finalizers(create(api_server, "TaskRun", dry=True)) != [], "runs are held")
            yield base
        finally:
            for manifest in reversed(held):
                api_server.request("DELETE", path_of(api_server, manifest))


def create(
    server: ApiServer,
    kind: str,
    *,
    dry: bool = False,
    token: str = "",
    version: str = "v1",
    spec: Json = None,
    **metadata: Any,
) -> Json:
    """Create a run in ``ci`` and return it. Without a name it gets one that no other test used."""
    path = f"/apis/tekton.dev/{version}/namespaces/ci/{kind.lower()}s"
    named = metadata if {"name", "generateName"} & metadata.keys() else {"generateName": "probe-", **metadata}
    body = {"apiVersion": f"tekton.dev/{version}", "kind": kind, "metadata": named, "spec": spec or {}}
    return server.request("POST", path + ("?dryRun=All" if dry else ""), body, token=token)


def finalizers(run: Json) -> list[str]:
    found: list[str] = run["metadata"].get("finalizers", [])
    return found


@pytest.fixture
def start(api_server: ApiServer, manifests: list[Json], tmp_path: Path) -> Iterator[Callable[[], Deployed]]:
    """Start the controller with the account of the base."""
    started: list[Deployed] = []

    def make() -> Deployed:
        started.append(Deployed(api_server, tmp_path, manifests))
        started[0].wait(lambda: started[0].ask("/readyz") == "ok\n")
        return started[0]

    yield make
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_held_from_its_creation_on_whoever_creates_it(
    api_server: ApiServer, manifests: list[Json], kind: str
) -> None:
    tokens = [
        "",
        *(api_server.service_account_token(*one) for one in (("ci", "developer"), TEKTON)),
    ]
    for token in tokens:
        for version in ("v1", "v1beta1"):
            made = create(api_server, kind, dry=True, token=token, version=version)
            assert finalizers(made) == [HOLDS[kind]], (kind, version)
    named = create(api_server, kind, generateName="made-")
    assert finalizers(named) == [HOLDS[kind]]
    assert named["metadata"]["name"].startswith("made-")
    path = f"/apis/tekton.dev/v1/namespaces/ci/{kind.lower()}s/{named['metadata']['name']}"
    take_off(api_server, path, HOLDS[kind])
    api_server.request("DELETE", path)


@pytest.mark.parametrize("kind", KINDS)
def test_other_finalizers_stay_and_one_that_holds_already_is_enough(
    api_server: ApiServer, manifests: list[Json], kind: str
) -> None:
    for given, expected in (
        (None, [HOLDS[kind]]),
        ([], [HOLDS[kind]]),
        ([OTHER], [OTHER, HOLDS[kind]]),
        ([HOLDS[kind]], [HOLDS[kind]]),
        (["chains.tekton.dev", OTHER], ["chains.tekton.dev", OTHER]),
    ):
        assert finalizers(create(api_server, kind, dry=True, finalizers=given)) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_no_controller_of_ours_would_release_is_not_held(
    api_server: ApiServer, manifests: list[Json], kind: str
) -> None:
    assert finalizers(create(api_server, kind, dry=True, spec={"managedBy": "example.com/other"})) == []
    assert finalizers(create(api_server, kind, dry=True, spec={"managedBy": "tekton.dev/pipeline"})) == [
        HOLDS[kind]
    ]
    # restored from a backup, by the only account that may write the label
    token = api_server.service_account_token(SYSTEM, ACCOUNT)
    allow_runs(api_server, SYSTEM, ACCOUNT)
    try:
        done = {"provenance.chains/done": "true"}
        assert finalizers(create(api_server, kind, dry=True, token=token, labels=done)) == []
        assert finalizers(create(api_server, kind, dry=True, token=token)) == [HOLDS[kind]]
    finally:
        place = "/apis/rbac.authorization.k8s.io/v1/namespaces/ci"
        for plural in ("rolebindings", "roles"):
            api_server.request("DELETE", f"{place}/{plural}/runs-of-{ACCOUNT}")


@pytest.mark.parametrize("kind", KINDS)
def test_kubectl_keeps_the_finalizer_and_nobody_takes_it_off(
    api_server: ApiServer, manifests: list[Json], kubectl: Command, kind: str, tmp_path: Path
) -> None:
    file = tmp_path / "run.json"
    body: Json = {
        "apiVersion": "tekton.dev/v1",
        "kind": kind,
        "metadata": {"name": "applied", "namespace": "ci"},
        "spec": {},
    }
    path = f"/apis/tekton.dev/v1/namespaces/ci/{kind.lower()}s/applied"
    for options in ((), ("--server-side", "--force-conflicts")):
        for labels in ({}, {"team": "a"}):
            body["metadata"]["labels"] = labels
            file.write_text(json.dumps(body))
            kubectl("apply", *options, "-f", file)
            assert finalizers(api_server.request("GET", path)) == [HOLDS[kind]]
    developer = api_server.service_account_token("ci", "developer")
    for token in (developer, ""):
        with pytest.raises(ApiError, match="takes off the finalizer"):
            api_server.request("PATCH", path, {"metadata": {"finalizers": None}}, kind=MERGE, token=token)
    # what the controller released stays released
    take_off(api_server, path, HOLDS[kind])
    api_server.request("PATCH", path, {"metadata": {"labels": {"team": "b"}}}, kind=MERGE, token=developer)
    assert finalizers(api_server.request("GET", path)) == []
    api_server.request("DELETE", path)


def test_runs_that_end_and_are_deleted_while_no_controller_runs_are_attested_and_vanish(
    api_server: ApiServer, manifests: list[Json], start: Callable[[], Deployed]
) -> None:
    store_in_annotations(api_server)
    developer = api_server.service_account_token("ci", "developer")
    path = "/apis/tekton.dev/v1/namespaces/ci"
    selected = {"filter.skip": "example.com/skip"}
    api_server.request(
        "PATCH", f"/api/v1/namespaces/{SYSTEM}/configmaps/chains-config", {"data": selected}, kind=MERGE
    )
    ended = run_in("ci", "ended-and-deleted")
    # it stays after its release, so that its evidence can be looked at
    ended["metadata"]["finalizers"] = [OTHER]
    skipped = run_in("ci", "skipped-and-deleted")
    skipped["metadata"]["labels"] = {"example.com/skip": "true"}
    running = {**run_in("ci", "running-and-deleted"), "status": {"podName": "p"}}
    never = {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {"name": "never-begun", "namespace": "ci"},
        "spec": {"status": "PipelineRunPending"},
    }
    kept = {**run_in("ci", "running-and-kept"), "status": {"podName": "p"}}
    strange = {**run_in("ci", "of-another-manager"), "spec": {"managedBy": "example.com/other"}}
    # held by a controller that took its manager's runs then
    strange["metadata"]["finalizers"] = [HOLDS["TaskRun"]]
    for run in (ended, skipped, running, never, kept, strange):
        made = api_server.create_run(run)
        assert HOLDS[run["kind"]] in finalizers(made), run["metadata"]["name"]
    deleted = [ended, skipped, running, never, strange]
    for run in deleted:
        plural, name = f"{run['kind'].lower()}s", run["metadata"]["name"]
        api_server.request("DELETE", f"{path}/{plural}/{name}", token=developer)
        assert "deletionTimestamp" in api_server.request("GET", f"{path}/{plural}/{name}")["metadata"]

    controller = start()

    def is_gone(run: Json) -> bool:
        try:
            api_server.get_run(run["kind"], "ci", run["metadata"]["name"])
        except ApiError as error:
            return error.status == 404
        return False

    controller.wait(lambda: all(is_gone(run) for run in (skipped, running, never, strange)))
    controller.wait(lambda: signed(api_server, ended) == "true")
    metadata = api_server.get_run("TaskRun", "ci", "ended-and-deleted")["metadata"]
    assert metadata["finalizers"] == [OTHER]
    statement = json.loads(
        b64decode(metadata["annotations"][f"chains.tekton.dev/payload-taskrun-{metadata['uid']}"])
    )
    assert statement["subject"][0]["digest"] == {"sha256": "ab" * 32}
    api_server.request(
        "PATCH", f"{path}/taskruns/ended-and-deleted", {"metadata": {"finalizers": None}}, kind=MERGE
    )
    controller.wait(lambda: is_gone(ended))
    # a run that goes on needs no patch to be held, and keeps the finalizer until it ends
    assert finalizers(api_server.get_run("TaskRun", "ci", "running-and-kept")) == [HOLDS["TaskRun"]]
    status = run_in("ci", "x")["status"]
    api_server.request("PATCH", f"{path}/taskruns/running-and-kept/status", {"status": status}, kind=MERGE)
    controller.wait(lambda: signed(api_server, kept) == "true")
    assert finalizers(api_server.get_run("TaskRun", "ci", "running-and-kept")) == []
    controller.stop()


def test_doctor_says_whether_runs_are_held_and_where_the_controller_would_not_release_them(
    api_server: ApiServer, manifests: list[Json], tmp_path: Path
) -> None:
    access = find_access(str(api_server.kubeconfig(tmp_path)))

    def examined(*namespaces: str) -> DoctorCheck:
        async def ask() -> DoctorCheck:
            async with Cluster(access) as cluster:
                return await check_hold(cluster, namespaces)

        return asyncio.run(ask())

    found = examined()
    assert (found.state, found.detail) == (
        "ok",
        "tekton-chains-hold is in force: runs are held from their creation on",
    )
    limited = examined("ci")
    assert limited.state == "failed"
    assert "runs in other namespaces than ci are held, and nobody releases them" in limited.detail
    assert limited.next_step.startswith("choose the namespaces in the binding")
    binding = next(
        each for each in build(DEPLOY / "overlays" / "hold-at-creation") if each["kind"].endswith("Binding")
    )
    path = path_of(api_server, binding)
    chosen = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["ci"]}
    selector = {"namespaceSelector": {"matchExpressions": [chosen]}}
    api_server.request("PATCH", path, {"spec": {"matchResources": selector}}, kind=MERGE)
    try:
        assert examined("ci").state == "ok"
        assert examined("other").state == "failed"
        outside = {
            "apiVersion": "tekton.dev/v1",
            "kind": "TaskRun",
            "metadata": {"generateName": "probe-"},
            "spec": {},
        }
        place = "/apis/tekton.dev/v1/namespaces/other/taskruns?dryRun=All"
        wait(
            lambda: finalizers(api_server.request("POST", place, outside)) == [],
            "runs elsewhere are not held",
        )
        assert finalizers(create(api_server, "TaskRun", dry=True)) == [HOLDS["TaskRun"]]
        api_server.request("DELETE", path)
        missing = examined()
        assert missing.state == "skipped"
        assert (
            "a run that is created, ends and is deleted while no controller runs has no evidence"
            in missing.detail
        )
        assert "deploy/overlays/hold-at-creation" in missing.next_step
    finally:
        apply(api_server, binding)
