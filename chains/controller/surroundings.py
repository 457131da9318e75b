"""Reads the surroundings of a finished run from the cluster: its pod, once, and objects that many runs share.

What the controller may not read is reported as unknown, with the reason, and never delays the provenance. If
the API server does not answer now, the run is tried again (:class:`ClusterUnavailable`) until it is given up.
Secrets and the ConfigMaps of environments are not read, see :mod:`chains.isolation.environment`.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import TypeVar

import orjson

from chains.cluster.client import Cluster
from chains.cluster.errors import ClusterError, ClusterRejected, ClusterUnavailable, ObjectGone
from chains.config.parse import Config
from chains.controller.memory.surroundings_cache import ReadCache, RunId, SurroundingsCache
from chains.isolation.expected_pod import is_requested
from chains.isolation.pod import distrust
from chains.tekton.children import parent_of
from chains.tekton.network_policy import NetworkPolicy, parse_network_policy
from chains.tekton.pod import Pod, parse_pod
from chains.tekton.raw import mapping_at, objects_at, parse_time, text_at, texts_at
from chains.tekton.snapshot import RunSnapshot
from chains.tekton.surroundings import (
    FEATURE_FLAGS,
    NOTHING,
    RuntimeClass,
    Surroundings,
    parse_runtime_class,
)
from storage.limits.single_flight import InFlight

TEKTON_NAMESPACE = "tekton-pipelines"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
"""The names that Kubernetes accepts. A name from a run becomes part of a path, and must not lead to another
one."""
_POLICY_GROUP, _POLICY_KIND = "networking.k8s.io", "NetworkPolicy"
_DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
_REFUSED = "could not be read: the API server refuses it to the controller"
_SILENT = "could not be read: the API server did not answer"
_log = logging.getLogger("chains.beside")

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class PolicyKind:
    """A kind of policy that is not Kubernetes' own; ``path`` lists its objects and has ``{namespace}`` in
    it."""

    name: str
    path: str


class SurroundingsReader:
    """Reads the surroundings of runs; calls may run concurrently. ``tekton_namespace`` has Tekton's feature
    flags."""

    def __init__(self, cluster: Cluster, tekton_namespace: str = TEKTON_NAMESPACE) -> None:
        self._cluster = cluster
        self._flags = f"/api/v1/namespaces/{tekton_namespace}/configmaps/{FEATURE_FLAGS}"
        self._kept = SurroundingsCache()
        self._reading: InFlight[str, Surroundings] = InFlight()
        self._policies: ReadCache[tuple[NetworkPolicy, ...]] = ReadCache(self._list_policies)
        self._others: ReadCache[tuple[str, ...]] = ReadCache(self._list_names)
        self._runtime_classes: ReadCache[RuntimeClass] = ReadCache(self._runtime_class)
        self._feature_flags: ReadCache[Mapping[str, str]] = ReadCache(self._flags_at)
        self._kinds: ReadCache[tuple[PolicyKind, ...]] = ReadCache(self._policy_kinds)
        self._told: set[str] = set()

    async def read(
        self, run: RunSnapshot, config: Config, *, give_up: bool = False
    ) -> dict[str, Surroundings] | None:
        """Return the surroundings of a TaskRun, or of each child of a PipelineRun, by label.

        None, without a request, if the configuration signs nothing that needs them. Raises
        :class:`ClusterUnavailable`; with ``give_up`` the surroundings are unknown for that reason instead.
        """
        if not _is_wanted(run, config):
            return None
        tasks = [task for task in (run, *run.children) if task.kind == "TaskRun"]
        found = await asyncio.gather(
            *(self._of_task(task, give_up=give_up) for task in tasks), return_exceptions=True
        )
        for each in found:
            if isinstance(each, BaseException):
                raise each
        return {
            task.label: each
            for task, each in zip(tasks, found, strict=True)
            if isinstance(each, Surroundings)
        }

    def forget(self, run: RunId, but: Container[str] = ()) -> None:
        """Forget what was read for a run that is marked, and for its children except the UIDs in ``but``."""
        self._kept.forget(run, but)

    async def _of_task(self, run: RunSnapshot, *, give_up: bool) -> Surroundings:
        kept = self._kept.get((run.namespace, run.uid))
        if kept is not None:
            return kept
        return await self._reading.run(run.uid or run.label, lambda: self._read(run, give_up=give_up))

    async def _read(self, run: RunSnapshot, *, give_up: bool) -> Surroundings:
        name = run.status.get("podName", "")
        if not name:
            return NOTHING
        unread: dict[str, str] = {}
        found, data = await self._read_pod(run, name, unread, give_up=give_up)
        if found.pod is not None:
            found = await self._read_more(run, found.pod, unread, give_up=give_up)
        if run.is_done and "Pod" not in unread:  # else the next read may tell more
            self._kept.put((run.namespace, run.uid), parent_of(run.run["metadata"]), found, data)
        return found

    async def _read_pod(
        self, run: RunSnapshot, name: str, unread: dict[str, str], *, give_up: bool
    ) -> tuple[Surroundings, bytes]:
        """Return the pod with its JSON, or why there is none.

        ``unread`` gets the reason where another read may find it.
        """
        if not _NAME.fullmatch(name):
            return Surroundings(missing=f"{name[:100]!r} is no name of a pod"), b""
        path = f"/api/v1/namespaces/{run.namespace}/pods/{name}"
        try:
            raw = await self._cluster.get(path)
        except ObjectGone:
            return NOTHING, b""
        except ClusterError as error:
            unread["Pod"] = self._reason("pods", error, give_up=give_up)
            return Surroundings(missing=f"the pod {unread['Pod']}"), b""
        raw["metadata"].pop("managedFields", None)
        pod = parse_pod(raw)
        foreign = distrust(run, pod)
        return (Surroundings(missing=foreign), b"") if foreign else (Surroundings(pod=pod), orjson.dumps(raw))

    async def _read_more(
        self, run: RunSnapshot, pod: Pod, unread: dict[str, str], *, give_up: bool
    ) -> Surroundings:
        moment = parse_time(run.status.get("completionTime") or "")
        ended = moment.timestamp() if moment else None
        policies, doubtful = await self._policies_of(run.namespace, ended, unread, give_up=give_up)
        runtime_class, flags = None, None
        if _NAME.fullmatch(pod.runtime_class):
            path = f"/apis/node.k8s.io/v1/runtimeclasses/{pod.runtime_class}"
            known = self._runtime_classes
            runtime_class = await self._shared(known, path, "RuntimeClass", ended, unread, give_up=give_up)
        if is_requested(run) and not run.status.get("provenance", {}).get("featureFlags"):
            read = self._feature_flags
            flags = await self._shared(read, self._flags, "ConfigMap", ended, unread, give_up=give_up)
        return Surroundings(
            pod=pod,
            policies=policies,
            doubtful=doubtful,
            unread=unread,
            runtime_class=runtime_class,
            feature_flags=flags or {},
        )

    async def _shared(
        self,
        known: ReadCache[V],
        path: str,
        kind: str,
        ended: float | None,
        unread: dict[str, str],
        *,
        give_up: bool,
    ) -> V | None:
        """Return an object that many runs share; None if it cannot be read, with the reason in ``unread``."""
        try:
            return await known.get(path, ended)
        except ObjectGone:
            unread[kind] = "is gone"
        except ClusterError as error:
            unread[kind] = self._reason(f"{kind}s".lower(), error, give_up=give_up)
        return None

    async def _policies_of(
        self, namespace: str, ended: float | None, unread: dict[str, str], *, give_up: bool
    ) -> tuple[tuple[NetworkPolicy, ...], tuple[str, ...]]:
        """Return the NetworkPolicies of a namespace, and descriptions of what else may allow or deny
        traffic."""
        path = f"/apis/{_POLICY_GROUP}/v1/namespaces/{namespace}/networkpolicies"
        try:
            policies = await self._policies.get(path, ended)
            doubtful = await self._overruling(namespace, ended, give_up=give_up) if policies else ()
        except ClusterError as error:
            unread[_POLICY_KIND] = self._reason("networkpolicies", error, give_up=give_up)
            return (), ()
        return policies, doubtful

    async def _overruling(self, namespace: str, ended: float | None, *, give_up: bool) -> tuple[str, ...]:
        """Return descriptions of policies of other kinds, or that there may be some: network plugins have
        their own."""
        found = []
        for kind in await self._kinds.get("/apis", ended):
            name = kind.name
            try:
                items = await self._others.get(kind.path.format(namespace=namespace), ended)
            except ObjectGone:
                continue  # the kind's definition was deleted between the two reads
            except ClusterError as error:
                found.append(
                    f"{name} may overrule network policies, and {self._reason(name, error, give_up=give_up)}"
                )
            else:
                found += [
                    f"{name} {item} may overrule network policies, and is not understood here"
                    for item in items[:1]
                ]
        return tuple(found)

    async def _policy_kinds(self, path: str) -> tuple[PolicyKind, ...]:
        """Return kind and path of every collection of policies that is not Kubernetes' own."""
        groups = await self._cluster.get(path, accept=_DISCOVERY)
        if groups.get("kind") != "APIGroupDiscoveryList":
            raise ClusterRejected(
                f"GET {path}: expected an APIGroupDiscoveryList, got {groups.get('kind')!r}"
            )
        found = []
        for group in objects_at(groups, "items"):
            name = text_at(group, "metadata", "name")
            seen = set()  # a kind may be served in several versions, and each version lists the same objects
            for version in objects_at(group, "versions"):
                root = f"/apis/{name}/{text_at(version, 'version')}"
                for resource in objects_at(version, "resources"):
                    kind = text_at(resource, "responseKind", "kind")
                    if not kind.endswith(_POLICY_KIND) or name == _POLICY_GROUP:
                        continue
                    if "list" not in texts_at(resource, "verbs"):
                        continue
                    if text_at(resource, "resource") in seen:
                        continue
                    seen.add(text_at(resource, "resource"))
                    scope = "/namespaces/{namespace}" if text_at(resource, "scope") == "Namespaced" else ""
                    found.append(PolicyKind(kind, f"{root}{scope}/{text_at(resource, 'resource')}"))
        return tuple(found)

    async def _list_policies(self, path: str) -> tuple[NetworkPolicy, ...]:
        return tuple([parse_network_policy(item) async for item in self._cluster.list(path)])

    async def _list_names(self, path: str) -> tuple[str, ...]:
        return tuple([text_at(item, "metadata", "name") async for item in self._cluster.list(path)])

    async def _runtime_class(self, path: str) -> RuntimeClass:
        return parse_runtime_class(await self._cluster.get(path))

    async def _flags_at(self, path: str) -> Mapping[str, str]:
        data = mapping_at(await self._cluster.get(path), "data")
        return {name: value for name, value in data.items() if isinstance(value, str)}

    def _reason(self, what: str, error: ClusterError, *, give_up: bool) -> str:
        """Return why something is unknown, and log it once; raise an error that another attempt may mend."""
        if isinstance(error, ClusterUnavailable) and not give_up:
            raise error
        if what not in self._told:
            self._told.add(what)
            _log.warning("surroundings of runs cannot be read", extra={"what": what, "reason": str(error)})
        return _SILENT if isinstance(error, ClusterUnavailable) else _REFUSED


def _is_wanted(run: RunSnapshot, config: Config) -> bool:
    """Whether anything is signed about the run, or about its PipelineRun, that says how it was isolated."""
    if not config.execution_report and not config.hermetic_builder_id:
        return False
    if run.kind == "TaskRun" and config.taskrun.enabled:
        return True
    return config.pipelinerun.enabled and (run.kind == "PipelineRun" or bool(parent_of(run.run["metadata"])))
