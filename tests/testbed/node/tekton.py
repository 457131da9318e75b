"""Tekton on the node, from its own manifests; its controller and webhook are pods."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.testbed.build import HERE, go_for
from tests.testbed.images import Registry
from tests.testbed.node.control_plane import wait_for

PIPELINE = "github.com/tektoncd/pipeline"
MODULE = HERE / "pods"
NAMESPACE, RESOLVERS = "tekton-pipelines", "tekton-pipelines-resolvers"
FLAGS = {"enable-api-fields": "alpha"}
LAST = ("controller.yaml", "webhook.yaml", "resolvers/resolvers-deployment.yaml", "500-webhooks.yaml")
PROBE = {
    "apiVersion": "tekton.dev/v1",
    "kind": "TaskRun",
    "metadata": {"name": "probe", "namespace": "default"},
    "spec": {"taskSpec": {"steps": [{"name": "a", "image": "x", "command": ["true"]}]}},
}
Kubectl = Callable[..., str]
Json = Any


def install(kubectl: Kubectl, registry: Registry, flags: Mapping[str, str]) -> None:
    """Install Tekton with these feature flags over :data:`FLAGS`; returns when it accepts runs."""
    folder, version = _source()
    manifests = [each for path in _files(folder) for each in _read(path, version)]
    for each in manifests:
        if each["metadata"]["name"] == "feature-flags":
            each["data"] |= {**FLAGS, **flags}
    apply(kubectl, manifests)
    # last: while the webhook is not there, it refuses what it would look at
    shell = f"{registry.host}/busybox@{registry.request('HEAD', '/v2/busybox/manifests/1').headers['Docker-Content-Digest']}"
    apply(
        kubectl,
        [each for name in LAST for each in _read(folder / name, version, registry.host, shell)],
    )
    for name in ("webhook", "controller"):
        rollout(kubectl, NAMESPACE, f"deployment/tekton-pipelines-{name}")
    rollout(kubectl, RESOLVERS, "deployment/tekton-pipelines-remote-resolvers")
    wait_for(lambda: _takes_runs(kubectl), "Tekton takes runs")


def apply(kubectl: Kubectl, manifests: list[Json]) -> None:
    """Apply manifests in their order."""
    text = yaml.safe_dump_all(manifests)
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text=text)


def rollout(kubectl: Kubectl, namespace: str, name: str, seconds: int = 120) -> None:
    """Wait until every pod of a Deployment or StatefulSet is ready."""
    kubectl("-n", namespace, "rollout", "status", name, f"--timeout={seconds}s")


def _takes_runs(kubectl: Kubectl) -> bool:
    try:
        kubectl("create", "--dry-run=server", "-f", "-", text=json.dumps(PROBE))
    except subprocess.CalledProcessError as error:
        raise OSError(error.stderr) from error
    return True


def _source() -> tuple[Path, str]:
    """Return the folder of Tekton's manifests and its version."""
    command = [go_for(MODULE.name), "mod", "download", "-json", PIPELINE]
    found = json.loads(subprocess.check_output(command, cwd=MODULE))
    return Path(found["Dir"]) / "config", found["Version"]


def _files(folder: Path) -> Iterator[Path]:
    for pattern in (
        "100-namespace/*.yaml", "200-*.yaml", "201-*.yaml", "300-crds/*.yaml", "config-*.yaml",
        "resolvers/*0*.yaml", "resolvers/*config*.yaml",
    ):  # fmt: skip
        yield from sorted(folder.glob(pattern))
    # for results-from: sidecar-logs
    yield from sorted((folder.parent / "optional_config" / "enable-log-access-to-controller").glob("*.yaml"))


def _read(path: Path, version: str, registry: str = "", shell: str = "") -> list[Json]:
    text = path.read_text().replace('"devel"', f'"{version}"')
    text = re.sub(rf"ko://{re.escape(PIPELINE)}/cmd/([a-z]+)", rf"{registry}/tekton-\1:1", text)
    # Tekton's image of the resolvers has an init, for the programs that its git resolver runs
    text = re.sub(r"- /sbin/tini\n\s+- --\n\s+", "", text)
    text = re.sub(r"cgr\.dev/chainguard/busybox@sha256:[0-9a-f]+", shell, text)
    return [each for each in yaml.safe_load_all(text) if each]
