"""Compiles a pipeline with kfp-tekton: ``python kubeflow_pipeline.py REGISTRY FILE``.

It runs in the folder of ``kfp-requirements.txt``. The steps are shell scripts in the test node's own image.
"""

from __future__ import annotations

import sys

from kfp import components, dsl
from kfp_tekton.compiler import TektonCompiler
from kubernetes import client

COMPONENT = """
name: {name}
inputs: [{{name: data}}]
outputs: [{{name: {output}}}]
implementation:
  container:
    image: {registry}/busybox:1
    command: [sh, -ec, '{script}', "{name}", {{inputValue: data}}, {{outputPath: {output}}}]
"""
PREPARE = 'mkdir -p "$(dirname "$2")"; printf "%s, cleaned" "$1" > "$2"'
TRAIN = 'mkdir -p "$(dirname "$2")"; printf "weights of %s" "$1" > "$2"'
PUBLISH = (
    'mkdir -p "$(dirname "$2")" /tmp/model; echo "$1" > /tmp/model/weights;'
    " push -url=/tmp/url -digest=/tmp/digest pack {registry}/models/forecast:v1 /tmp/model /tmp/layout;"
    " push send {registry}/models/forecast:v1 /tmp/layout;"
    ' printf "{registry}/models/forecast@%s" "$(cat /tmp/digest)" > "$2"'
)


def component(name: str, output: str, script: str, registry: str) -> object:
    """Return a component that runs a script with its input and the path of its output."""
    script = script.format(registry=registry) if name == "publish" else script
    return components.load_component_from_text(
        COMPONENT.format(name=name, output=output, script=script.replace("'", "''"), registry=registry)
    )


def pool(names: list[str]) -> client.V1Affinity:
    """Return that a pod must run on a node of one of these pools, where a node has a pool."""
    wanted = client.V1NodeSelectorRequirement(key="example.com/pool", operator="NotIn", values=names)
    term = client.V1NodeSelectorTerm(match_expressions=[wanted])
    required = client.V1NodeSelector(node_selector_terms=[term])
    return client.V1Affinity(
        node_affinity=client.V1NodeAffinity(required_during_scheduling_ignored_during_execution=required)
    )


def main(registry: str, file: str) -> None:
    """Write the PipelineRun of a pipeline that prepares data, trains on a GPU, and publishes an artifact."""

    @dsl.pipeline(name="load-forecast", description="Trains and publishes a forecast.")
    def forecast(readings: str = "readings of 2026") -> None:
        prepared = component("prepare", "data", PREPARE, registry)(readings)
        trained = component("train", "model", TRAIN, registry)(prepared.output)
        trained.set_gpu_limit(1, "nvidia")
        trained.set_memory_limit("64M").set_cpu_request("10m")
        trained.add_node_selector_constraint("kubernetes.io/os", "linux")
        trained.add_affinity(pool(["office"]))
        trained.add_toleration(
            client.V1Toleration(key="nvidia.com/gpu", operator="Exists", effect="NoSchedule")
        )
        component("publish", "IMAGES", PUBLISH, registry)(trained.output)

    TektonCompiler().compile(forecast, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
