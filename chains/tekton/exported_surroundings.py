"""The surroundings of each run, found among the objects of an export.

An object is parsed when the first run needs it. Objects that many runs share, above all policies, are parsed
once, so that the cost grows linearly with the number of runs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import orjson

from chains.tekton.network_policy import NetworkPolicy, parse_network_policy
from chains.tekton.pod import parse_pod
from chains.tekton.raw import Json, mapping_at, text_at
from chains.tekton.surroundings import FEATURE_FLAGS, RuntimeClass, Surroundings, parse_runtime_class

ObjectKey = tuple[str, str, str]
"""Kind, namespace, name. The namespace of cluster-wide objects is ``default``."""

_POLICY = "NetworkPolicy"
_GROUP = "networking.k8s.io/"


class SurroundingsIndex:
    """The objects of an export, indexed by what they belong to.

    ``ambiguous`` are the keys that came twice with different content. Nothing says which of the two is true.
    """

    def __init__(self, objects: Mapping[ObjectKey, bytes], ambiguous: Collection[ObjectKey] = ()) -> None:
        self._objects, self._ambiguous = objects, ambiguous
        self._parsed_policies: dict[ObjectKey, NetworkPolicy | None] = {}
        self._classes: dict[ObjectKey, RuntimeClass] = {}
        self._policies: dict[str, list[ObjectKey]] = {}
        self._flags: list[ObjectKey] = []
        for key in objects:
            if key[0].endswith(_POLICY):
                self._policies.setdefault(_scope(key, objects[key]), []).append(key)
            elif key[0] == "ConfigMap" and key[2] == FEATURE_FLAGS:
                self._flags.append(key)

    def of_pod(self, namespace: str, name: str) -> Surroundings:
        """Return the surroundings of the run with this pod. There may be no pod of this name."""
        key = ("Pod", namespace, name)
        policies, doubtful = self._policies_of(namespace)
        flags = self._feature_flags()
        if key not in self._objects:
            return Surroundings(feature_flags=flags)
        if key in self._ambiguous:
            return Surroundings(missing=f"pod {namespace}/{name} comes twice with different content")
        pod = parse_pod(orjson.loads(self._objects[key]))
        return Surroundings(
            pod=pod,
            policies=policies,
            doubtful=doubtful,
            runtime_class=self._runtime_class(pod.runtime_class),
            feature_flags=flags,
        )

    def _raw(self, key: ObjectKey) -> Mapping[str, Json] | None:
        """Return an object as it came; None if it is missing or ambiguous."""
        if key not in self._objects or key in self._ambiguous:
            return None
        raw: Mapping[str, Json] = orjson.loads(self._objects[key])
        return raw

    def _runtime_class(self, name: str) -> RuntimeClass | None:
        key = ("RuntimeClass", "default", name)
        if key not in self._classes:
            raw = self._raw(key)
            if raw is None:
                return None
            self._classes[key] = parse_runtime_class(raw)
        return self._classes[key]

    def _policy(self, key: ObjectKey) -> NetworkPolicy | None:
        """Return a policy of Kubernetes' own kind; None for another kind, whose rules are not known here."""
        if key not in self._parsed_policies:
            raw = self._raw(key)
            is_own = key[0] == _POLICY and text_at(raw, "apiVersion").startswith(_GROUP)
            self._parsed_policies[key] = parse_network_policy(raw) if is_own and raw is not None else None
        return self._parsed_policies[key]

    def _policies_of(self, namespace: str) -> tuple[tuple[NetworkPolicy, ...], tuple[str, ...]]:
        """Return the NetworkPolicies of a namespace, and what may overrule them, as texts."""
        found: list[NetworkPolicy] = []
        doubtful: list[str] = []
        for key in sorted([*self._policies.get(namespace, ()), *self._policies.get("", ())]):
            if key in self._ambiguous:
                doubtful.append(f"{key[0]} {key[2]} comes twice with different content")
            elif (policy := self._policy(key)) is not None:
                found.append(policy)
            else:
                doubtful.append(
                    f"{key[0]} {key[2]} may overrule network policies, and is not understood here"
                )
        return tuple(found), tuple(doubtful)

    def _feature_flags(self) -> dict[str, str]:
        """Return the data of Tekton's ConfigMap; empty if several namespaces have one."""
        item = self._raw(self._flags[0]) if len(self._flags) == 1 else None
        return {name: value for name, value in mapping_at(item, "data").items() if isinstance(value, str)}


def _scope(key: ObjectKey, data: bytes) -> str:
    """Return the namespace that a policy applies to, ``""`` for all namespaces."""
    is_of_the_cluster = key[0] != _POLICY and not text_at(orjson.loads(data), "metadata", "namespace")
    return "" if is_of_the_cluster else key[1]
