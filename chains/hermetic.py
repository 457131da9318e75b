"""What isolation each container of a run was asked for, got, and showed: pure, from the run and its pod.

Tekton's annotation alone proves nothing: the entrypoint drops the network only where it finds its variable
and no ``TEKTON_RESOURCE_NAME``, and it never covers sidecars. Every answer is ``true``, ``false`` or
``unknown`` with its reason, and unknown is never told as true.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chains.snapshot import RunSnapshot

MODE_ANNOTATION = "experimental.tekton.dev/execution-mode"
HERMETIC_VARIABLE = "TEKTON_HERMETIC"
DEFEATING_VARIABLE = "TEKTON_RESOURCE_NAME"


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer: ``true``, ``false`` or ``unknown``, and why."""

    value: str
    reason: str


@dataclass(frozen=True, slots=True)
class ContainerIsolation:
    """The answers for one container. ``kind`` is ``step`` or ``sidecar``."""

    kind: str
    name: str
    image: str
    requested: Finding
    enforced: Finding


def is_requested(run: RunSnapshot) -> bool:
    """Whether the run carries Tekton's annotation for hermetic execution."""
    annotations: Mapping[str, str] = run.run["metadata"].get("annotations", {})
    return annotations.get(MODE_ANNOTATION) == "hermetic"


def isolation(run: RunSnapshot, pod: Mapping[str, Any] | None) -> list[ContainerIsolation]:
    """Return the answers for each step and sidecar in the run's status; ``pod`` is the raw pod, if known."""
    requested = is_requested(run)
    found = []
    for kind, states in (("step", "steps"), ("sidecar", "sidecars")):
        for state in run.status.get(states, ()):
            name = state.get("name", "")
            asked = Finding(
                "true" if requested and kind == "step" else "false",
                _asked(requested=requested, kind=kind),
            )
            enforced = _enforced(run, pod, kind, state.get("container") or f"{kind}-{name}")
            found.append(ContainerIsolation(kind, name, state.get("imageID", ""), asked, enforced))
    return found


def _asked(*, requested: bool, kind: str) -> str:
    if not requested:
        return f"no annotation {MODE_ANNOTATION}: hermetic"
    return (
        f"annotation {MODE_ANNOTATION}"
        if kind == "step"
        else "tekton's hermetic mode does not cover sidecars"
    )


def _enforced(run: RunSnapshot, pod: Mapping[str, Any] | None, kind: str, container: str) -> Finding:
    if pod is None:
        return Finding(
            "unknown", "the pod is not in the input" if run.status.get("podName") else "no pod is named"
        )
    spec = pod.get("spec")
    containers = spec.get("containers") if isinstance(spec, dict) else None
    found = next(
        (item for item in containers or () if isinstance(item, dict) and item.get("name") == container), None
    )
    if not isinstance(spec, dict) or found is None:
        return Finding("unknown", f"the pod has no container {container}")
    if spec.get("hostNetwork") is True:
        return Finding("false", "the pod uses the host's network")
    if kind == "sidecar":
        return Finding("false", "the entrypoint does not run in sidecars")
    return _entrypoint(found)


def _entrypoint(container: Mapping[str, Any]) -> Finding:
    environment = container.get("env")
    values = {
        item.get("name"): item for item in environment or () if isinstance(item, dict) and "name" in item
    }
    if DEFEATING_VARIABLE in values and values[DEFEATING_VARIABLE].get("value") != "":
        return Finding("false", f"{DEFEATING_VARIABLE} is set, so the entrypoint keeps the network")
    if container.get("envFrom"):
        return Finding("unknown", "envFrom may set variables that defeat the entrypoint")
    variable = values.get(HERMETIC_VARIABLE)
    if variable is None:
        return Finding("false", f"{HERMETIC_VARIABLE} is not in the container's environment")
    if "valueFrom" in variable:
        return Finding("unknown", f"{HERMETIC_VARIABLE} comes from a reference")
    if variable.get("value") != "1":
        return Finding("false", f"{HERMETIC_VARIABLE} is {variable.get('value')!r}, not '1'")
    return Finding("true", f"{HERMETIC_VARIABLE}=1 in the container's environment, and nothing defeats it")
