"""The surroundings of a run, in a cluster or an export: its pod, and what decides how isolated that pod was.

The objects are parsed once, here and in the modules for each kind, and stay frozen from then on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from chains.tekton.network_policy import NetworkPolicy, parse_network_policy
from chains.tekton.pod import Pod, parse_pod
from chains.tekton.raw import Json, parse_time, text_at

POD_GONE = "pod gone"
"""Why there is no pod: deleted before it was read, or not in the export."""
FEATURE_FLAGS = "feature-flags"
"""The ConfigMap of Tekton's feature flags."""


@dataclass(frozen=True, slots=True)
class ImageEnvironment:
    """What an image sets in the environment, for each of its platforms; or why that is not known."""

    platforms: tuple[Mapping[str, str], ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class RuntimeClass:
    """A RuntimeClass; ``created`` is None where that cannot be read."""

    name: str
    handler: str
    created: datetime | None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The objects around one TaskRun.

    ``missing`` says why there is no pod. ``policies`` are all NetworkPolicies of the namespace; ``doubtful``
    names what may overrule them and is not understood here. ``unread`` says, by kind (``NetworkPolicy``,
    ``RuntimeClass``), why objects that may be there could not be read. ``feature_flags`` is the data of
    Tekton's ConfigMap, ``images`` what was read of images, by image id.
    """

    pod: Pod | None = None
    missing: str = POD_GONE
    policies: tuple[NetworkPolicy, ...] = ()
    doubtful: tuple[str, ...] = ()
    unread: Mapping[str, str] = field(default_factory=dict)
    runtime_class: RuntimeClass | None = None
    feature_flags: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, ImageEnvironment] = field(default_factory=dict)


NOTHING = Surroundings()
"""Nothing but the run's own record is known."""


def parse_runtime_class(raw: Mapping[str, Json]) -> RuntimeClass:
    """Return a RuntimeClass of ``node.k8s.io``."""
    created = parse_time(text_at(raw, "metadata", "creationTimestamp"))
    return RuntimeClass(text_at(raw, "metadata", "name"), text_at(raw, "handler"), created)


def parse_surroundings(
    pod: Mapping[str, Json] | None = None,
    policies: Iterable[Mapping[str, Json]] = (),
    runtime_class: Mapping[str, Json] | None = None,
    *,
    missing: str = POD_GONE,
    doubtful: tuple[str, ...] = (),
    unread: Mapping[str, str] | None = None,
    feature_flags: Mapping[str, str] | None = None,
    images: Mapping[str, ImageEnvironment] | None = None,
) -> Surroundings:
    """Return the surroundings of a run from objects as the Kubernetes API has them.

    ``policies`` are objects of ``networking.k8s.io`` alone. Never raises for what an object holds.
    """
    return Surroundings(
        pod=None if pod is None else parse_pod(pod),
        missing=missing,
        policies=tuple(map(parse_network_policy, policies)),
        doubtful=doubtful,
        unread=unread or {},
        runtime_class=None if runtime_class is None else parse_runtime_class(runtime_class),
        feature_flags=feature_flags or {},
        images=images or {},
    )
