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
    names what may overrule them and is not understood here. ``unread`` says, by kind (``NetworkPolicy``,
    ``RuntimeClass``), why objects that may be there could not be read. ``feature_flags`` is the data of
    Tekton's ConfigMap, ``images`` what was read of images, by image id.
    """

    pod: Mapping[str, Json] | None = None
    missing: str = POD_GONE
    policies: tuple[Mapping[str, Json], ...] = ()
    doubtful: tuple[str, ...] = ()
    unread: Mapping[str, str] = field(default_factory=dict)
    runtime_class: Mapping[str, Json] | None = None
    feature_flags: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, ImageEnvironment] = field(default_factory=dict)


NOTHING = Beside()
"""Nothing but the run's own record is known."""


def began(pod: Json) -> str:
    """Return when the pod was created, as the API server wrote it."""
    return text_at(pod, "metadata", "creationTimestamp")


def doubt(item: Json, moment: str) -> str:
    """Return why an object may have read otherwise at ``moment``, ``""`` where it certainly did not.

    Certain are those whose specification never changed: the API server counts that in ``generation``, for
    kinds that have one. Times in managed fields prove nothing, since whoever may write an object may write
    them too.
    """
    created, then = parse_time(text_at(item, "metadata", "creationTimestamp")), parse_time(moment)
    if created is None or then is None:
        return "when it was created is not known"
    if created > then:
        return "it was created after the pod"
    if mapping_at(item, "metadata").get("generation") == 1:
        return ""
    return "its generation is not 1, so it may have been changed after the pod was created"


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
