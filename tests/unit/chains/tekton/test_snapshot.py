import copy
import hashlib
from typing import Any

import orjson
import pytest

from chains.errors import InputError
from chains.tekton.snapshot import take_snapshot
from tests.owners import owned, task_reference

Json = Any
RUN: Json = {
    "apiVersion": "tekton.dev/v1",
    "kind": "TaskRun",
    "metadata": {"name": "r", "namespace": "ns", "uid": "u-1", "annotations": {"note": "x"}},
    "spec": {"taskRef": {"name": "t"}},
    "status": {
        "conditions": [{"type": "Succeeded", "status": "True"}],
        "completionTime": "2026-01-02T03:04:05Z",
    },
}


def pipeline(*references: Json, uid: str = "p-1") -> Json:
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {"name": "p", "namespace": "ns", "uid": uid},
        "status": {"childReferences": list(references)},
    }


def child(name: str, owner: str = "p-1") -> Json:
    owners = owned(owner)
    return {**RUN, "metadata": {"name": name, "namespace": "ns", "uid": name, "ownerReferences": owners}}


def index(*runs: Json) -> Json:
    return {(run["kind"], run["metadata"]["namespace"], run["metadata"]["name"]): run for run in runs}


def test_marking_a_run_never_changes_its_snapshot() -> None:
    marked = copy.deepcopy(RUN)
    marked["metadata"] |= {
        "managedFields": [{"manager": "x"}],
        "resourceVersion": "5",
        "generation": 2,
        "finalizers": ["chains.tekton.dev/taskrun"],
        "labels": {"provenance.chains/done": "true"},
    }
    marked["metadata"]["annotations"]["chains.tekton.dev/signed"] = "true"
    assert take_snapshot(marked).data == take_snapshot(RUN).data


def test_the_user_s_own_transparency_annotation_is_kept() -> None:
    asked = copy.deepcopy(RUN)
    asked["metadata"]["annotations"]["chains.tekton.dev/transparency-upload"] = "true"
    assert take_snapshot(asked).digest != take_snapshot(RUN).digest


def test_anybody_can_compute_the_digest_again() -> None:
    data = orjson.dumps(RUN, option=orjson.OPT_SORT_KEYS)
    assert take_snapshot(RUN).digest == hashlib.sha256(data).hexdigest()


def test_a_pipeline_run_s_bytes_are_a_list_that_can_be_attested_again() -> None:
    run = pipeline(task_reference("c"))
    frozen = take_snapshot(run, index(child("c")))
    again = orjson.loads(frozen.data)
    assert [item["metadata"]["name"] for item in again["items"]] == ["p", "c"]
    assert take_snapshot(again["items"][0], index(again["items"][1])).data == frozen.data


def test_children_that_cannot_be_recorded_are_named_and_never_fail_the_run() -> None:
    run = pipeline(
        task_reference("gone", "a"),
        {"kind": "CustomRun", "name": "custom", "pipelineTaskName": "b"},
        {"kind": "PipelineRun", "name": "nested", "pipelineTaskName": "c"},
        task_reference("foreign", "d"),
        task_reference("broken", "e"),
        task_reference("good", "f"),
    )
    broken = child("broken")
    broken["spec"] = {"params": "not a list"}
    frozen = take_snapshot(run, index(child("foreign", "another"), broken, child("good")))
    assert [item.name for item in frozen.children] == ["good"]
    assert [(gap.name, gap.pipeline_task) for gap in frozen.gaps] == [
        ("gone", "a"), ("custom", "b"), ("nested", "c"), ("foreign", "d"), ("broken", "e"),
    ]  # fmt: skip
    assert "another owner" in frozen.gaps[3].reason
    assert "spec.params: expected a list" in frozen.gaps[4].reason


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"apiVersion": "tekton.dev/v1beta1"}, "expected apiVersion tekton.dev/v1, got 'tekton.dev/v1beta1'"),
        ({"kind": "Pod"}, "pod/ns/r: expected a TaskRun or PipelineRun"),
        ({"status": {"steps": "none"}}, "taskrun/ns/r: field status.steps: expected a list, got 'none'"),
        ({"status": {"startTime": "noon"}}, "field status.startTime: expected an RFC 3339 time, got 'noon'"),
        (
            {"metadata": {"name": "r", "namespace": "ns", "labels": {"a": 1}}},
            "metadata.labels.a: expected a string",
        ),
        ({"spec": {"retries": "3"}}, "spec.retries: expected a whole number"),
        ({"spec": {"timeout": "soon"}}, "spec.timeout: expected a duration"),
    ],
)
def test_what_is_no_run_is_refused_by_name_and_field(change: Json, text: str) -> None:
    with pytest.raises(InputError) as caught:
        take_snapshot({**RUN, **change})
    assert text in str(caught.value)


def test_fields_that_tekton_does_not_have_are_told() -> None:
    run = {**RUN, "spec": {"taskRef": {"name": "t", "flavour": "mint"}, "extra": 1}}
    assert take_snapshot(run).dropped == ("spec.taskRef.flavour", "spec.extra")
