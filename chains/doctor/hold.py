"""The check of ``chains doctor`` of the policy that holds runs from their creation on."""

from __future__ import annotations

from collections.abc import Sequence

from chains.cluster.client import Cluster
from chains.cluster.errors import ClusterError, ObjectGone
from chains.doctor.report import DoctorCheck
from chains.tekton.raw import Json, mapping_at, objects_at

POLICY = "tekton-chains-hold"
_API = "/apis/admissionregistration.k8s.io/v1"
_NAME = "hold at creation"
_GAP = "a run that is created, ends and is deleted while no controller runs has no evidence"
_KEY = "kubernetes.io/metadata.name"


async def check_hold(cluster: Cluster, namespaces: Sequence[str]) -> DoctorCheck:
    """Check whether runs are held from their creation on, and only where the controller releases them.

    ``namespaces`` are those of the controller, none for all.
    """
    try:
        served = await cluster.get(_API)
        if "mutatingadmissionpolicies" not in {one.get("name") for one in objects_at(served, "resources")}:
            detail = f"the API server has no MutatingAdmissionPolicy (Kubernetes 1.36): {_GAP}"
            return DoctorCheck(_NAME, "skipped", detail)
        await cluster.get(f"{_API}/mutatingadmissionpolicies/{POLICY}")
        binding = await cluster.get(f"{_API}/mutatingadmissionpolicybindings/{POLICY}")
    except ObjectGone:
        detail = f"{POLICY} or its binding does not exist: {_GAP}"
        return DoctorCheck(_NAME, "skipped", detail, "apply deploy/overlays/hold-at-creation")
    except ClusterError as error:
        asked = "ask with an account that may read mutatingadmissionpolicies, or grant get on it"
        return DoctorCheck(_NAME, "skipped", f"unknown: {error}", asked)
    if namespaces and not _names(binding) <= set(namespaces):
        shown = ", ".join(sorted(namespaces))
        return DoctorCheck(
            _NAME,
            "failed",
            f"runs in other namespaces than {shown} are held, and nobody releases them when they are deleted",
            f"choose the namespaces in the binding {POLICY}, then run chains finalizers release",
        )
    return DoctorCheck(_NAME, "ok", f"{POLICY} is in force: runs are held from their creation on")


def _names(binding: Json) -> frozenset[str] | set[str]:
    """Return the namespaces that a binding names, or one that there cannot be if it names none."""
    selector = mapping_at(mapping_at(mapping_at(binding, "spec"), "matchResources"), "namespaceSelector")
    found = [
        set(map(str, one.get("values") or ()))
        for one in objects_at(selector, "matchExpressions")
        if one.get("key") == _KEY and one.get("operator") == "In"
    ]
    labels = mapping_at(selector, "matchLabels")
    if _KEY in labels:
        found.append({str(labels[_KEY])})
    # all requirements of a selector hold together
    return set.intersection(*found) if found else {"*"}
