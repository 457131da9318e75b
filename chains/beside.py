"""What stands beside a run, in a cluster or an export: its pod, and what decides how isolated that pod was.

These objects stay raw and may have any shape: they are read with the functions below, which find nothing
where the shape is wrong and never raise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Json = Any

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
class Beside:
    """The raw objects beside one TaskRun.

    ``missing`` says why there is no pod. ``policies`` are all NetworkPolicies of the namespace; ``doubtful``
    names what may overrule them and is not understood here. ``config_maps`` and ``secrets`` hold, by name,
    what the pod's environment refers to, as far as it is known; ``feature_flags`` is the data of Tekton's
    ConfigMap, ``images`` what was read of images, by image id.
    """

    pod: Mapping[str, Json] | None = None
    missing: str = POD_GONE
    policies: tuple[Mapping[str, Json], ...] = ()
    doubtful: tuple[str, ...] = ()
    config_maps: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    secrets: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    runtime_class: Mapping[str, Json] | None = None
    feature_flags: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, ImageEnvironment] = field(default_factory=dict)


NOTHING = Beside()
"""Nothing but the run's own record is known."""


@dataclass(frozen=True, slots=True)
class References:
    """What a pod refers to: read these to fill a :class:`Beside`."""

    config_maps: tuple[str, ...]
    secrets: tuple[str, ...]
    runtime_class: str


def references(pod: Json) -> References:
    """Return the ConfigMaps and Secrets of the pod's environments, and its runtime class, by name."""
    config_maps: dict[str, None] = {}
    secrets: dict[str, None] = {}
    for container in containers(pod):
        sources = [(item, "configMapRef", "secretRef") for item in objects_at(container, "envFrom")]
        sources += [
            (mapping_at(item, "valueFrom"), "configMapKeyRef", "secretKeyRef")
            for item in objects_at(container, "env")
        ]
        for source, config_map, secret in sources:
            config_maps[text_at(source, config_map, "name")] = None
            secrets[text_at(source, secret, "name")] = None
    return References(
        tuple(name for name in config_maps if name),
        tuple(name for name in secrets if name),
        text_at(pod, "spec", "runtimeClassName"),
    )


def containers(pod: Json) -> list[Mapping[str, Json]]:
    """Return every container of a pod: init, ordinary and ephemeral ones, in this order."""
    fields = ("initContainers", "containers", "ephemeralContainers")
    return [container for name in fields for container in objects_at(pod, "spec", name)]


def began(pod: Json) -> str:
    """Return when the pod was created, as the API server wrote it."""
    return text_at(pod, "metadata", "creationTimestamp")


def doubt(item: Json, moment: str) -> str:
    """Return why an object may have read otherwise at ``moment``, ``""`` where it certainly did not.

    Certain are immutable objects, those whose specification never changed (``generation`` 1), and those whose
    managed fields say that the last write came before.
    """
    created, then = parse_time(text_at(item, "metadata", "creationTimestamp")), parse_time(moment)
    if created is None or then is None:
        return "when it was created is not known"
    if created > then:
        return "it was created after the pod"
    metadata = mapping_at(item, "metadata")
    if mapping_at(item).get("immutable") is True or metadata.get("generation") == 1:
        return ""
    writes = [parse_time(text_at(entry, "time")) for entry in objects_at(metadata, "managedFields")]
    times = [write for write in writes if write is not None]
    if not times or len(times) < len(writes):
        return "it is not immutable, and nothing tells when it was last changed"
    return "it was changed after the pod was created" if max(times) > then else ""


def parse_time(text: str) -> datetime | None:
    """Return a moment as the API server writes it, None for anything else."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def mapping_at(value: Json, *path: str) -> Mapping[str, Json]:
    """Return the mapping under a path of keys, an empty one where there is none."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def objects_at(value: Json, *path: str) -> list[Mapping[str, Json]]:
    """Return the mappings in the list under a path of keys; what is no mapping is left out."""
    *above, last = path
    found = mapping_at(value, *above).get(last)
    return [item for item in found if isinstance(item, Mapping)] if isinstance(found, list) else []


def text_at(value: Json, *path: str) -> str:
    """Return the string under a path of keys, ``""`` where there is none."""
    *above, last = path
    found = mapping_at(value, *above).get(last)
    return found if isinstance(found, str) else ""


def texts_at(value: Json, *path: str) -> list[str]:
    """Return the strings in the list under a path of keys; what is no string is left out."""
    *above, last = path
    found = mapping_at(value, *above).get(last)
    return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []
