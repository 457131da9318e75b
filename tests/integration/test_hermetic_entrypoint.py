"""Tekton's real entrypoint opens a socket, or cannot: what we say of its pod must be what happens.

Where user and network namespaces are refused, the entrypoint itself fails, and these tests say so and skip.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from chains.isolation.judgement import judge_isolation
from chains.tekton.snapshot import take_snapshot
from chains.tekton.surroundings import ImageEnvironment, parse_surroundings
from tests.testbed.pod_builder import ALPHA, Built, PodBuilder

Json = Any
HERMETIC, RESOURCE = "TEKTON_HERMETIC", "TEKTON_RESOURCE_NAME"
CONNECT = (
    "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5).close(); print('open')"
)


@dataclass(frozen=True)
class Case:
    """A step's own environment, the image's, and what must come of both."""

    verdict: str
    is_open: bool
    step: dict[str, str] = field(default_factory=dict)
    image: dict[str, str] = field(default_factory=dict)
    annotated: bool = True
    is_image_known: bool = False


CASES = {
    "nothing was asked for": Case("false", True, annotated=False),
    "the variable, and an image that leaves the other one alone": Case("unknown", False),
    "the variable, and an image that sets the other one": Case("unknown", True, image={RESOURCE: "x"}),
    "the same, and the image was read": Case("false", True, image={RESOURCE: "x"}, is_image_known=True),
    "an image that was read and sets nothing": Case("true", False, image={"A": "x"}, is_image_known=True),
    "the variable, and the other one set to nothing": Case("true", False, {RESOURCE: ""}),
    "set to nothing, whatever the image says": Case("true", False, {RESOURCE: ""}, {RESOURCE: "x"}),
    "the step sets the other one": Case("false", True, {RESOURCE: "x"}),
    "the step sets the variable itself": Case("true", False, {HERMETIC: "1", RESOURCE: ""}, annotated=False),
    "the step sets it to another word": Case(
        "false", True, {HERMETIC: "true", RESOURCE: ""}, annotated=False
    ),
    "the step refers to a name of its own": Case("false", True, {"APP": "x", RESOURCE: "$(APP)"}),
    "the step refers to an empty name": Case("true", False, {"APP": "", RESOURCE: "$(APP)"}),
    "the step escapes the reference": Case("false", True, {RESOURCE: "$$(APP)"}),
}


def built(builder: PodBuilder, case: Case) -> Built:
    env = [{"name": name, "value": value} for name, value in case.step.items()]
    step = {"name": "connect", "image": "registry.example.com/python", "command": ["python"], "env": env}
    annotations = {"experimental.tekton.dev/execution-mode": "hermetic"} if case.annotated else {}
    run = {
        "apiVersion": "tekton.dev/v1",
        "kind": "TaskRun",
        "metadata": {"name": "r", "namespace": "ci", "uid": "u", "annotations": annotations},
        "spec": {"taskSpec": {"steps": [step]}},
    }
    return builder.finished(run, flags=ALPHA)


def environment(pod: Json, image: dict[str, str]) -> dict[str, str]:
    """Return what a kubelet and a container runtime would give the process: the pod's over the image's."""
    found = dict(image)
    for item in pod["spec"]["containers"][0].get("env", []):
        value = item.get("value", "")
        found[item["name"]] = {"$(APP)": found.get("APP", ""), "$$(APP)": "$(APP)"}.get(value, value)
    return found


@pytest.fixture(scope="module")
def port() -> Iterator[str]:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield str(server.getsockname()[1])


def connects(entrypoint: Path, folder: Path, port: str, variables: dict[str, str]) -> bool:
    """Run the entrypoint as a step's container does, and tell whether its command could open a socket."""
    command: list[str | Path] = [
        entrypoint, "-termination_path", folder / "termination", "-step_metadata_dir", folder / "status",
        "-entrypoint", sys.executable, "--", "-c", CONNECT, port,
    ]  # fmt: skip
    done = subprocess.run(
        command,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)} | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "operation not permitted" in done.stderr.lower() and "fork/exec" in done.stderr:
        pytest.skip(f"user and network namespaces are refused here: {done.stderr.strip().splitlines()[-1]}")
    assert ("open" in done.stdout) == (done.returncode == 0)
    assert done.returncode == 0 or "Network is unreachable" in done.stderr
    return done.returncode == 0


@pytest.mark.server
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_verdict_is_what_the_entrypoint_does(
    case: Case, pod_builder: PodBuilder, tekton_entrypoint: Path, tmp_path: Path, port: str
) -> None:
    made = built(pod_builder, case)
    image_id = made.run["status"]["steps"][0]["imageID"]
    images = {image_id: ImageEnvironment((case.image,))} if case.is_image_known else {}
    surroundings = {"taskrun/ci/r": parse_surroundings(pod=made.pod, images=images)}
    isolation = judge_isolation(take_snapshot(made.run), surroundings)
    is_open = connects(tekton_entrypoint, tmp_path, port, environment(made.pod, case.image))
    assert (isolation.containers[0].enforced.value, is_open) == (case.verdict, case.is_open)
    assert (isolation.level == "enforced") == (case.verdict == "true")
