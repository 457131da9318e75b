"""What Tekton changes on a run after its end: neither attested nor taken for tampering, and nothing else passes."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from chains.attest.payloads import build_payloads, warnings
from chains.config.parse import parse_config
from chains.tekton.late_changes import BOOKKEEPING, STOPPED, is_replaced, settled, sidecar_differences
from chains.tekton.snapshot import RunSnapshot, take_snapshot
from chains.verify.render import to_text
from tests.owners import owned, task_reference
from tests.unit.chains.verify.test_runs import ask, config, results, signed

Json = Any
BEGAN, ENDED, STOPPED_AT = "2026-01-02T03:04:05Z", "2026-01-02T03:05:05Z", "2026-01-02T03:05:36Z"
NOP = f"ghcr.io/tektoncd/pipeline/nop-8eac7c133edad5df719dc37b36b62482@sha256:{'ea' * 32}"
DB = f"registry.example/busybox-other@sha256:{'db' * 32}"
STEP = f"registry.example/busybox@sha256:{'57' * 32}"
NATIVE_FORMATS = ("in-toto", "slsa/v2alpha3", "slsa/v2alpha4")


def sidecar(name: str = "db", image: str = DB, **state: Json) -> Json:
    """A sidecar as Tekton tells it when the steps have ended: it goes on running."""
    return {
        "name": name, "container": f"sidecar-{name}", "imageID": image,
        **(state or {"running": {"startedAt": BEGAN}}),
    }  # fmt: skip


def stopped(name: str = "db", **other: Json) -> Json:
    """The same sidecar half a minute later, as ``updateStoppedSidecarStatus`` writes it."""
    ended = {
        "exitCode": 137, "reason": "Completed", "message": STOPPED, "startedAt": BEGAN, "finishedAt": STOPPED_AT,
        "containerID": "containerd://0f", **other,
    }  # fmt: skip
    return sidecar(name, NOP, terminated=ended)


def not_started(name: str = "db", **other: Json) -> Json:
    """The same where Tekton's image lacks the sidecar's command, and the kubelet forgot what ran before."""
    ended = {
        "exitCode": 128, "reason": "StartError", "startedAt": "1970-01-01T00:00:00Z", "finishedAt": STOPPED_AT,
        "message": 'OCI runtime create failed: exec: "sleep": executable file not found in $PATH',
        "containerID": "containerd://26", **other,
    }  # fmt: skip
    return sidecar(name, NOP, terminated=ended)


def begun_anew(name: str = "db", **other: Json) -> Json:
    """The same where Tekton's image ran, and the kubelet forgot what ran before."""
    ended = {
        "exitCode": 1, "reason": "Error", "startedAt": STOPPED_AT, "finishedAt": STOPPED_AT,
        "containerID": "containerd://75", **other,
    }  # fmt: skip
    return sidecar(name, NOP, terminated=ended)


LATE = (stopped, not_started, begun_anew)
"""The records that Tekton v1.15.0 left on a node: which of them is chance."""


def task(*sidecars: Json, name: str = "build", asked: str = "registry.example/busybox-other:1") -> Json:
    state = {
        "exitCode": 0,
        "reason": "Completed",
        "startedAt": BEGAN,
        "finishedAt": ENDED,
        "containerID": "containerd://1",
    }
    spec = {
        "steps": [{"name": "s", "image": "registry.example/busybox:1", "script": "true"}],
        "sidecars": [{"name": one["name"], "image": asked} for one in sidecars],
    }
    return {
        "apiVersion": "tekton.dev/v1", "kind": "TaskRun",
        "metadata": {"name": name, "namespace": "ns", "uid": f"uid-{name}", "annotations": {"a": "b"}},
        "spec": {"taskSpec": copy.deepcopy(spec)},
        "status": {
            "conditions": [{"type": "Succeeded", "status": "True", "reason": "Succeeded"}], "podName": f"{name}-pod",
            "startTime": BEGAN, "completionTime": ENDED, "taskSpec": spec,
            "steps": [{"name": "s", "container": "step-s", "imageID": STEP, "terminated": state}],
            **({"sidecars": list(sidecars)} if sidecars else {}),
        },
    }  # fmt: skip


def with_sidecars(run: Json, *sidecars: Json) -> Json:
    return {**run, "status": {**run["status"], "sidecars": list(sidecars)}}


def frozen(run: Json, *children: Json) -> RunSnapshot:
    return take_snapshot(run, {("TaskRun", "ns", one["metadata"]["name"]): one for one in children})


def pipeline(*children: Json) -> RunSnapshot:
    names = [one["metadata"]["name"] for one in children]
    owned_ones = []
    for one in children:
        metadata = {
            **one["metadata"],
            "ownerReferences": owned("uid-p"),
            "labels": {"tekton.dev/pipelineTask": one["metadata"]["name"]},
        }
        owned_ones.append({**one, "metadata": metadata})
    run = {
        "apiVersion": "tekton.dev/v1", "kind": "PipelineRun",
        "metadata": {"name": "p", "namespace": "ns", "uid": "uid-p"},
        "status": {
            "conditions": [{"type": "Succeeded", "status": "True"}], "startTime": BEGAN, "completionTime": ENDED,
            "pipelineSpec": {"tasks": [{"name": name} for name in names]},
            "childReferences": [task_reference(name, name) for name in names],
        },
    }  # fmt: skip
    return frozen(run, *owned_ones)


def dependencies(run: RunSnapshot, name: str = "slsa/v2alpha4") -> list[str]:
    (payload, *_) = build_payloads(run, parse_config(config(name)))
    predicate = json.loads(payload.statement)["predicate"]
    listed = predicate.get("materials") or predicate.get("buildDefinition", {}).get(
        "resolvedDependencies", []
    )
    return [f"{item['uri']}@sha256:{item['digest']['sha256']}" for item in listed]


def attributes(run: RunSnapshot) -> dict[str, list[Json]]:
    found: dict[str, list[Json]] = {}
    payload = next(
        one for one in build_payloads(run, parse_config(config("in-toto"))) if one.kind == "execution-report"
    )
    for one in json.loads(payload.statement)["predicate"]["attributes"]:
        found.setdefault(one["attribute"], []).append(one)
    return found


@pytest.mark.parametrize("ended", LATE)
@pytest.mark.parametrize("name", NATIVE_FORMATS)
def test_in_time_the_sidecars_own_image_is_a_dependency_and_late_its_replacement_is_none(
    name: str, ended: Callable[[], Json]
) -> None:
    in_time, late = frozen(task(sidecar())), frozen(task(ended()))
    assert dependencies(in_time, name) == [f"oci://{STEP}", f"oci://{DB}"]
    assert dependencies(late, name) == [f"oci://{STEP}"]
    assert dependencies(pipeline(task(sidecar())), name) == [f"oci://{STEP}", f"oci://{DB}"]
    assert dependencies(pipeline(task(ended())), name) == [f"oci://{STEP}"]


@pytest.mark.parametrize("ended", LATE)
def test_late_the_gap_is_told_with_what_the_task_asks_for(ended: Callable[[], Json]) -> None:
    late = frozen(task(ended()))
    (gap,) = attributes(late)["SIDECAR_REPLACED"]
    assert gap["target"]["name"] == "db"
    assert f"tekton stopped it by the image {NOP}" in gap["conditions"]["reason"]
    assert (
        "what the task asks for, registry.example/busybox-other:1, has no digest"
        in gap["conditions"]["reason"]
    )
    (record,) = attributes(late)["SIDECAR_STATE"]
    assert NOP not in json.dumps(record["target"])
    assert record["conditions"] == {"run": "taskrun/ns/build", "record": ended()}
    assert [text for text in warnings(late) if "sidecar replaced" in text]
    assert "SIDECAR_REPLACED" not in attributes(frozen(task(sidecar())))
    assert "IMAGE_WITHOUT_DIGEST" not in attributes(frozen(task(with_waiting())))
    child = attributes(pipeline(task(ended())))["SIDECAR_REPLACED"]
    assert [one["target"]["name"] for one in child] == ["taskrun/ns/build: db"]


def with_waiting() -> Json:
    """The replacement is still being pulled, so there is no image id at all."""
    return {**stopped(), "imageID": ""}


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (f"registry.example/busybox-other:1@sha256:{'db' * 32}", f"oci://{DB}"),
        (f"postgres@sha256:{'db' * 32}", f"oci://docker.io/library/postgres@sha256:{'db' * 32}"),
        ("$(params.image)", ""),
        ("", ""),
    ],
)
def test_late_what_the_task_pins_by_digest_is_told_in_place_of_what_ran(asked: str, told: str) -> None:
    found = dependencies(frozen(task(stopped(), asked=asked)))
    assert found == [f"oci://{STEP}", *([told] if told else [])]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"running": {"startedAt": BEGAN}}, False),
        (
            {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": BEGAN, "finishedAt": ENDED}},
            False,
        ),
        (
            {
                "terminated": {
                    "exitCode": 0,
                    "reason": "Completed",
                    "startedAt": BEGAN,
                    "finishedAt": STOPPED_AT,
                }
            },
            False,
        ),
        ({"waiting": {"reason": "ContainerCreating"}}, False),
        ({"running": {"startedAt": STOPPED_AT}}, True),
        ({"terminated": {"exitCode": 0, "startedAt": STOPPED_AT, "finishedAt": STOPPED_AT}}, True),
        (
            {"terminated": {"exitCode": 0, "startedAt": BEGAN, "finishedAt": STOPPED_AT, "message": STOPPED}},
            True,
        ),
        (not_started(), True),
        ({"terminated": {"exitCode": 128, "startedAt": None, "finishedAt": STOPPED_AT}}, True),
        ({"terminated": {"exitCode": 128, "startedAt": "1970-01-01T00:00:00Z", "finishedAt": ENDED}}, False),
        ({"terminated": {"exitCode": 128, "startedAt": "1970-01-01T00:00:00Z", "finishedAt": BEGAN}}, False),
        ({}, False),
    ],
)
def test_a_replacement_is_known_by_tektons_words_or_by_its_beginning(state: Json, expected: bool) -> None:
    assert is_replaced({"name": "db", **state}, ENDED) is expected


def test_the_digest_of_a_run_outlasts_what_changes_after_its_end() -> None:
    run = task(sidecar())
    digest = frozen(run).digest
    later = with_sidecars(run, stopped())
    notes = dict.fromkeys(BOOKKEEPING, "x")
    later["metadata"] = {
        **later["metadata"], "annotations": {"a": "b", **notes}, "labels": notes, "resourceVersion": "9",
        "deletionTimestamp": STOPPED_AT, "deletionGracePeriodSeconds": 0,
    }  # fmt: skip
    assert frozen(later).digest == digest
    assert frozen(with_sidecars(run)).digest == digest
    assert pipeline(later).digest == pipeline(run).digest
    assert frozen(later).data != frozen(run).data, "what is kept beside evidence is the run as it came"
    without = task()
    assert settled(without) is without
    assert frozen({**run, "metadata": {**run["metadata"], "annotations": {"a": "c"}}}).digest != digest


# verification


def verdict(run: RunSnapshot, evidence: RunSnapshot, name: str, **more: str) -> Any:
    return ask(
        run, *signed(evidence, config(name) | {key.replace("__", "."): value for key, value in more.items()})
    )


@pytest.mark.parametrize("report", ["true", "false"])
@pytest.mark.parametrize("name", NATIVE_FORMATS)
@pytest.mark.parametrize("kind", ["slsa", "slsa-tekton"])
def test_an_export_of_any_time_verifies_by_evidence_made_in_time(name: str, kind: str, report: str) -> None:
    keys = {"execution__report": report, "builddefinition__buildtype": f"https://tekton.dev/chains/v2/{kind}"}
    steps = (
        [sidecar()], [sidecar(running={"startedAt": BEGAN})], [with_waiting()], *([each()] for each in LATE),
    )  # fmt: skip
    for now in steps:
        for freeze in (frozen, pipeline):
            found = verdict(
                freeze(with_sidecars(task(sidecar()), *now)), freeze(task(sidecar())), name, **keys
            )
            if now or report == "true":
                assert found.verdict.value == "VERIFIED", (now, to_text(found, verbose=True))
            if now and "terminated" in now[0]:
                assert "sidecar db of taskrun/ns/build" in to_text(found, verbose=True)


@pytest.mark.parametrize("name", NATIVE_FORMATS)
def test_evidence_made_late_verifies_every_export_and_says_what_was_not_compared(name: str) -> None:
    for now, then in itertools.product((sidecar, *LATE), LATE):
        for freeze in (frozen, pipeline):
            found = verdict(freeze(with_sidecars(task(sidecar()), now())), freeze(task(then())), name)
            assert found.verdict.value == "VERIFIED", to_text(found, verbose=True)
    assert results(found)["statement-matches-run"] == "pass"


def test_annotations_in_which_others_keep_their_books_are_no_tampering() -> None:
    run = task(sidecar())
    noted = {
        **run,
        "metadata": {**run["metadata"], "annotations": {"a": "b", "results.tekton.dev/stored": "true"}},
    }
    for name, kind in itertools.product(NATIVE_FORMATS, ("slsa", "slsa-tekton")):
        for freeze in (frozen, pipeline):
            keys = {"builddefinition__buildtype": f"https://tekton.dev/chains/v2/{kind}"}
            for one, other in ((run, noted), (noted, run)):
                assert verdict(freeze(one), freeze(other), name, **keys).verdict.value == "VERIFIED"


EVIL = f"registry.example/evil@sha256:{'66' * 32}"
TAMPERED: dict[str, tuple[Callable[[Json], None], bool]] = {
    # how a file is changed, and whether the sidecars in it are those of the end
    "image id in time": (lambda one: one.update(imageID=EVIL), False),
    "began in time": (lambda one: one["running"].update(startedAt="2026-01-02T03:04:06Z"), False),
    "name in time": (lambda one: one.update(name="dc"), False),
    "container in time": (lambda one: one.update(container="sidecar-dc"), False),
    "another field in time": (lambda one: one.update(terminationReason="x"), False),
    "two states in time": (lambda one: one.update(waiting={"reason": "x"}), False),
    "a field of no state in time": (lambda one: one["running"].update(x=1), False),
    "a field of no state late": (lambda one: one["terminated"].update(x=1), True),
    "ended by itself with another image": (
        lambda one: one.update(running=None, imageID=EVIL, terminated={"exitCode": 0, "startedAt": BEGAN}), False,
    ),
    "name late": (lambda one: one.update(name="dc"), True),
    "container late": (lambda one: one.update(container="sidecar-dc"), True),
    "began late": (lambda one: one["terminated"].update(startedAt="2026-01-02T03:04:06Z"), True),
    "reason late": (lambda one: one["terminated"].update(reason="Error"), True),
    "message late": (lambda one: one["terminated"].update(message="stopped"), True),
    "another field late": (lambda one: one.update(results=[]), True),
}  # fmt: skip


@pytest.mark.parametrize("what", TAMPERED)
def test_a_sidecar_that_somebody_else_changed_is_tampering(what: str) -> None:
    change, late = TAMPERED[what]
    now = stopped() if late else sidecar()
    change(now)
    now = {key: value for key, value in now.items() if value is not None}
    for freeze in (frozen, pipeline):
        run = freeze(with_sidecars(task(sidecar()), now))
        found = verdict(run, freeze(task(sidecar())), "slsa/v2alpha4")
        assert found.verdict.value == "FAILED", to_text(found, verbose=True)
        assert found.to_json()["verdict"] == "FAILED"


def test_sidecars_that_come_or_go_are_tampering() -> None:
    for signed_ones, now in (
        ([], [sidecar()]), ([], [stopped()]), ([sidecar()], [sidecar(), sidecar("dc")]),
        ([sidecar()], [stopped(), stopped("dc")]), ([sidecar(), sidecar("dc")], [stopped()]),
        ([sidecar(terminated={"exitCode": 0, "startedAt": BEGAN})], []),
        ([sidecar()], []),
    ):  # fmt: skip
        run = with_sidecars(task(sidecar()), *now)
        found = verdict(frozen(run), frozen(with_sidecars(task(sidecar()), *signed_ones)), "slsa/v2alpha4")
        assert found.verdict.value == "FAILED", (signed_ones, now)


def test_what_tekton_never_changes_is_compared_in_a_late_export_too() -> None:
    """Every value of the run but those of its sidecars, one after the other."""
    run = task(sidecar())
    evidence = signed(frozen(run), config("slsa/v2alpha4"))
    late = with_sidecars(run, stopped())
    assert ask(frozen(late), *evidence).verdict.value == "VERIFIED"
    paths = [
        path for path in _leaves(late) if path[:2] not in {("status", "sidecars"), ("apiVersion",), ("kind",)}
    ]
    assert len(paths) > 25
    for path in paths:
        changed = copy.deepcopy(late)
        holder: Json = changed
        for key in path[:-1]:
            holder = holder[key]
        value = holder[path[-1]]
        holder[path[-1]] = (
            7
            if isinstance(value, int)
            else f"{value}x"
            if not str(value).endswith("Z")
            else "2025-01-02T03:04:05Z"
        )
        try:
            snapshot = frozen(changed)
        except Exception:  # noqa: BLE001 - a run that cannot be read verifies nowhere
            continue
        if not snapshot.is_done:
            continue
        found = ask(snapshot, *evidence)
        assert found.verdict.value in {"FAILED", "NOT_FOUND"}, path


def _leaves(value: Json, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in _leaves(item, (*path, key))]
    if isinstance(value, list):
        return [leaf for key, item in enumerate(value) for leaf in _leaves(item, (*path, key))]
    return [path]


def test_without_a_report_the_room_for_a_sidecars_image_hides_no_other_change() -> None:
    """A step's image that is changed to another one of the run leaves one image more in what was signed."""
    keys = config("slsa/v2alpha4") | {"execution.report": "false"}
    other = f"registry.example/other@sha256:{'0d' * 32}"
    run = task(sidecar(image=other), asked="registry.example/other:1")
    second = {**copy.deepcopy(run["status"]["steps"][0]), "name": "t", "imageID": other}
    run["status"]["steps"].append(second)
    run["status"]["taskSpec"]["steps"].append({"name": "t", "image": "registry.example/other:1"})
    evidence = signed(frozen(run), keys)
    late = with_sidecars(run, stopped())
    assert ask(frozen(late), *evidence).verdict.value == "VERIFIED"
    late = copy.deepcopy(late)
    late["status"]["steps"][0]["imageID"] = other
    assert ask(frozen(late), *evidence).verdict.value == "FAILED"


def test_while_another_sidecar_goes_on_one_that_was_stopped_is_told_of_in_several_ways() -> None:
    """Tekton writes them all anew each time; what was killed is first told as it was, then as forgotten."""
    goes_on = sidecar("dc")
    killed = {"exitCode": 137, "reason": "Error", "startedAt": BEGAN, "finishedAt": STOPPED_AT}
    first = sidecar(terminated={**killed, "containerID": "containerd://0f"})
    began_too = sidecar(image=NOP, running={"startedAt": STOPPED_AT})
    for one, other in itertools.product((sidecar(), first, began_too, *(each() for each in LATE)), repeat=2):
        for also in (goes_on, stopped("dc")):
            assert not list(sidecar_differences([one, goes_on], [other, also], ENDED)), (one, other)
    for record in (not_started(), begun_anew()):
        earlier = sidecar(terminated={**killed, "finishedAt": BEGAN, "containerID": "containerd://0f"})
        (difference,) = sidecar_differences([earlier, goes_on], [record, stopped("dc")], ENDED)
        assert difference[0] == "status.sidecars[db].imageID", "one that ended in time is never replaced"
    for changed in ({"exitCode": 3}, {"startedAt": ENDED}):
        (difference,) = sidecar_differences([stopped(), goes_on], [stopped(**changed), goes_on], ENDED)
        assert difference[0].startswith("status.sidecars[db].terminated.")
    (difference,) = sidecar_differences([stopped()], [{**stopped(), "imageID": EVIL}], ENDED)
    assert difference == ("status.sidecars[db].imageID", NOP, EVIL)


def test_nothing_follows_from_sidecars_that_had_all_ended() -> None:
    ended = sidecar(
        terminated={"exitCode": 0, "startedAt": BEGAN, "finishedAt": ENDED, "containerID": "containerd://0f"}
    )
    assert not list(sidecar_differences([ended], [ended], ENDED))
    (difference,) = sidecar_differences([ended], [{**ended, "imageID": NOP}], ENDED)
    assert difference == ("status.sidecars[db].imageID", DB, NOP)
    assert not list(sidecar_differences([ended], [stopped(exitCode=0, finishedAt=ENDED)], ENDED))
    (difference,) = sidecar_differences([ended], [stopped(exitCode=1, finishedAt=ENDED)], ENDED)
    assert difference[0] == "status.sidecars[db].terminated.exitCode"
