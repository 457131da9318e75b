"""What stands beside a run, in a cluster or an export: its pod, and what decides how isolated that pod was.

These objects stay raw and may have any shape: they are read with the functions of :mod:`chains.tekton.raw`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chains.tekton.raw import Json

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
class Surroundings:
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


NOTHING = Surroundings()
"""Nothing but the run's own record is known."""
