"""The check of ``chains doctor`` of runs that are held from their creation on, by what an API server serves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chains.cluster.errors import ClusterError, ObjectGone
from chains.doctor.hold import check_hold

API = "/apis/admissionregistration.k8s.io/v1"
KEY = "kubernetes.io/metadata.name"
SERVED = {"resources": [{"name": "mutatingadmissionpolicies"}]}


class Api:
    """Answers for paths; any other is not there."""

    def __init__(self, found: dict[str, Any]) -> None:
        self.found = found

    async def get(self, path: str) -> Any:
        answer = self.found.get(path.removeprefix(API))
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            raise ObjectGone(f"{path}: 404")
        return answer


def examined(found: dict[str, Any], *namespaces: str) -> tuple[str, str]:
    check = asyncio.run(check_hold(Api(found), namespaces))  # type: ignore[arg-type]
    return check.state, check.detail


def test_a_cluster_that_does_not_know_the_kind_is_told_what_is_lost() -> None:
    for resources in ([], [{"name": "validatingadmissionpolicies"}]):
        state, detail = examined({"": {"resources": resources}})
        assert state == "skipped"
        assert "the API server has no MutatingAdmissionPolicy (Kubernetes 1.36)" in detail
        assert detail.endswith("while no controller runs has no evidence")


def test_an_account_that_may_not_read_it_is_told_so() -> None:
    denied = {"": SERVED, "/mutatingadmissionpolicies/tekton-chains-hold": ClusterError("403 forbidden")}
    assert examined(denied) == ("skipped", "unknown: 403 forbidden")


@pytest.mark.parametrize(
    ("selector", "namespaces", "state"),
    [
        ({}, (), "ok"),
        ({}, ("ci",), "failed"),
        ({"matchExpressions": [{"key": KEY, "operator": "In", "values": ["ci"]}]}, ("ci", "cd"), "ok"),
        ({"matchExpressions": [{"key": KEY, "operator": "In", "values": ["ci", "x"]}]}, ("ci",), "failed"),
        ({"matchExpressions": [{"key": KEY, "operator": "NotIn", "values": ["ci"]}]}, ("ci",), "failed"),
        ({"matchLabels": {KEY: "ci"}}, ("ci",), "ok"),
        ({"matchLabels": {"team": "a"}}, ("ci",), "failed"),
    ],
)
def test_runs_may_only_be_held_where_the_controller_releases_them(
    selector: Any, namespaces: tuple[str, ...], state: str
) -> None:
    found = {
        "": SERVED,
        "/mutatingadmissionpolicies/tekton-chains-hold": {"spec": {}},
        "/mutatingadmissionpolicybindings/tekton-chains-hold": {
            "spec": {"matchResources": {"namespaceSelector": selector}}
        },
    }
    assert examined(found, *namespaces)[0] == state
