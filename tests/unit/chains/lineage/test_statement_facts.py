"""What is read out of statements: of both versions of provenance, of reports, and of strangers' formats."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.lineage.statement_facts import Facts, Input, Role, digests_of, moment_of, read_facts
from chains.statements.statement import SCAI, SLSA_V02, SLSA_V1, STATEMENT_V1, parse_statement

Json = Any
SHA = "0" * 64


def read(kind: str, predicate: Json, subjects: Json = None) -> Facts:
    statement = {
        "_type": STATEMENT_V1,
        "subject": subjects or [{"name": "a", "digest": {"sha256": SHA}}],
        "predicateType": kind,
        "predicate": predicate,
    }
    return read_facts(parse_statement(json.dumps(statement).encode()))


def test_tektons_dependencies_have_the_roles_that_their_names_say() -> None:
    facts = read(
        SLSA_V1,
        {
            "buildDefinition": {
                "buildType": "https://tekton.dev/chains/v2/slsa",
                "resolvedDependencies": [
                    {"name": "task", "uri": "git+https://a", "digest": {"sha1": "1" * 40}},
                    {"name": "stepAction/x", "uri": "git+https://b", "digest": {"sha1": "2" * 40}},
                    {"uri": "oci://r.example/step", "digest": {"sha256": "3" * 64}},
                    {"name": "inputs/result", "uri": "git+https://c", "digest": {"sha1": "4" * 40}},
                    {"name": "inputs/result", "uri": "r.example/base", "digest": {"sha256": "5" * 64}},
                ],
                "externalParameters": {
                    "buildConfigSource": {
                        "ref": f"sha1:{'6' * 40}",
                        "repository": "git+https://d",
                        "path": "p.yaml",
                    },
                    "runSpec": {"pipelineSpec": {"tasks": [{"taskRef": {"name": "inner"}}]}},
                },
                "internalParameters": {"labels": {"tekton.dev/pipeline": "release"}},
            },
            "runDetails": {
                "builder": {"id": "b"},
                "metadata": {"invocationId": "uid", "finishedOn": "2026-01-02T03:04:05+02:00"},
            },
        },
    )
    assert [(one.role, one.uri, one.digests) for one in facts.inputs] == [
        (Role.TASK, "git+https://a", (f"sha1:{'1' * 40}",)),
        (Role.TASK, "git+https://b", (f"sha1:{'2' * 40}",)),
        (Role.STEP_IMAGE, "oci://r.example/step", (f"sha256:{'3' * 64}",)),
        (Role.SOURCE, "git+https://c", (f"sha1:{'4' * 40}",)),
        (Role.DEPENDENCY, "r.example/base", (f"sha256:{'5' * 64}",)),
        (Role.TASK, "git+https://d", (f"sha1:{'6' * 40}",)),
    ]
    assert facts.tasks == {"inner", "release", "p.yaml"}
    assert (facts.builder, facts.run_uid, facts.are_roles_known) == ("b", "uid", True)
    assert facts.stated == datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)


def test_other_builders_dependencies_are_sources_or_dependencies() -> None:
    facts = read(
        SLSA_V1,
        {
            "buildDefinition": {
                "buildType": "https://actions.github.io/buildtypes/workflow/v1",
                "resolvedDependencies": [
                    {"uri": "git+https://github.com/a/b@refs/heads/main", "digest": {"gitCommit": "A" * 40}},
                    {"name": "task", "uri": "oci://r.example/x", "digest": {"sha256": "3" * 64}},
                    {"uri": "oci://r.example/runner", "digest": {"sha256": "4" * 64}},
                ],
            }
        },
    )
    assert [one.role for one in facts.inputs] == [Role.SOURCE, Role.DEPENDENCY, Role.DEPENDENCY]
    assert facts.inputs[0].digests == (f"gitCommit:{'a' * 40}",)


def test_the_old_version_tells_steps_and_tasks_in_other_places() -> None:
    facts = read(
        SLSA_V02,
        {
            "builder": {"id": "b"},
            "materials": [
                {"uri": "oci://r.example/step", "digest": {"sha256": "3" * 64}},
                {"uri": "git+https://c.git", "digest": {"sha1": "4" * 40}},
            ],
            "buildConfig": {
                "tasks": [
                    {
                        "ref": {"bundle": "r.example/bundle:1", "name": "deploy"},
                        "invocation": {
                            "configSource": {"uri": "git+https://e", "digest": {"sha1": "5" * 40}},
                            "environment": {"labels": {"tekton.dev/task": "inner"}},
                        },
                        "steps": [{"environment": {"image": f"oci://r.example/inner@sha256:{'6' * 64}"}}],
                    }
                ]
            },
            "metadata": {"buildFinishedOn": "2026-01-02T03:04:05.5Z"},
        },
    )
    assert facts.inputs == (
        Input(Role.STEP_IMAGE, "oci://r.example/step", (f"sha256:{'3' * 64}",)),
        Input(Role.SOURCE, "git+https://c.git", (f"sha1:{'4' * 40}",)),
        Input(Role.TASK, "git+https://e", (f"sha1:{'5' * 40}",)),
        Input(Role.STEP_IMAGE, "oci://r.example/inner", (f"sha256:{'6' * 64}",)),
    )
    assert facts.tasks == {"r.example/bundle:1", "deploy", "inner"}
    assert facts.stated == datetime(2026, 1, 2, 3, 4, 5, 500000, tzinfo=UTC)
    assert not facts.are_roles_known


def test_a_report_tells_containers_and_never_the_run_itself() -> None:
    def target(name: str, value: str = "7") -> Json:
        return {"name": name, "uri": f"oci://r.example/{value}", "digest": {"sha256": value * 64}}

    facts = read(
        SCAI,
        {
            "attributes": [
                {"attribute": "RUN_OUTCOME", "target": target("taskrun/ci/a"),
                 "conditions": {"uid": "u", "finishedOn": "2026-01-02T03:04:05Z"}},
                {"attribute": "CONTAINER_FACTS", "target": target("step/build", "1"),
                 "conditions": {"imageAsWritten": "r.example/tool:3", "imageInPod": "r.example/tool:3",
                                "imageAsRun": f"docker-pullable://r.example/1@sha256:{'1' * 64}"}},
                {"attribute": "HERMETIC_EXECUTION", "target": target("step/build", "1")},
                {"attribute": "SIDECAR_STATE", "target": target("taskrun/ci/a: sidecar/db", "2")},
                {"attribute": "HINT_REJECTED", "target": {"name": "result", "uri": "taskrun/ci/a#result"}},
            ]
        },
    )  # fmt: skip
    assert [(one.uri, [digest[7] for digest in one.digests]) for one in facts.inputs] == [
        ("oci://r.example/1", ["1"]),
        ("oci://r.example/tool:3", []),
        ("oci://r.example/2", ["2"]),
    ]
    assert {one.role for one in facts.inputs} == {Role.STEP_IMAGE}
    assert (facts.run_uid, facts.stated) == ("u", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))


def test_a_statement_of_an_unknown_format_has_its_subjects() -> None:
    facts = read("https://example.com/test-result", {"materials": [{"uri": "a"}]})
    assert (facts.inputs, facts.products[0].digests) == ((), (f"sha256:{SHA}",))


def test_a_digest_set_has_the_usual_digest_first_and_no_values_of_other_types() -> None:
    values = {"sha512": "B" * 128, "dirHash": "x", "sha256": SHA, "md5": 5, "": "1", "none": None}
    assert digests_of(values) == (f"sha256:{SHA}", f"sha512:{'b' * 128}", "dirHash:x")
    assert digests_of("sha256:1") == ()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    kind=st.sampled_from([SLSA_V1, SLSA_V02, SCAI, "x"]),
    names=st.lists(
        st.sampled_from(
            ["buildDefinition", "resolvedDependencies", "externalParameters", "runSpec", "taskRef", "params",
             "buildConfig", "materials", "steps", "tasks", "environment", "invocation", "attributes", "target",
             "metadata", "finishedOn", "digest", "uri", "labels", "conditions"]
        ),
        min_size=1,
        max_size=4,
    ),
    value=JSON,
    is_list=st.booleans(),
)  # fmt: skip
def test_no_shape_of_a_predicate_raises(kind: str, names: list[str], value: Json, *, is_list: bool) -> None:
    predicate = value
    for name in reversed(names):
        predicate = {name: [predicate] if is_list else predicate}
    read(kind, predicate if isinstance(predicate, dict) else {})


@pytest.mark.parametrize("text", ["", "x", "2026-13-01", "0001-01-01T00:00:00+23:00", "1" * 100])
def test_a_time_that_cannot_be_told_is_none(text: str) -> None:
    assert moment_of(text) is None
