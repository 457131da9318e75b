"""Finds what stands beside each run among the objects of an export, so that many runs cost as much as each.

Objects are parsed when a run needs them; what many runs share, policies above all, is parsed once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import orjson

from chains.tekton.raw import Json, mapping_at, text_at
from chains.tekton.surroundings import FEATURE_FLAGS, Surroundings

ObjectKey = tuple[str, str, str]
"""Kind, namespace, name; objects of the whole cluster are in ``default``."""

_POLICY = "NetworkPolicy"
_GROUP = "networking.k8s.io/"


class SurroundingsIndex:
    """The objects of an export by what they stand beside.

    ``ambiguous`` are keys that came twice with different content: which of the two is true cannot be told.
    """

    def __init__(self, objects: Mapping[ObjectKey, bytes], ambiguous: Collection[ObjectKey] = ()) -> None:
        self._objects, self._ambiguous = objects, ambiguous
        self._parsed: dict[ObjectKey, Mapping[str, Json]] = {}
        self._policies: dict[str, list[ObjectKey]] = {}
        self._flags: list[ObjectKey] = []
        for key in objects:
            if key[0].endswith(_POLICY):
                self._policies.setdefault(_scope(key, objects[key]), []).append(key)
            elif key[0] == "ConfigMap" and key[2] == FEATURE_FLAGS:
                self._flags.append(key)

    def of_pod(self, namespace: str, name: str) -> Surroundings:
        """Return what stands beside the run of a pod; ``name`` may be that of no pod."""
        key = ("Pod", namespace, name)
        policies, doubtful = self._policies_of(namespace)
        flags = self._feature_flags()
        if key not in self._objects:
            return Surroundings(feature_flags=flags)
        if key in self._ambiguous:
            return Surroundings(missing=f"pod {namespace}/{name} comes twice with different content")
        pod: Mapping[str, Json] = orjson.loads(self._objects[key])
        return Surroundings(
            pod=pod,
            policies=policies,
            doubtful=doubtful,
            runtime_class=self._known(("RuntimeClass", "default", text_at(pod, "spec", "runtimeClassName"))),
            feature_flags=flags,
        )

    def _known(self, key: ObjectKey) -> Mapping[str, Json] | None:
        if key not in self._objects or key in self._ambiguous:
            return None
        if key not in self._parsed:
            self._parsed[key] = orjson.loads(self._objects[key])
        return self._parsed[key]

    def _policies_of(self, namespace: str) -> tuple[tuple[Mapping[str, Json], ...], tuple[str, ...]]:
        """Return the NetworkPolicies of a namespace, and in words what else may allow or deny there."""
        found: list[Mapping[str, Json]] = []
        doubtful: list[str] = []
        for key in sorted([*self._policies.get(namespace, ()), *self._policies.get("", ())]):
            item = self._known(key)
            if item is None:
                doubtful.append(f"{key[0]} {key[2]} comes twice with different content")
            elif key[0] == _POLICY and text_at(item, "apiVersion").startswith(_GROUP):
                found.append(item)
            else:
                doubtful.append(
                    f"{key[0]} {key[2]} may overrule network policies, and is not understood here"
                )
        return tuple(found), tuple(doubtful)

    def _feature_flags(self) -> dict[str, str]:
        """Return the data of Tekton's ConfigMap, or nothing where several namespaces have one."""
        item = self._known(self._flags[0]) if len(self._flags) == 1 else None
        return {name: value for name, value in mapping_at(item, "data").items() if isinstance(value, str)}


def _scope(key: ObjectKey, data: bytes) -> str:
    """Return the namespace that a policy is for, ``""`` for all of them."""
    is_of_the_cluster = key[0] != _POLICY and not text_at(orjson.loads(data), "metadata", "namespace")
    return "" if is_of_the_cluster else key[1]
