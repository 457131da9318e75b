"""A run is a PipelineRun's child only by what Tekton writes, and by what nobody but the API server can write."""

from __future__ import annotations

from typing import Any

import pytest

from chains.tekton.children import child_references, names_a_task, parent_of, why_foreign
from tests.owners import owned, task_reference

Json = Any
OWNER: Json = owned("p-1")[0]
NO_OWNER = "no controller owner reference to a PipelineRun"


def run(**metadata: Json) -> Json:
    return {
        "metadata": {"name": "c", "namespace": "ns", "uid": "c-1", "ownerReferences": [OWNER], **metadata}
    }


def pipeline(
    uid: str = "p-1", created: str = "2026-01-02T03:00:00Z", ended: str = "2026-01-02T03:10:00Z"
) -> Json:
    metadata = {"name": "p", "namespace": "ns", "uid": uid, "creationTimestamp": created}
    return {"metadata": metadata, "status": {"completionTime": ended}}


@pytest.mark.parametrize(
    ("owners", "found"),
    [
        ([OWNER], "p-1"),
        ([{**OWNER, "apiVersion": "tekton.dev/v1beta1"}], "p-1"),
        ([{"kind": "PipelineRun", "uid": "other"}, OWNER], "p-1"),
        ([{**OWNER, "controller": False}], ""),
        ([{**OWNER, "controller": "true"}], ""),
        ([{key: value for key, value in OWNER.items() if key != "controller"}], ""),
        ([{**OWNER, "kind": "CustomRun"}], ""),
        ([{**OWNER, "apiVersion": "example.com/v1"}], ""),
        ([{**OWNER, "apiVersion": "tekton.dev.example.com/v1"}], ""),
        ([{**OWNER, "apiVersion": "v1"}], ""),
        ([{**OWNER, "apiVersion": None}], ""),
        ([{**OWNER, "uid": 7}], ""),
        ([], ""),
        ("no list", ""),
        ([None, "text", 7], ""),
        (None, ""),
    ],
)  # fmt: skip
def test_the_parent_is_the_pipeline_run_that_controls(owners: Json, found: str) -> None:
    assert parent_of({"ownerReferences": owners}) == found


def test_what_tekton_makes_is_a_child() -> None:
    assert why_foreign(run(creationTimestamp="2026-01-02T03:05:00Z"), pipeline()) == ""
    assert why_foreign(run(), pipeline()) == ""


@pytest.mark.parametrize(
    ("metadata", "uid", "why"),
    [
        ({"namespace": "attacker"}, "p-1", "in another namespace"),
        ({"ownerReferences": owned("p-2")}, "p-1", "belongs to another owner"),
        ({"ownerReferences": []}, "p-1", NO_OWNER),
        ({"ownerReferences": [{**OWNER, "controller": False}]}, "p-1", NO_OWNER),
        ({"ownerReferences": [{**OWNER, "uid": ""}]}, "", "the PipelineRun has no UID"),
        ({"creationTimestamp": "2026-01-02T03:11:01Z"}, "p-1", "created after the PipelineRun had ended"),
    ],
)
def test_what_is_not_proven_to_be_a_child_is_told_why(metadata: Json, uid: str, why: str) -> None:
    assert why in why_foreign(run(**metadata), pipeline(uid))


def test_times_count_only_where_the_clocks_agree() -> None:
    late = run(creationTimestamp="2026-01-02T03:11:00Z")
    assert why_foreign(late, pipeline()) == "", "a minute is within what clocks differ"
    copied = pipeline(created="2026-05-01T00:00:00Z")
    assert why_foreign(run(creationTimestamp="2026-05-01T00:00:01Z"), copied) == "", "a copy of an older run"


def test_objects_without_a_namespace_are_in_default() -> None:
    here, parent = run(), pipeline()
    del here["metadata"]["namespace"], parent["metadata"]["namespace"]
    assert why_foreign(here, parent) == ""
    parent["metadata"]["namespace"] = "default"
    assert why_foreign(here, parent) == ""


def test_only_tektons_task_runs_are_tasks_and_what_is_no_mapping_is_left_out() -> None:
    references = [
        task_reference("c"),
        {**task_reference("c"), "apiVersion": "tekton.dev/v1beta1"},
        {**task_reference("c"), "apiVersion": "example.com/v1"},
        {**task_reference("c"), "kind": "CustomRun"},
        {"kind": "TaskRun", "name": "c"},
        7,
    ]
    found = child_references({"status": {"childReferences": references}})
    assert [names_a_task(each) for each in found] == [True, True, False, False, False]
    for broken in ({}, {"status": None}, {"status": {"childReferences": "x"}}):
        assert child_references(broken) == []
