"""Texts and lists that are made to cost time or memory: each took minutes, hours or gigabytes once.

Nothing here measures time: what is read again and again does not end.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from chains.attest.payloads import EXECUTION_REPORT, build_payloads, warnings
from chains.config.parse import parse_config
from chains.documents.load import load_documents
from chains.errors import InputError
from chains.isolation.entrypoint import images_that_decide
from chains.isolation.environment import Environment, Value
from chains.isolation.expected_pod import differences, expected_containers
from chains.isolation.finding import Level
from chains.isolation.judgement import judge_isolation
from chains.isolation.pod import MOST_CONTAINERS, MOST_MOUNTS, MOST_VOLUMES
from chains.statements import slsa_v02
from chains.statements.execution_report import MOST_DROPPED
from chains.statements.slsa_v1 import SLSA_BUILD_TYPE, Options
from chains.tekton.container import parse_container
from chains.tekton.pod import parse_pod
from chains.tekton.snapshot import RunSnapshot, take_snapshot
from chains.tekton.surroundings import parse_surroundings
from tests.faults.hermetic import objects
from tests.owners import owned, task_reference

Json = Any
LARGE = 500_000
"""Characters: an object in a cluster has up to three times as many."""
LABEL = "taskrun/ci/build"
OPTIONS = Options("https://example.com/builder", SLSA_BUILD_TYPE)


def pipeline_run(value: str) -> RunSnapshot:
    """Return a PipelineRun whose second task has a parameter with that value."""
    child = {
        "apiVersion": "tekton.dev/v1", "kind": "TaskRun",
        "metadata": {"name": "c", "namespace": "ns", "uid": "c", "ownerReferences": owned("u"),
                     "labels": {"tekton.dev/pipelineTask": "second"}},
        "status": {"completionTime": "2026-01-02T03:04:05Z", "taskSpec": {"steps": []}},
    }  # fmt: skip
    tasks = [{"name": "first"}, {"name": "second", "params": [{"name": "p", "value": value}]}]
    raw = {
        "apiVersion": "tekton.dev/v1", "kind": "PipelineRun",
        "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
        "status": {"pipelineSpec": {"tasks": tasks}, "childReferences": [task_reference("c", "second")]},
    }  # fmt: skip
    return take_snapshot(raw, {("TaskRun", "ns", "c"): child})


@pytest.mark.parametrize(
    ("value", "after"),
    [
        ("$(" + "." * LARGE, None),
        ("$(tasks.first.results.x" + ".a" * LARGE, None),
        ("$(tasks.first.results." + "9" * LARGE + ")", ["first"]),
        ("$(" * LARGE + "$(tasks.first.results.x)", ["first"]),
        ("$(tasks.first.results.x[0])$(tasks.first.results.y[*])", ["first"]),
        ("$(tasks.first.results.x[a])", None),
    ],
    ids=["dots", "no end", "long", "many beginnings", "indexes", "no index"],
)
def test_references_to_results_are_found_in_any_text(value: str, after: list[str] | None) -> None:
    statement = json.loads(slsa_v02.build(pipeline_run(value), OPTIONS).to_bytes())
    (task,) = statement["predicate"]["buildConfig"]["tasks"]
    assert task.get("after") == after


@pytest.mark.parametrize(
    ("asked", "there", "is_as_asked"),
    [
        ("$(" * LARGE, "x", False),
        ("$(a)b" * 2000 + "c", "b" * 4000, False),
        ("$(a)b" * 2000 + "$(a)", "b" * 4000, True),
        ("a$(x)b$(y)c", "abc", True),
        ("a$(x)b$(y)c", "a\n1b2b3c", True),
        ("a$(x)b$(y)c", "abb", False),
        ("ab$(x)ba", "aba", False),
        ("$(x)", "", True),
        ("a)$(x", "a)$(x", True),
    ],
)
def test_place_holders_stand_for_anything(asked: str, there: str, is_as_asked: bool) -> None:
    found = objects("nothing-wrong")
    run, pod = found["TaskRun"], found["Pod"]
    run["status"]["taskSpec"]["steps"][0]["workingDir"] = asked
    pod["spec"]["containers"][0]["workingDir"] = there
    snapshot = take_snapshot(run)
    told = differences(
        expected_containers(snapshot)[0], parse_container(pod["spec"]["containers"][0]), snapshot
    )
    assert told == ([] if is_as_asked else ["the working folder is another one"])


def test_variables_that_double_each_other_are_not_known() -> None:
    env = [{"name": "A0", "value": "x" * 64}]
    env += [{"name": f"A{n}", "value": f"$(A{n - 1})$(A{n - 1})"} for n in range(1, 60)]
    found = Environment(parse_container({"env": env}))
    assert found.get("A11") == Value("x" * (64 << 11))
    assert found.get("A12") == Value(None, "the environment is longer than one that is read")
    assert found.get("A59") == Value(None, "it refers to A58, which is not known")


def test_variables_are_bounded_together() -> None:
    env = [{"name": "A", "value": "x" * 100_000}, *({"name": f"B{n}", "value": "$(A)"} for n in range(100))]
    found = Environment(parse_container({"env": env}))
    known = [found.get(f"B{n}") for n in range(100)]
    assert known[8] == Value("x" * 100_000)
    assert set(known[9:]) == {Value(None, "the environment is longer than one that is read")}


def test_an_environment_of_many_references_and_sources_is_read_once() -> None:
    sources = [{"prefix": f"P{n}_", "secretRef": {"name": f"s{n}"}} for n in range(20_000)]
    env = [{"name": "A", "value": "$(" * LARGE}, {"name": "B", "value": "$(Q)" * 100_000}]
    env += [{"name": f"C{n}", "value": f"$(P{n}_x)"} for n in range(20_000)]
    found = Environment(parse_container({"env": env, "envFrom": sources}))
    assert found.get("A") == Value(None, "the environment is longer than one that is read")
    assert found.get("B") == Value(None, "it refers to Q, which is not known")
    assert found.get("C19999") == Value(None, "it refers to P19999_x, which is not known")
    assert found.get("P19999_x") == Value(
        None, "envFrom: Secret s19999, and what that held when the container started is not recorded"
    )


def _containers(pod: Json, count: int) -> None:
    extra = [{"name": f"more{n}", "image": "x"} for n in range(count)]
    pod["spec"]["containers"] += extra


def _mounts(pod: Json, count: int) -> None:
    mounts = [{"name": "tekton-internal-x", "mountPath": f"/x{n}"} for n in range(count)]
    pod["spec"]["containers"][0]["volumeMounts"] += mounts


def _volumes(pod: Json, count: int) -> None:
    pod["spec"]["volumes"] += [{"name": f"v{n}", "emptyDir": {}} for n in range(count)]


@pytest.mark.parametrize(
    ("make", "most", "what"),
    [
        (_containers, MOST_CONTAINERS, "the pod has {} containers, more than the 250 that are judged"),
        (_mounts, MOST_MOUNTS, "container step-compile has {} volume mounts, more than the 100 that are judged"),
        (_volumes, MOST_VOLUMES, "the pod has {} volumes, more than the 500 that are judged"),
    ],
)  # fmt: skip
def test_a_pod_of_more_parts_than_can_be_compared_proves_nothing(make: Any, most: int, what: str) -> None:
    found = objects("nothing-wrong")
    run, pod = take_snapshot(found["TaskRun"]), found["Pod"]
    within = copy.deepcopy(pod)
    parts = {"_containers": [*pod["spec"]["containers"], *pod["spec"]["initContainers"]],
             "_mounts": pod["spec"]["containers"][0]["volumeMounts"], "_volumes": pod["spec"]["volumes"]}  # fmt: skip
    there = len(parts[make.__name__])
    make(within, most - there)
    make(pod, most - there + 1)
    isolation = judge_isolation(run, {LABEL: parse_surroundings(pod=pod)})
    assert (isolation.level, isolation.pod) == (Level.UNKNOWN, None)
    assert isolation.reason == f"step/compile: {what.format(most + 1)}"
    assert images_that_decide(run, parse_surroundings(pod=pod)) == []
    assert judge_isolation(run, {LABEL: parse_surroundings(pod=within)}).pod == parse_pod(within)


def test_a_run_of_thousands_of_steps_is_judged() -> None:
    found = objects("nothing-wrong")
    run, pod = found["TaskRun"], found["Pod"]
    steps = run["status"]["taskSpec"]["steps"]
    steps += [{"name": f"s{n}", "image": "x"} for n in range(5000)]
    run["status"]["steps"] += [{"name": f"s{n}", "imageID": f"i{n}"} for n in range(5000)]
    isolation = judge_isolation(take_snapshot(run), {LABEL: parse_surroundings(pod=pod)})
    assert isolation.level != Level.ENFORCED
    assert [one.image for one in isolation.containers][-1] == "i4999"


def test_a_name_that_comes_twice_among_very_many_is_found() -> None:
    members = ",".join(f'"k{n}":1' for n in range(150_000))
    with pytest.raises(InputError, match=r"^f: key 'k149999' comes twice in one object"):
        load_documents(f'{{{members},"k149999":1}}'.encode(), "f")


@pytest.mark.parametrize(
    "value",
    ['!!int "1' + ":1" * LARGE + '"', '!!float "1' + ":1" * LARGE + '"', "!!set {x}", "!!omap [x: 1]", "!!binary aGk=",
     "!!timestamp 2001-01-01", "!!pairs [x: 1]", "!!python/name:os.system ''", "!own {x: 1}"],
    ids=lambda value: value[:7],
)  # fmt: skip
def test_yaml_says_no_more_than_json(value: str) -> None:
    with pytest.raises(InputError, match=r"^f\.yaml: not YAML as JSON has it: tag '[^']*'; write the value"):
        load_documents(f"a: {value}".encode(), "f.yaml")


def test_yaml_may_say_that_a_value_is_text() -> None:
    assert load_documents(b"a: !!str 5\nb: 6", "f.yaml") == [{"a": "5", "b": 6}]


def test_a_child_that_is_named_again_and_again_is_one_child() -> None:
    child = {
        "apiVersion": "tekton.dev/v1", "kind": "TaskRun",
        "metadata": {"name": "c", "namespace": "ns", "uid": "c", "ownerReferences": owned("u")},
    }  # fmt: skip
    raw = {
        "apiVersion": "tekton.dev/v1", "kind": "PipelineRun",
        "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
        "status": {"childReferences": [task_reference("c"), task_reference("gone")] * 10_000},
    }  # fmt: skip
    run = take_snapshot(raw, {("TaskRun", "ns", "c"): child})
    assert [one.uid for one in run.children] == ["c"]
    assert [gap.name for gap in run.gaps] == ["gone"]


def test_a_result_of_countless_mistakes_is_told_in_part() -> None:
    run = objects("nothing-wrong")["TaskRun"]
    run["status"]["results"] = [{"name": "IMAGES", "type": "string", "value": ",@" * (LARGE // 2)}]
    snapshot = take_snapshot(run)
    payloads = build_payloads(snapshot, parse_config({}), {LABEL: parse_surroundings()})
    (report,) = (json.loads(each.statement) for each in payloads if each.kind == EXECUTION_REPORT)
    told = [one for one in report["predicate"]["attributes"] if one["attribute"] == "HINT_REJECTED"]
    assert len(told) == MOST_DROPPED + 1
    assert told[-1]["target"]["name"] == LABEL
    assert told[-1]["conditions"]["reason"] == f"more than {MOST_DROPPED} are left out: these are not all"
    assert len(warnings(snapshot)) == MOST_DROPPED + 1


def test_a_long_value_that_is_not_taken_is_told_cut() -> None:
    run = objects("nothing-wrong")["TaskRun"]
    run["status"]["results"] = [{"name": "IMAGES", "type": "string", "value": "x" * LARGE}]
    (told,) = warnings(take_snapshot(run))
    assert (
        told
        == f"IMAGES: '{'x' * 256}… ({LARGE} characters)' is no image with a sha256 digest (hint rejected)"
    )
