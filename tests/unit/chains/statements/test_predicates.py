"""What the differential test against the peer cannot show: v0.29's own fields, our additions, parsing back."""

import json
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.predicates.scai.v0 import scai_pb2
from in_toto_attestation.v1 import statement_pb2

from chains.isolation.judgement import judge_isolation
from chains.statements import execution_report, slsa_v02, slsa_v1
from chains.statements.redaction import Redaction
from chains.statements.slsa_v1 import Options
from chains.statements.statement import Statement, is_hex_digest, parse_statement
from chains.tekton.snapshot import RunSnapshot, take_snapshot
from tests.owners import owned, task_reference
from tests.runs import pipeline_runs, task_runs

Json = Any
HEX = "0123456789abcdef" * 4
OPTIONS = Options("https://example.com/builder", slsa_v1.SLSA_BUILD_TYPE)


def task_run(status: Json, **metadata: Json) -> RunSnapshot:
    raw = {
        "apiVersion": "tekton.dev/v1", "kind": "TaskRun",
        "metadata": {"name": "r", "namespace": "ns", "uid": "u", **metadata}, "status": status,
    }  # fmt: skip
    return take_snapshot(raw)


def resolved(statement: Statement) -> list[Json]:
    found: list[Json] = json.loads(statement.to_bytes())["predicate"]["buildDefinition"][
        "resolvedDependencies"
    ]
    return found


def test_resolved_step_actions_are_dependencies_of_v2alpha4_alone() -> None:
    source = {"uri": "git+https://git.example.com/actions.git", "digest": {"sha1": "a" * 40}}
    run = task_run(
        {
            "steps": [
                {
                    "name": "build",
                    "imageID": f"img.example.com/x@sha256:{HEX}",
                    "provenance": {"refSource": source},
                }
            ]
        }
    )
    names = [item.get("name") for item in resolved(slsa_v1.build_v2alpha4(run, OPTIONS))]
    assert names == [None, "stepAction/build"]
    assert [item.get("name") for item in resolved(slsa_v1.build_v2alpha3(run, OPTIONS))] == [None]


def test_step_actions_from_one_source_are_all_kept() -> None:
    source = {"uri": "git+https://git.example.com/actions.git", "digest": {"sha1": "a" * 40}}
    steps = [{"name": name, "imageID": f"img.example.com/{name}@sha256:{HEX}", "provenance": {"refSource": source}} for name in ("one", "two")]  # fmt: skip
    names = [
        item.get("name") for item in resolved(slsa_v1.build_v2alpha4(task_run({"steps": steps}), OPTIONS))
    ]
    assert names[2:] == ["stepAction/one", "stepAction/two"]


def test_native_artifacts_count_only_when_asked_for() -> None:
    value = {"uri": "pkg:oci/app", "digest": {"sha256": HEX}}
    status = {
        "artifacts": {
            "inputs": [
                {"name": "source", "values": [{"uri": "git+https://x", "digest": {"sha1": "a" * 40}}]}
            ],
            "outputs": [
                {"name": "image", "buildOutput": True, "values": [value]},
                {"name": "log", "values": [{"uri": "file:log", "digest": {"sha256": HEX}}]},
                {"name": "bad", "buildOutput": True, "values": [{"uri": "x", "digest": {"sha256": "no"}}]},
            ],
        },
        "steps": [
            {
                "name": "s",
                "imageID": f"i.example.com/s@sha256:{HEX}",
                "outputs": [{"name": "image", "buildOutput": True, "values": [value]}],
            }
        ],
    }
    run = task_run(status)
    for build in (slsa_v1.build_v2alpha3, slsa_v1.build_v2alpha4, slsa_v02.build):
        assert build(run, OPTIONS).subjects == ()
        asked = build(run, Options("b", slsa_v1.SLSA_BUILD_TYPE, native=True))
        assert [(item.name, item.digest) for item in asked.subjects] == [("pkg:oci/app", {"sha256": HEX})]
        assert "git+https://x" in asked.to_bytes().decode()


def test_a_pipeline_run_takes_its_children_s_native_artifacts_when_inspected_deeply() -> None:
    value = {"uri": "pkg:oci/app", "digest": {"sha256": HEX}}
    child = {
        "apiVersion": "tekton.dev/v1", "kind": "TaskRun",
        "metadata": {"name": "c", "namespace": "ns", "labels": {"tekton.dev/pipelineTask": "t"}, "ownerReferences": owned("u")},
        "status": {
            "completionTime": "2026-01-02T03:04:05Z",
            "artifacts": {"inputs": [{"name": "i", "values": [value]}], "outputs": [{"name": "o", "buildOutput": True, "values": [value]}]},
        },
    }  # fmt: skip
    raw = {
        "apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
        "status": {"pipelineSpec": {"tasks": [{"name": "t"}]}, "childReferences": [task_reference("c")]},
    }  # fmt: skip
    run = take_snapshot(raw, {("TaskRun", "ns", "c"): child})
    statement = slsa_v1.build_v2alpha4(run, Options("b", slsa_v1.SLSA_BUILD_TYPE, deep=True, native=True))
    assert [item.name for item in statement.subjects] == ["pkg:oci/app"]
    assert [item["uri"] for item in resolved(statement)] == ["pkg:oci/app"]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.one_of(task_runs().map(lambda run: (run, [])), pipeline_runs()),
    st.sampled_from([slsa_v1.build_v2alpha3, slsa_v1.build_v2alpha4, slsa_v02.build]),
    st.booleans(),
)
def test_every_statement_is_parsed_back_by_in_toto_s_own_bindings(
    run_and_children: tuple[Json, list[Json]], build: Any, deep: bool
) -> None:
    raw, children = run_and_children
    run = take_snapshot(raw, {("TaskRun", "ns", child["metadata"]["name"]): child for child in children})
    provenance = build(run, Options("https://example.com/b", slsa_v1.SLSA_BUILD_TYPE, deep=deep))
    report = execution_report.build_execution_report(
        run, provenance.subjects, judge_isolation(run), Redaction()
    )
    for statement, predicate in (
        (provenance, provenance_pb2.Provenance()),
        (report, scai_pb2.AttributeReport()),
    ):
        text = statement.to_bytes().decode()
        parsed = json_format.Parse(text, statement_pb2.Statement())
        assert parsed.predicate_type == statement.predicate_type
        assert len(parsed.subject) == len(statement.subjects)
        if build is not slsa_v02.build or statement is report:
            json_format.Parse(json.dumps(json.loads(text)["predicate"]), predicate)
        assert all(
            is_hex_digest(value) for item in statement.subjects for value in (item.digest or {}).values()
        )
        assert parse_statement(statement.to_bytes()).subjects == tuple(
            type(item)(name=item.name, digest=item.digest) for item in statement.subjects
        )
        assert (
            build(run, Options("https://example.com/b", slsa_v1.SLSA_BUILD_TYPE, deep=deep)).to_bytes()
            == provenance.to_bytes()
        )


@pytest.mark.parametrize(
    ("condition", "word"),
    [
        ({"type": "Succeeded", "status": "True"}, "succeeded"),
        ({"type": "Succeeded", "status": "False", "reason": "TaskRunImagePullFailed"}, "failed"),
        ({"type": "Succeeded", "status": "False", "reason": "TaskRunCancelled"}, "cancelled"),
        ({"type": "Succeeded", "status": "False", "reason": "TaskRunTimeout"}, "timed-out"),
        ({"type": "Succeeded", "status": "Unknown"}, "unfinished"),
        ({"type": "Ready", "status": "True"}, "unfinished"),
    ],
)
def test_the_outcome_is_told(condition: Json, word: str) -> None:
    assert execution_report.outcome(task_run({"conditions": [condition]})) == word


def attributes(run: RunSnapshot) -> list[Json]:
    report = execution_report.build_execution_report(run, (), judge_isolation(run), Redaction())
    found: list[Json] = json.loads(report.to_bytes())["predicate"]["attributes"]
    return found


def test_a_run_without_artifacts_is_its_own_subject() -> None:
    run = task_run({})
    report = execution_report.build_execution_report(run, (), judge_isolation(run), Redaction())
    assert report.subjects[0].name == "taskrun/ns/r"
    assert report.subjects[0].digest == {"sha256": run.digest}


def test_the_report_tells_what_the_compatible_statement_leaves_out() -> None:
    run = task_run(
        {
            "results": [{"name": "IMAGE_URL", "value": "x"}],
            "steps": [
                {"name": "a", "imageID": "sha256:abc", "results": [{"name": "IMAGES", "value": ["x"]}]}
            ],
            "surprise": True,
        }
    )
    found = {
        (item["attribute"], item["target"]["name"]): item["conditions"]["reason"]
        for item in attributes(run)[3:]
    }
    assert found == {
        ("FIELD_DROPPED", "status.surprise"): "not a field of tekton's types",
        ("HINT_REJECTED", "IMAGE_URL"): "no result IMAGE_DIGEST to go with it",
        ("HINT_REJECTED", "IMAGES"): "expected a string of images, got a list or an object",
        ("IMAGE_WITHOUT_DIGEST", "a"): "image id 'sha256:abc' holds no digest",
    }


def test_children_without_a_record_are_in_the_report() -> None:
    raw = {
        "apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": {"name": "p", "namespace": "ns"},
        "status": {"childReferences": [{"kind": "CustomRun", "name": "c", "pipelineTaskName": "approve"}]},
    }  # fmt: skip
    found = [item for item in attributes(take_snapshot(raw)) if item["attribute"] == "CHILD_WITHOUT_RECORD"]
    assert found[0]["target"]["name"] == "customrun/ns/c"
    assert found[0]["conditions"]["pipelineTask"] == "approve"
