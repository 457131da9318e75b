"""What a run's pod was placed and limited by: affinity, tolerations, node selector, resources, devices. Pure.

The settings are those of the pod that ran, where it is believed to be the run's. Otherwise they are those
that the run asks for, which a mutating webhook may have changed. ``source`` says which. Field names are those
of Kubernetes' pod and of Tekton's pod template:
https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/
https://tekton.dev/docs/pipelines/podtemplates/
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

from chains.isolation.expected_pod import expected_containers
from chains.statements.execution_facts import ordered
from chains.tekton.pod import SETTINGS_FIELDS, Pod
from chains.tekton.raw import Json, as_text, mapping_at, objects_at, text_at
from chains.tekton.snapshot import RunSnapshot

LARGEST = 16 * 1024
"""Characters of JSON of one setting; a larger one is told by its size alone."""
_PIPELINE_TASK = "tekton.dev/pipelineTask"
_KUBERNETES = "kubernetes.io/"
_QUOTAS = "requests."


class Source(StrEnum):
    """Where the settings are from: the pod that ran, or what the run asks for."""

    POD = "pod"
    REQUESTED = "requested"


def pod_settings(run: RunSnapshot, pod: Pod | None) -> dict[str, Any]:
    """Return the settings of a TaskRun's pod as conditions of an attribute; empty if nothing is set.

    ``pod`` is None unless it is believed to be the run's.
    """
    if pod is not None:
        spec = mapping_at(pod.attested.value)
        resources = {container.name: container.resources.value for container in pod.all_containers}
        source = Source.POD
    else:
        spec = {**run.spec.get("podTemplate", {}), "resources": run.spec.get("computeResources")}
        resources = _requested(run)
        source = Source.REQUESTED
    fields = {
        **{name: spec.get(name) for name in SETTINGS_FIELDS},
        "containerResources": {name: found for name, found in sorted(resources.items()) if found},
        "devices": list(_devices(resources)),
    }
    told = {
        name: _bounded(ordered(value)) for name, value in fields.items() if value not in (None, "", [], {})
    }
    if not told:
        return {}
    task = mapping_at(run.run, "metadata", "labels").get(_PIPELINE_TASK)
    return {"source": source.value, **({"pipelineTask": task} if task else {}), **told}


def _requested(run: RunSnapshot) -> dict[str, Json]:
    """Return the resources that a run asks for, by container; those of the run itself win."""
    over = {
        f"{kind}-{text_at(one, 'name')}": one.get("computeResources")
        for kind, field in (("step", "stepSpecs"), ("sidecar", "sidecarSpecs"))
        for one in objects_at(run.spec, field)
    }
    return {
        one.container: over.get(one.container) or mapping_at(one.fields, "computeResources")
        for one in expected_containers(run)
    }


def _devices(resources: Mapping[str, Json]) -> Iterator[dict[str, str]]:
    """Yield the extended resources of each container, such as ``nvidia.com/gpu``.

    An extended resource has the same limit and request. Source: Kubernetes, ``IsExtendedResourceName``.
    """
    for container, found in sorted(resources.items()):
        asked = {**mapping_at(found, "requests"), **mapping_at(found, "limits")}
        for name, quantity in sorted(asked.items()):
            if "/" in name and _KUBERNETES not in name and not name.startswith(_QUOTAS):
                yield {"container": container, "resource": name, "quantity": as_text(quantity)}


def _bounded(value: Json) -> Json:
    size = len(json.dumps(value))
    return value if size <= LARGEST else {"omittedCharacters": size}
