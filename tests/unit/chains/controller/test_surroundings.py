"""What the controller reads beside a run, where the cluster refuses, fails or serves what is not understood."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from typing import Any

import pytest

from chains.cluster.errors import ClusterError, ClusterRejected, ClusterUnavailable, ObjectGone
from chains.config.parse import parse_config
from chains.controller.surroundings import SurroundingsReader
from chains.tekton.snapshot import take_snapshot
from chains.tekton.surroundings import Surroundings
from tests.faults.hermetic import objects
from tests.owners import owned

Json = Any
LABEL = "taskrun/ci/build"
POLICIES = "/apis/networking.k8s.io/v1/namespaces/ci/networkpolicies"
OTHERS = "/apis/cilium.io/v2/namespaces/ci/ciliumnetworkpolicies"
GLOBAL = "/apis/policy.networking.k8s.io/v1/adminnetworkpolicies"
REFUSED = "could not be read: the API server refuses it to the controller"


def kind(name: str, plural: str, scope: str = "Namespaced", verbs: tuple[str, ...] = ("list",)) -> Json:
    return {"resource": plural, "responseKind": {"kind": name}, "scope": scope, "verbs": [*verbs]}


DISCOVERY = {
    "kind": "APIGroupDiscoveryList",
    "items": [
        {"metadata": {"name": "networking.k8s.io"}, "versions": [{"version": "v1", "resources": [kind("NetworkPolicy", "networkpolicies")]}]},
        {"metadata": {"name": "cilium.io"}, "versions": [{"version": "v2", "resources": [
            kind("CiliumNetworkPolicy", "ciliumnetworkpolicies"), kind("CiliumEndpoint", "ciliumendpoints"),
            kind("ReviewNetworkPolicy", "reviews", verbs=("create",)),
        ]}]},
        {"metadata": {"name": "policy.networking.k8s.io"}, "versions": [{"version": "v1", "resources": [kind("AdminNetworkPolicy", "adminnetworkpolicies", "Cluster")]}]},
    ],
}  # fmt: skip


class Server:
    """Answers by path with an object, a list or an error, and counts."""

    def __init__(self, **answers: Json) -> None:
        found = objects("nothing-wrong")
        self.run = found["TaskRun"]
        self.asked: list[str] = []
        self.answers: dict[str, Json] = {
            "/api/v1/namespaces/ci/pods/build-pod": found["Pod"],
            POLICIES: [{"metadata": {"name": "deny"}}],
            OTHERS: [],
            GLOBAL: [],
            "/apis": DISCOVERY,
            **answers,
        }

    def _answer(self, path: str) -> Json:
        self.asked.append(path)
        answer = self.answers.get(path, ObjectGone(f"GET {path}: 404"))
        if isinstance(answer, ClusterError):
            raise answer
        return copy.deepcopy(answer)

    async def get(self, path: str, *, accept: str = "") -> Json:
        assert bool(accept) == (path == "/apis")
        return self._answer(path)

    async def list(self, path: str) -> AsyncIterator[Json]:
        for item in self._answer(path):
            yield item

    def read(self, times: int = 1, *, give_up: bool = False, **config: str) -> Surroundings | None:
        async def work() -> Surroundings | None:
            reader, found = SurroundingsReader(self), None  # type: ignore[arg-type]
            settings = parse_config({key.replace("_", "."): value for key, value in config.items()})
            for _ in range(times):
                found = await reader.read(take_snapshot(self.run), settings, give_up=give_up)
            return found[LABEL] if found is not None else None

        return asyncio.run(work())


def test_policies_of_other_kinds_are_looked_for_wherever_they_are_served() -> None:
    server = Server()
    found = server.read(times=3)
    assert found is not None
    assert (len(found.policies), found.doubtful, found.unread) == (1, (), {})
    assert server.asked == ["/api/v1/namespaces/ci/pods/build-pod", POLICIES, "/apis", OTHERS, GLOBAL]


def test_a_kind_that_only_an_older_version_serves_is_looked_for_too() -> None:
    discovery = copy.deepcopy(DISCOVERY)
    newer = [kind("ClusterNetworkPolicy", "clusternetworkpolicies", "Cluster")]
    discovery["items"][2]["versions"].insert(0, {"version": "v2", "resources": newer})
    discovery["items"][1]["versions"].append({**discovery["items"][1]["versions"][0], "version": "v1"})
    newest = "/apis/policy.networking.k8s.io/v2/clusternetworkpolicies"
    server = Server(**{"/apis": discovery, newest: [], GLOBAL: [{"metadata": {"name": "allow"}}]})
    found = server.read()
    assert found is not None
    assert [text.partition(" may ")[0] for text in found.doubtful] == ["AdminNetworkPolicy allow"]
    assert server.asked[3:] == [OTHERS, newest, GLOBAL]


@pytest.mark.parametrize(
    ("answers", "doubtful"),
    [
        ({OTHERS: [{"metadata": {"name": "a"}}, {}]}, ("CiliumNetworkPolicy a may overrule network policies, and is not understood here",)),
        ({OTHERS: ClusterRejected("403")}, (f"CiliumNetworkPolicy may overrule network policies, and {REFUSED}",)),
        ({GLOBAL: ClusterRejected("403")}, (f"AdminNetworkPolicy may overrule network policies, and {REFUSED}",)),
        ({OTHERS: ObjectGone("404"), POLICIES: []}, ()),
        ({OTHERS: ObjectGone("404")}, ()),
    ],
)  # fmt: skip
def test_what_may_overrule_is_named(answers: dict[str, Json], doubtful: tuple[str, ...]) -> None:
    found = Server(**answers).read()
    assert found is not None
    assert found.doubtful == doubtful


@pytest.mark.parametrize(
    "answers", [{POLICIES: ClusterRejected("403")}, {"/apis": ClusterRejected("403")}, {"/apis": {"kind": "APIGroupList"}}]
)  # fmt: skip
def test_where_it_cannot_be_told_which_policies_there_are_it_is_said(answers: dict[str, Json]) -> None:
    found = Server(**answers).read()
    assert found is not None
    assert (found.policies, found.unread) == ((), {"NetworkPolicy": REFUSED})


@pytest.mark.parametrize("path", ["/api/v1/namespaces/ci/pods/build-pod", POLICIES, "/apis", OTHERS])
def test_what_cannot_be_answered_for_now_is_worth_another_try_until_the_run_is_given_up(path: str) -> None:
    server = Server(**{path: ClusterUnavailable("503")})
    with pytest.raises(ClusterUnavailable):
        server.read()
    found = server.read(give_up=True)
    assert found is not None
    said = [found.missing, *found.doubtful, *found.unread.values()]
    assert any(text.endswith("could not be read: the API server did not answer") for text in said)


def test_a_runtime_class_that_is_gone_is_not_the_one_that_was() -> None:
    server = Server()
    server.answers["/api/v1/namespaces/ci/pods/build-pod"]["spec"]["runtimeClassName"] = "sandboxed"
    found = server.read()
    assert found is not None
    assert (found.runtime_class, found.unread) == (None, {"RuntimeClass": "is gone"})


def test_flags_are_asked_for_where_the_run_does_not_tell_them() -> None:
    path = "/api/v1/namespaces/tekton-pipelines/configmaps/feature-flags"
    server = Server(**{path: {"data": {"enable-api-fields": "beta", "odd": 5}}})
    server.run["status"].pop("provenance", None)
    found = server.read()
    assert found is not None
    assert found.feature_flags == {"enable-api-fields": "beta"}


@pytest.mark.parametrize(
    ("change", "reads"),
    [("done", 1), ("running", 3), ("refused", 3), ("gone", 1)],
)
def test_a_pod_is_read_once_unless_a_later_read_may_tell_more(change: str, reads: int) -> None:
    server, path = Server(), "/api/v1/namespaces/ci/pods/build-pod"
    if change == "running":
        server.run["status"]["conditions"][0]["status"] = "Unknown"
    elif change != "done":
        server.answers[path] = ClusterRejected("403") if change == "refused" else ObjectGone("404")
    server.read(times=3)
    assert server.asked.count(path) == reads


@pytest.mark.parametrize(
    ("config", "is_read"),
    [
        ({}, True),
        ({"execution_report": "false"}, False),
        ({"execution_report": "false", "builder_id_hermetic": "https://example.com/h"}, True),
        ({"artifacts_taskrun_storage": ""}, False),
    ],
)
def test_nothing_is_read_for_what_nothing_tells(config: dict[str, str], is_read: bool) -> None:
    server = Server()
    assert (server.read(**config) is not None) == is_read
    assert bool(server.asked) == is_read


def test_a_child_is_read_for_its_parent_even_if_nothing_is_signed_about_itself() -> None:
    server = Server()
    server.run["metadata"]["ownerReferences"] = owned("parent")
    assert server.read(artifacts_taskrun_storage="") is not None
