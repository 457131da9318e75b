"""The images that KServe's objects name: their containers, and models in registries.

KServe mounts a model of ``oci://`` or ``oci+native://`` into the pod, from a container of that image
("modelcar") or by an image volume. Source: KServe 0.15, ``InferenceService`` and ``LLMInferenceService``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from chains.tekton.raw import Json, mapping_at, objects_at, text_at

GROUP = "serving.kserve.io/"
KINDS = ("InferenceService", "LLMInferenceService")
_COMPONENTS = ("predictor", "transformer", "explainer")
_POD_SPECS = ("template", "worker", "workerSpec")
_SCHEMES = ("oci://", "oci+native://")


def is_served_model(item: Mapping[str, Json]) -> bool:
    """Return whether an object is one of KServe's that names models."""
    return text_at(item, "kind") in KINDS and text_at(item, "apiVersion").startswith(GROUP)


def pod_specs_of(item: Mapping[str, Json]) -> Iterator[Json]:
    """Give what is a pod's specification in such an object. What is no object is given too."""
    spec = item.get("spec")
    if not isinstance(spec, Mapping):
        yield spec
        return
    components = [spec[name] for name in _COMPONENTS if name in spec]
    yield from components
    # a component may have a second pod, and the newer kind has its pods in the specification itself
    for holder in (spec, mapping_at(spec, "prefill"), *components):
        if isinstance(holder, Mapping):
            yield from (holder[name] for name in _POD_SPECS if name in holder)


def models_of(item: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    """Give the place and the image of each model in a registry, without its scheme.

    Models elsewhere, such as ``s3://`` and ``hf://``, are no images.
    """
    spec = mapping_at(item, "spec")
    found = [("model", text_at(spec, "model", "uri"))]
    for name in _COMPONENTS:
        component = mapping_at(spec, name)
        found += [(f"{name} {field}", text_at(component, field, "storageUri")) for field in component]
        found += [
            (f"{name} storageUris", text_at(one, "uri")) for one in objects_at(component, "storageUris")
        ]
    for place, uri in found:
        for scheme in _SCHEMES:
            if uri.startswith(scheme):
                yield place, uri.removeprefix(scheme)
