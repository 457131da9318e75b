"""The example files hold together: what refers to something finds it, and no digest is a made-up word."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

EXAMPLES = Path(__file__).parents[3] / "examples"
COUNTS = {
    "taskrun-image.json": {"TaskRun": 1},
    "pipelinerun.json": {"PipelineRun": 1, "TaskRun": 7, "CustomRun": 1},
    "taskrun-failed.json": {"TaskRun": 1},
    "taskrun-hermetic.yaml": {"TaskRun": 1, "Pod": 1, "NetworkPolicy": 1},
    "pipelinerun-modelkit.json": {"PipelineRun": 1, "TaskRun": 3},
    "pipelinerun-kfp.json": {"PipelineRun": 1, "TaskRun": 3},
}
RUNS = {"TaskRun", "PipelineRun", "CustomRun"}
HEX = {"sha256": 64, "sha1": 40}

Object = dict[str, Any]


@cache
def load(name: str) -> Object:
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    loaded: Object = json.loads(text) if name.endswith(".json") else yaml.safe_load(text)
    return loaded


def objects(name: str, *kinds: str) -> list[Object]:
    top = load(name)
    items = top["items"] if top["kind"] == "List" else [top]
    return [item for item in items if not kinds or item["kind"] in kinds]


def one(name: str, kind: str) -> Object:
    (found,) = objects(name, kind)
    return found


def results(run: Object) -> Object:
    return {result["name"]: result["value"] for result in run["status"].get("results", [])}


def tasks(name: str) -> dict[str, list[Object]]:
    """The TaskRuns of a pipeline by the name that they have in it."""
    found: dict[str, list[Object]] = {}
    for run in objects(name, "TaskRun"):
        found.setdefault(run["metadata"]["labels"]["tekton.dev/pipelineTask"], []).append(run)
    return found


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, str):
        yield value


def digest_sets(value: Any) -> Iterator[tuple[str, str]]:
    """Every digest that stands as ``{"sha1": hex}`` in a refSource."""
    if isinstance(value, dict):
        source = value.get("refSource")
        if isinstance(source, dict):
            yield from source["digest"].items()
        for item in value.values():
            yield from digest_sets(item)
    elif isinstance(value, list):
        for item in value:
            yield from digest_sets(item)


def looks_like_a_digest(text: str, length: int) -> bool:
    # a real digest of 40 or more digits has nearly all sixteen of them; "aaaa…" and "0123…0123…" have not
    return (
        bool(re.fullmatch(f"[0-9a-f]{{{length}}}", text))
        and len(set(text)) > 9
        and text[:16] not in text[16:]
    )


every_file = pytest.mark.parametrize("name", COUNTS)


def test_every_file_is_known_and_described() -> None:
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    files = {path.name for path in EXAMPLES.iterdir()} - {"README.md"}
    assert files == {*COUNTS, "chains-config.yaml", "gitops", "ledger", "mlops", "recount.py", "triggers"}
    assert {name for name in files if f"**{name}**" in readme} == files


@every_file
def test_it_holds_the_objects_it_should(name: str) -> None:
    assert Counter(item["kind"] for item in objects(name)) == COUNTS[name]


@every_file
def test_metadata_is_what_a_server_returns(name: str) -> None:
    uids = []
    for item in objects(name):
        metadata = item["metadata"]
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", metadata["uid"])
        assert metadata["resourceVersion"].isdigit()
        assert {"name", "namespace", "creationTimestamp", "generation"} <= metadata.keys()
        uids.append(metadata["uid"])
    assert len(set(uids)) == len(uids)


@every_file
def test_every_run_is_done(name: str) -> None:
    for run in objects(name, *RUNS):
        status = run["status"]
        stamps = [run["metadata"]["creationTimestamp"], status["startTime"], status["completionTime"]]
        assert [datetime.fromisoformat(stamp) for stamp in stamps] == sorted(
            map(datetime.fromisoformat, stamps)
        )
        (condition,) = [item for item in status["conditions"] if item["type"] == "Succeeded"]
        assert condition["status"] in {"True", "False"}
        assert condition["reason"]


@every_file
def test_every_step_ended(name: str) -> None:
    for run in objects(name, "TaskRun"):
        status = run["status"]
        assert [step["name"] for step in status["steps"]] == [
            step["name"] for step in status["taskSpec"]["steps"]
        ]
        for step in status["steps"]:
            assert step["container"] == f"step-{step['name']}"
            assert (
                step["terminated"]["startedAt"]
                <= step["terminated"]["finishedAt"]
                <= status["completionTime"]
            )
        containers = [*status["steps"], *status.get("sidecars", [])]
        assert all("terminated" in container for container in containers)


@every_file
def test_every_run_names_the_release_and_its_feature_flags(name: str) -> None:
    for run in objects(name, "TaskRun", "PipelineRun"):
        flags = run["status"]["provenance"]["featureFlags"]
        assert flags["enableAPIFields"] == ("alpha" if name == "taskrun-hermetic.yaml" else "beta")
        assert flags["enableProvenanceInStatus"] is True
    for run in objects(name, "TaskRun"):
        assert re.fullmatch("[0-9a-f]{7}", run["metadata"]["annotations"]["pipeline.tekton.dev/release"])
        assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", run["status"]["spanContext"]["traceparent"])


@pytest.mark.parametrize("name", [name for name in COUNTS if name.startswith("pipelinerun")])
def test_parent_and_children_name_each_other(name: str) -> None:
    parent = one(name, "PipelineRun")
    children = objects(name, "TaskRun", "CustomRun")
    for child in children:
        (owner,) = child["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"]) == ("PipelineRun", parent["metadata"]["name"])
        assert owner["uid"] == parent["metadata"]["uid"]
        assert child["metadata"]["labels"]["tekton.dev/pipelineRunUID"] == parent["metadata"]["uid"]
    by_children = {
        (
            item["apiVersion"],
            item["kind"],
            item["metadata"]["name"],
            item["metadata"]["labels"]["tekton.dev/pipelineTask"],
        )
        for item in children
    }
    references = parent["status"]["childReferences"]
    assert by_children == {
        (item["apiVersion"], item["kind"], item["name"], item["pipelineTaskName"]) for item in references
    }
    assert len(references) == len(children)


@every_file
def test_digests_look_like_digests(name: str) -> None:
    loaded = load(name)
    found = [
        ("sha256", part) for text in texts(loaded) for part in re.findall(r"sha256:([0-9A-Za-z]+)", text)
    ]
    found += digest_sets(loaded)
    assert found
    for algorithm, text in found:
        assert looks_like_a_digest(text, HEX[algorithm]), f"{algorithm}:{text}"
    for run in objects(name, "TaskRun", "PipelineRun"):
        commit = results(run).get("CHAINS-GIT_COMMIT")
        assert commit is None or looks_like_a_digest(commit, HEX["sha1"])
    for run in objects(name, "TaskRun"):
        for container in [*run["status"]["steps"], *run["status"].get("sidecars", [])]:
            assert re.fullmatch(r"[a-z0-9./-]+@sha256:[0-9a-f]{64}", container["imageID"])
            assert re.fullmatch(r"containerd://[0-9a-f]{64}", container["terminated"]["containerID"])


@every_file
def test_nothing_names_a_machine_or_a_real_host(name: str) -> None:
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    assert not re.search(r"/root/|/home/|/Users/|kubeconfig", text)
    hosts = set(re.findall(r"https?://([a-z0-9.-]+)", text))
    assert {host for host in hosts if not host.endswith((".example.com", ".svc"))} == set()


def test_the_image_run_shows_every_kind_of_param_result_and_source() -> None:
    run = one("taskrun-image.json", "TaskRun")
    assert {type(param["value"]) for param in run["spec"]["params"]} == {str, list, dict}
    assert {result["type"] for result in run["status"]["results"]} == {"string", "array", "object"}
    hints = {"IMAGE_URL", "IMAGE_DIGEST", "CHAINS-GIT_URL", "CHAINS-GIT_COMMIT", "base-ARTIFACT_INPUTS"}
    assert hints <= results(run).keys()
    assert run["status"]["provenance"]["refSource"]["entryPoint"] == "tasks/image-build/0.4/image-build.yaml"
    step = run["status"]["steps"][0]
    assert step["provenance"]["refSource"]["uri"] == "git+https://git.example.com/platform/tekton-catalog.git"
    assert {result["name"] for result in step["results"]} == {"url", "commit"}
    assert [sidecar["name"] for sidecar in run["status"]["sidecars"]] == ["layer-cache"]
    assert run["metadata"]["managedFields"]


def test_the_pipeline_fans_out_retries_skips_and_waits_for_an_approval() -> None:
    name = "pipelinerun.json"
    status, found = one(name, "PipelineRun")["status"], tasks(name)
    platforms = [run["spec"]["params"][0]["value"] for run in found["test"]]
    assert platforms == ["linux/amd64", "linux/arm64"]
    assert {task: len(runs) for task, runs in found.items() if len(runs) > 1} == {"test": 2}
    (retried,) = found["integration-test"]
    (attempt,) = retried["status"]["retriesStatus"]
    assert attempt["conditions"][0]["status"] == "False"
    assert attempt["podName"] != retried["status"]["podName"]
    assert [task["name"] for task in status["skippedTasks"]] == ["deploy-preview"]
    assert [task["name"] for task in status["pipelineSpec"]["finally"]] == ["notify"]
    assert one(name, "CustomRun")["metadata"]["labels"]["tekton.dev/pipelineTask"] == "approve"


def test_the_pipeline_publishes_an_index_its_images_and_an_sbom() -> None:
    name = "pipelinerun.json"
    run, found = one(name, "PipelineRun"), tasks(name)
    values = results(run)
    (build,), (clone,) = found["build"], found["clone"]
    assert values["IMAGE_DIGEST"] == results(build)["IMAGE_DIGEST"]
    assert values["CHAINS-GIT_COMMIT"] == results(clone)["CHAINS-GIT_COMMIT"]
    assert values["sbom-ARTIFACT_OUTPUTS"]["isBuildArtifact"] == "true"
    images = results(build)["IMAGES"].split()
    assert len(images) == 2
    assert all(image.startswith(values["IMAGE_URL"] + "@sha256:") for image in images)


def test_the_failed_run_has_a_failed_and_a_skipped_step_and_no_image() -> None:
    run = one("taskrun-failed.json", "TaskRun")
    (condition,) = run["status"]["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "StepFailed")
    ends = [(step["terminated"]["exitCode"], step["terminationReason"]) for step in run["status"]["steps"]]
    assert ends == [(0, "Completed"), (1, "Error"), (1, "Skipped")]
    assert results(run).keys() == {"CHAINS-GIT_URL", "CHAINS-GIT_COMMIT"}


def test_the_hermetic_run_has_its_pod_and_a_policy_that_selects_it() -> None:
    name = "taskrun-hermetic.yaml"
    run, pod, policy = one(name, "TaskRun"), one(name, "Pod"), one(name, "NetworkPolicy")
    assert run["metadata"]["annotations"]["experimental.tekton.dev/execution-mode"] == "hermetic"
    assert run["status"]["podName"] == pod["metadata"]["name"]
    assert [owner["uid"] for owner in pod["metadata"]["ownerReferences"]] == [run["metadata"]["uid"]]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert "Egress" in policy["spec"]["policyTypes"]
    assert not policy["spec"].get("egress")
    states = {state["name"]: state for state in pod["status"]["containerStatuses"]}
    for container, step in zip(pod["spec"]["containers"], run["status"]["steps"], strict=True):
        assert container["name"] == step["container"]
        assert {"name": "TEKTON_HERMETIC", "value": "1"} in container["env"]
        assert container["command"] == ["/tekton/bin/entrypoint"]
        assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]
        assert states[container["name"]]["imageID"] == step["imageID"]
        assert states[container["name"]]["containerID"] == step["terminated"]["containerID"]
    names = [container["name"] for container in pod["spec"]["initContainers"]]
    assert names == ["prepare", "place-scripts", "working-dir-initializer"]


def test_the_modelkit_is_packed_pushed_and_passed_on() -> None:
    name = "pipelinerun-modelkit.json"
    (publish,) = tasks(name)["publish"]
    steps = {step["name"]: step for step in publish["status"]["taskSpec"]["steps"]}
    assert "manifestVersion: 1.0.0" in steps["kitfile"]["script"]
    assert steps["pack"]["command"] + steps["pack"]["args"][:1] == ["kit", "pack"]
    assert "kit push" in steps["push"]["script"]
    values = results(one(name, "PipelineRun"))
    assert values["MODELKIT_IMAGE_DIGEST"] == "sha256:" + values["MODELKIT_IMAGE_DIGEST"].partition(":")[2]
    assert values["MODELKIT_IMAGE_URL"] == results(publish)["MODELKIT_IMAGE_URL"]
    assert values["dataset-ARTIFACT_INPUTS"].keys() == {"uri", "digest"}


def test_the_kfp_run_carries_kubeflows_annotations() -> None:
    name = "pipelinerun-kfp.json"
    run, found = one(name, "PipelineRun"), tasks(name)
    annotations = run["metadata"]["annotations"]
    outputs = json.loads(annotations["tekton.dev/output_artifacts"])
    assert outputs.keys() == found.keys()
    inputs = json.loads(annotations["tekton.dev/input_artifacts"])
    assert [item["parent_task"] for items in inputs.values() for item in items] == [
        "prepare-rows",
        "fit-forecast",
    ]
    assert annotations["tekton.dev/artifact_bucket"] == "mlpipeline"
    for children in found.values():
        for child in children:
            digest = json.loads(
                child["metadata"]["annotations"]["pipelines.kubeflow.org/component_spec_digest"]
            )
            assert looks_like_a_digest(digest["version"].partition("@sha256=")[2], HEX["sha256"])
            assert child["metadata"]["labels"]["pipelines.kubeflow.org/cache_enabled"] == "true"
            assert child["spec"]["taskSpec"]["steps"]
    assert "results" not in run["status"]
    (publish,) = found["publish-model"]
    assert results(publish).keys() == {"IMAGES"}


def test_the_configuration_asks_for_both_forms_and_deep_inspection() -> None:
    config = load("chains-config.yaml")
    assert (config["kind"], config["metadata"]["name"]) == ("ConfigMap", "chains-config")
    data = config["data"]
    assert all(isinstance(value, str) for value in data.values())
    for kind in ("taskrun", "pipelinerun"):
        assert data[f"artifacts.{kind}.format"] == "slsa/v2alpha4"
        assert data[f"artifacts.{kind}.storage"] == "oci"
    assert data["storage.oci.encoding-format"] == "both"
    assert data["artifacts.pipelinerun.enable-deep-inspection"] == "true"
