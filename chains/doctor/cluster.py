"""The checks of ``chains doctor`` in a cluster: configuration, permissions, Tekton, admission, clock."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from chains.cluster.client import Cluster
from chains.cluster.errors import ClusterError, ObjectGone
from chains.cluster.leases import NAME as SHARE_LEASE
from chains.config.file import CONFIG_MAP
from chains.doctor.report import DoctorCheck, State

RUNS = ("taskruns", "pipelineruns")
POLICY = "tekton-chains-marks"
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
_POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolic"
_LEASES = "coordination.k8s.io/leases"
_ACCOUNT = "tekton-chains-controller"
_SKEW_WARNING, _SKEW_FAILED = 5.0, 60.0
_GRANT = "apply deploy/base/roles.yaml and role-bindings.yaml, or the same rights for these namespaces"


@dataclass(frozen=True, slots=True)
class Right:
    """One permission: a verb on ``group/resource``. An empty namespace means all namespaces."""

    verb: str
    resource: str
    namespace: str = ""
    name: str = ""

    def attributes(self) -> dict[str, str]:
        """Return the ``resourceAttributes`` of a SelfSubjectAccessReview."""
        group, _, resource = self.resource.rpartition("/")
        resource, _, part = resource.partition(":")
        found = {"verb": self.verb, "group": group, "resource": resource, "subresource": part}
        found |= {"namespace": self.namespace, "name": self.name}
        return {key: value for key, value in found.items() if value}

    def __str__(self) -> str:
        what = self.resource.rpartition("/")[2].replace(":", "/") + (f" {self.name}" if self.name else "")
        return f"{self.verb} {what} in {self.namespace or 'all namespaces'}"


@dataclass(frozen=True, slots=True)
class Need:
    """Permissions that belong together.

    If one is not granted, the check has the state ``missing``, and ``lost`` is the consequence.
    """

    name: str
    rights: tuple[Right, ...]
    missing: State
    lost: str
    next_step: str = _GRANT


def needs(namespaces: Sequence[str], system: str) -> list[Need]:
    """Return the permissions that the controller needs in the namespaces that it watches.

    Some are needed only for a part of the evidence; their state is ``warning``.
    """
    watched = tuple(namespaces) or ("",)

    def everywhere(verbs: Sequence[str], resources: Sequence[str]) -> tuple[Right, ...]:
        return tuple(Right(v, r, n) for n in watched for r in resources for v in verbs)

    runs = [f"tekton.dev/{name}" for name in RUNS]
    grant = "grant it if you want this; see deploy/README.md"
    leases = [Right(verb, _LEASES, system) for verb in ("list", "create")]
    leases.append(Right("patch", _LEASES, system, f"{SHARE_LEASE}0"))
    return [
        Need(
            "rights on runs",
            everywhere(("get", "list", "watch", "patch"), runs),
            "failed",
            "no run is attested",
        ),
        Need(
            "right to write events",
            everywhere(("create",), ("events",)),
            "failed",
            "failures are not reported as Events",
        ),
        Need(
            "right to read the configuration",
            (Right("get", "configmaps", system, CONFIG_MAP),),
            "failed",
            "the controller does not start",
        ),
        Need(
            "right to write events about the configuration",
            (Right("create", "events", system),),
            "warning",
            "a refused configuration is reported only by log and metrics",
            grant,
        ),
        Need(
            "rights on pods",
            everywhere(("get",), ("pods",)),
            "warning",
            "the execution report cannot tell whether a run was isolated",
            grant,
        ),
        Need(
            "rights on network policies",
            everywhere(("list",), ("networking.k8s.io/networkpolicies",)),
            "warning",
            "network policies do not count as isolation",
            grant,
        ),
        Need("rights on leases", tuple(leases), "warning", "several replicas cannot share the runs", grant),
        Need(
            "rights on tenants' credentials",
            everywhere(("get",), ("serviceaccounts", "secrets")),
            "warning",
            "registry credentials of a run's service account are not used, only those of the controller",
            grant,
        ),
    ]


DANGEROUS = (
    Need(
        "secrets of the whole cluster",
        tuple(Right(verb, "secrets") for verb in ("get", "list")),
        "warning",
        "whoever takes over the controller can read all of them",
        "remove it, and grant reading secrets only in namespaces whose credentials are needed",
    ),
    Need(
        "status of runs",
        tuple(Right(verb, f"tekton.dev/{name}:status") for verb in ("patch", "update") for name in RUNS),
        "warning",
        "the controller could change the results that it attests",
        "remove it: the controller marks runs without it",
    ),
)
"""Permissions that the controller never needs. Each one that is granted is a warning."""


async def read_config(cluster: Cluster, system: str) -> tuple[dict[str, str] | None, DoctorCheck]:
    """Return the data of the ConfigMap as the controller reads it, or None if it cannot be read."""
    where = f"ConfigMap {system}/{CONFIG_MAP}"
    try:
        data = (await cluster.get(f"/api/v1/namespaces/{system}/configmaps/{CONFIG_MAP}")).get("data") or {}
    except ObjectGone:
        step = "apply deploy/base, or name the namespace with --system-namespace"
        return {}, DoctorCheck(
            "config map", "warning", f"{where} is not there: every key has its default", step
        )
    except ClusterError as error:
        return None, DoctorCheck("config map", "failed", str(error), _GRANT)
    return dict(data), DoctorCheck("config map", "ok", where)


async def check_rights(cluster: Cluster, namespaces: Sequence[str], system: str) -> list[DoctorCheck]:
    """Ask the API server what this account may do. Raises :class:`ClusterError`."""
    wanted = needs(namespaces, system)
    rights = {right for need in (*wanted, *DANGEROUS) for right in need.rights}
    allowed = dict(zip(rights, await asyncio.gather(*(_may(cluster, r) for r in rights)), strict=True))
    return [
        await _account(cluster),
        *(_judge(need, allowed) for need in wanted),
        *(_judge_danger(need, allowed) for need in DANGEROUS),
    ]


async def _may(cluster: Cluster, right: Right) -> bool:
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": right.attributes()},
    }
    return bool(((await cluster.create(_REVIEWS, body)).get("status") or {}).get("allowed"))


def _judge(need: Need, allowed: Mapping[Right, bool]) -> DoctorCheck:
    missing = [str(right) for right in need.rights if not allowed[right]]
    if not missing:
        return DoctorCheck(need.name, "ok", f"all {len(need.rights)} are granted")
    return DoctorCheck(need.name, need.missing, f"may not {_several(missing)}: {need.lost}", need.next_step)


def _judge_danger(need: Need, allowed: Mapping[Right, bool]) -> DoctorCheck:
    had = [str(right) for right in need.rights if allowed[right]]
    if not had:
        return DoctorCheck(need.name, "ok", "not granted, as it should be")
    return DoctorCheck(need.name, "warning", f"may {_several(had)}: {need.lost}", need.next_step)


def _several(words: Sequence[str], most: int = 8) -> str:
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more


async def _account(cluster: Cluster) -> DoctorCheck:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    try:
        answer = await cluster.create(_WHO, body)
    except ClusterError as error:
        return DoctorCheck("account", "warning", f"unknown: {error}")
    name = str(((answer.get("status") or {}).get("userInfo") or {}).get("username"))
    if name.endswith(f":{_ACCOUNT}"):
        return DoctorCheck("account", "ok", name)
    detail = f"{name} is not the controller's account, so the permissions below are not the controller's"
    step = f"run it in the controller's pod (kubectl exec), or with a token of the account {_ACCOUNT}"
    return DoctorCheck("account", "warning", detail, step)


async def check_tekton(cluster: Cluster, tekton: str) -> list[DoctorCheck]:
    """Check Tekton's resources, and its settings that lose evidence. Raises :class:`ClusterError`."""
    try:
        listed = (await cluster.get("/apis/tekton.dev/v1")).get("resources") or []
    except ObjectGone:
        return [
            DoctorCheck(
                "tekton", "failed", "tekton.dev/v1 is not served", "install Tekton Pipelines 0.43 or newer"
            )
        ]
    missing = set(RUNS) - {str(item.get("name")) for item in listed}
    if missing:
        step = "install all resources of Tekton Pipelines"
        return [DoctorCheck("tekton", "failed", f"tekton.dev/v1 lacks {', '.join(sorted(missing))}", step)]
    version = (await _data(cluster, tekton, "pipelines-info") or {}).get("version", "of unknown version")
    return [
        DoctorCheck("tekton", "ok", f"tekton.dev/v1 is served, Pipelines {version}"),
        _judge_flags(await _data(cluster, tekton, "feature-flags"), tekton),
    ]


async def _data(cluster: Cluster, namespace: str, name: str) -> dict[str, str] | None:
    try:
        found = await cluster.get(f"/api/v1/namespaces/{namespace}/configmaps/{name}")
    except ClusterError:
        return None
    return dict(found.get("data") or {})


def _judge_flags(flags: Mapping[str, str] | None, tekton: str) -> DoctorCheck:
    name = "tekton feature flags"
    if flags is None:
        detail = f"ConfigMap {tekton}/feature-flags does not exist or cannot be read"
        return DoctorCheck(name, "skipped", detail)
    if flags.get("enable-provenance-in-status", "true").lower() == "false":
        detail = "enable-provenance-in-status is false, so runs do not record the source of their tasks"
        return DoctorCheck(name, "warning", detail, "remove it, or set it to true")
    shown = {
        key: flags[key]
        for key in ("results-from", "enable-api-fields", "enforce-nonfalsifiability")
        if key in flags
    }
    return DoctorCheck(
        name, "ok", ", ".join(f"{key}={value}" for key, value in shown.items()) or "none of note"
    )


async def check_admission(cluster: Cluster) -> DoctorCheck:
    """Check that the policy that protects the controller's marks is in force."""
    name, step = "admission policy", "apply deploy/base/admission-policy.yaml"
    try:
        await cluster.get(f"{_POLICIES}ies/{POLICY}")
        binding = await cluster.get(f"{_POLICIES}ybindings/{POLICY}")
    except ObjectGone:
        detail = (
            f"{POLICY} or its binding does not exist, so everyone who may patch a run can write the marks"
        )
        return DoctorCheck(name, "warning", detail, step)
    except ClusterError as error:
        asked = "ask with an account that may read validatingadmissionpolicies, or grant get on it"
        return DoctorCheck(name, "warning", f"unknown: {error}", asked)
    if "Deny" not in _actions(binding):
        return DoctorCheck(name, "warning", f"{POLICY} does not deny: its binding only audits or warns", step)
    return DoctorCheck(name, "ok", f"{POLICY} is in force")


def _actions(binding: Mapping[str, Any]) -> list[str]:
    return list((binding.get("spec") or {}).get("validationActions") or [])


async def check_clock(cluster: Cluster) -> DoctorCheck:
    """Compare the local clock with the API server's. Raises :class:`ClusterError`."""
    before = datetime.now(UTC)
    there = await cluster.server_time()
    if there is None:
        return DoctorCheck("clock", "skipped", "the API server sends no time")
    # the header has whole seconds; the answer was sent about halfway through the request
    here = before + (datetime.now(UTC) - before) / 2
    return judge_clock((here - there).total_seconds() - 0.5)


def judge_clock(skew: float) -> DoctorCheck:
    """Return the check for a clock that is ``skew`` seconds ahead of the API server's."""
    off = abs(skew)
    if off <= _SKEW_WARNING:
        return DoctorCheck("clock", "ok", "agrees with the API server's")
    detail = f"is {off:.0f} s {'ahead of' if skew > 0 else 'behind'} the API server's"
    step = "set this node's clock by NTP: tokens, certificates and time stamps depend on it"
    return DoctorCheck("clock", "failed" if off > _SKEW_FAILED else "warning", detail, step)
