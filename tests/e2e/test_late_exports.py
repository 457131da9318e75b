"""Runs with sidecars, exported at once and again when Tekton has put its own image in the place of each."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains
from chains.tekton.late_changes import is_replaced
from tests.e2e.manifests import SCAI, step, written
from tests.testbed.node.cluster import Node, mark_of
from tests.testbed.node.images import push_shell

pytestmark = pytest.mark.server
Json = Any
PROVENANCE = "https://slsa.dev/provenance/v1"
NOP = "/tekton-nop@"


def build(image: str, sidecar: Json) -> Json:
    """Return a Task that builds and pushes an image beside a sidecar, as with a database or docker."""
    push = ["-url=$(results.IMAGE_URL.path)", "-digest=$(results.IMAGE_DIGEST.path)", "build", image, "out"]
    workdir = {"workingDir": "/workspace"}
    return {
        "results": [{"name": "IMAGE_URL"}, {"name": "IMAGE_DIGEST"}],
        "steps": [
            step("compile", f"mkdir out && echo {image} > out/app.txt", **workdir),
            {"name": "push", "image": "REGISTRY/busybox:1", "command": ["push"], "args": push, **workdir},
        ],
        "sidecars": [{"name": "db", **sidecar}],
    }


def runs(pinned: str) -> tuple[Json, Json]:
    """Return a TaskRun whose sidecar has a tag and a command, and a PipelineRun with a digest and arguments.

    Tekton's image starts with any arguments, but not with a command that it does not have. Neither sidecar ends
    when it is asked to, so that there is half a minute for the early export.
    """
    by_command = {"image": "REGISTRY/other:1", "command": ["sleep", "600"]}
    by_arguments = {"image": f"REGISTRY/other@{pinned}", "args": ["sleep", "600"]}
    made = {"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "metadata": {"name": "build"}}
    hints = [
        {"name": name, "value": f"$(tasks.build.results.{name})"} for name in ("IMAGE_URL", "IMAGE_DIGEST")
    ]
    tasks = [{"name": "build", "taskSpec": build("REGISTRY/late/pipe:v1", by_arguments)}]
    pipeline = {"kind": "PipelineRun", "metadata": {"name": "pipe"}}
    return (
        {**made, "spec": {"taskSpec": build("REGISTRY/late/app:v1", by_command)}},
        {**made, **pipeline, "spec": {"pipelineSpec": {"results": hints, "tasks": tasks}}},
    )


@dataclass(frozen=True, slots=True)
class Exports:
    """What ``kubectl get taskruns,pipelineruns`` printed, early and late, and what goes with it."""

    early: Path
    late: Path
    config: Path
    namespace: str
    digest: str
    """Of the image that the sidecars ran."""


@pytest.fixture(scope="module")
def exports(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Exports:
    folder = tmp_path_factory.mktemp("exports")
    namespace = node.namespace("late-exports")
    digest = push_shell(node.registry, "other", ["OTHER=1"])
    node.apply(namespace, written(*runs(digest)))
    found = [node.marked("TaskRun", namespace, name) for name in ("build", "pipe-build")]
    found.append(node.marked("PipelineRun", namespace, "pipe"))
    assert {mark_of(run) for run in found} == {"true"}

    def export(name: str) -> Path:
        path = folder / name
        path.write_text(node.kubectl("-n", namespace, "get", "taskruns,pipelineruns", "-o", "json"))
        return path

    def is_replaced(name: str) -> bool:
        sidecars = node.run("TaskRun", namespace, name)["status"]["sidecars"]
        return all(NOP in each["imageID"] and "terminated" in each for each in sidecars)

    early = export("early.json")
    for name in ("build", "pipe-build"):
        node.wait(lambda name=name: is_replaced(name), f"tekton has replaced the sidecar of {name}")
    config = folder / "config.json"
    config.write_text(json.dumps({"storage.oci.repository.insecure": "true"}))
    return Exports(early, export("late.json"), config, namespace, digest)


def sidecars(export: Path) -> dict[str, Json]:
    """Return the record of the one sidecar of each TaskRun."""
    items = json.loads(export.read_text())["items"]
    tasks = [item for item in items if item["kind"] == "TaskRun"]
    return {task["metadata"]["name"]: task["status"]["sidecars"][0] for task in tasks}


@pytest.fixture
def verify(
    exports: Exports, node: Node, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, dict[str, Json]]]:
    """Verify an export by the controller's key; return the exit code, and what was found of each run."""

    def run(export: Path, *options: str | Path) -> tuple[int, dict[str, Json]]:
        capsys.readouterr()
        given = ["--key", node.public_key, "--config", exports.config, "--output", "json", *options]
        code = chains(["verify", str(export), *map(str, given)])
        results = json.loads(capsys.readouterr().out)["results"]
        return code, {each["subject"]["ref"].rpartition("/")[2]: each for each in results}

    return run


def test_tekton_replaces_the_record_of_a_sidecar_after_the_run_has_ended(exports: Exports) -> None:
    early, late = sidecars(exports.early), sidecars(exports.late)
    items = json.loads(exports.early.read_text())["items"]
    ended = {item["metadata"]["name"]: item["status"]["completionTime"] for item in items}
    assert early.keys() == late.keys() == {"build", "pipe-build"}
    for name, before in early.items():
        assert before["imageID"].endswith(f"/other@{exports.digest}")
        assert "running" in before
        assert not is_replaced(before, ended[name])
        assert NOP in late[name]["imageID"]
        assert is_replaced(late[name], ended[name]), late[name]


@pytest.fixture(scope="module")
def attested_late(exports: Exports, node: Node) -> Path:
    """Evidence of the late export in a layout of its own, signed by the same key."""
    layout, key = exports.late.parent / "layout", node.folder / "chains" / "x509.pem"
    assert chains(["attest", str(exports.late), "--key", str(key), "--store", f"oci-layout:{layout}"]) == 0
    return layout


@pytest.mark.parametrize("attested", ["at once", "late"])
@pytest.mark.parametrize("exported", ["at once", "late"])
def test_the_run_is_verified_whenever_it_was_attested_and_exported(
    exports: Exports, attested_late: Path, verify: Callable[..., Json], exported: str, attested: str
) -> None:
    export = exports.early if exported == "at once" else exports.late
    store = "oci:" if attested == "at once" else f"oci-layout:{attested_late}"
    code, found = verify(export, "--store", store)
    assert {name: one["verdict"] for name, one in found.items()} == {"build": "VERIFIED", "pipe": "VERIFIED"}
    assert code == 0
    code, found = verify(export, "--store", store, "--predicate-type", SCAI)
    assert {name: one["verdict"] for name, one in found.items()} == {"build": "VERIFIED", "pipe": "VERIFIED"}
    assert code == 0


def dependencies(capsys: pytest.CaptureFixture[str], export: Path, run: str) -> list[str]:
    """Return the images that provenance names of a run, without the registry's name."""
    capsys.readouterr()
    assert chains(["payload", str(export), "--run", run]) == 0
    found = json.loads(capsys.readouterr().out)["predicate"]["buildDefinition"]["resolvedDependencies"]
    images = [each for each in found if each.get("uri", "").startswith("oci://")]
    return sorted(f"{each['uri'].rpartition('/')[2]}@{each['digest']['sha256']}" for each in images)


def test_attested_late_no_run_depends_on_what_tekton_put_in_the_place_of_its_sidecar(
    exports: Exports, capsys: pytest.CaptureFixture[str]
) -> None:
    """What ran is told in time; late only what the Task had named by digest itself."""
    ran = f"other@{exports.digest.removeprefix('sha256:')}"
    for name, late in (("build", []), ("pipe", [ran])):
        run = f"{exports.namespace}/{name}"
        first, second = (dependencies(capsys, path, run) for path in (exports.early, exports.late))
        (shell,) = [image for image in first if image.startswith("busybox@")]
        assert first == sorted([shell, ran])
        assert second == sorted([shell, *late])


def image_of_the_step(task: Json) -> None:
    task["status"]["steps"][0]["imageID"] = f"registry.example/other@sha256:{'0' * 64}"


def beginning_of_the_sidecar(task: Json) -> None:
    task["status"]["sidecars"][0]["terminated"]["startedAt"] = "2026-01-02T03:04:05Z"


def container_of_the_sidecar(task: Json) -> None:
    task["status"]["sidecars"][0]["container"] = "sidecar-other"


def command_of_the_sidecar(task: Json) -> None:
    task["status"]["taskSpec"]["sidecars"][0]["command"] = ["sleep", "601"]


def end_of_the_run(run: Json) -> None:
    run["status"]["completionTime"] = "2026-01-02T03:04:05Z"


@pytest.mark.parametrize(
    "change",
    [
        image_of_the_step,
        beginning_of_the_sidecar,
        container_of_the_sidecar,
        command_of_the_sidecar,
        end_of_the_run,
    ],
)
@pytest.mark.parametrize(
    ("changed", "wrong", "right"), [("build", "build", "pipe"), ("pipe-build", "pipe", "build")]
)
def test_anything_else_that_was_changed_in_a_late_export_is_tampering(
    exports: Exports, verify: Callable[..., Json], tmp_path: Path, change: Callable[[Json], None],
    changed: str, wrong: str, right: str,
) -> None:  # fmt: skip
    export = json.loads(exports.late.read_text())
    (run,) = [item for item in export["items"] if item["metadata"]["name"] == changed]
    change(run)
    path = tmp_path / "run.json"
    path.write_text(json.dumps(export))
    code, found = verify(path, "--store", "oci:")
    assert code == 1
    assert {name: one["verdict"] for name, one in found.items()} == {wrong: "FAILED", right: "VERIFIED"}
    assert "run_mismatch" in json.dumps(found[wrong])
