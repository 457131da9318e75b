"""Field by field: which change of a sidecar's record Tekton makes after a run's end, and which it does not."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from chains.tekton.late_changes import (
    BOOKKEEPING,
    is_replaced,
    replaced,
    settled,
    sidecar_differences,
    sidecars_of,
)
from tests.unit.chains.verify.test_replaced_sidecars import (
    BEGAN,
    DB,
    ENDED,
    NOP,
    STOPPED_AT,
    begun_anew,
    not_started,
    sidecar,
    stopped,
)

Json = Any
LATER = "2026-01-02T03:04:06Z"
EVIL = f"registry.example/evil@sha256:{'66' * 32}"
NOTED = min(BOOKKEEPING)


def by_itself(**other: Json) -> Json:
    """A sidecar that ended in the second in which the run did, without Tekton."""
    ended = {"exitCode": 0, "startedAt": BEGAN, "finishedAt": ENDED, "containerID": "containerd://0f"}
    return sidecar(terminated={**ended, **other})


def differences(one: Json, other: Json) -> list[tuple[str, Json, Json]]:
    """Return the differences of two records of the one sidecar, without the part of the path that names it."""
    found = list(sidecar_differences((one,), [other], ENDED))
    name = one.get("name") or one["container"]
    assert all(path.startswith(f"status.sidecars[{name}].") for path, _, _ in found)
    return [(path.partition("].")[2], before, after) for path, before, after in found]


@pytest.mark.parametrize(
    ("one", "other", "path", "before", "after"),
    [
        (sidecar(), stopped(reason="Error"), "terminated.reason", None, "Error"),
        (sidecar(), stopped(startedAt=LATER), "terminated.startedAt", None, LATER),
        (stopped(), stopped(containerID="x"), "terminated.containerID", "containerd://0f", "x"),
        (stopped(), {**stopped(), "imageID": EVIL}, "imageID", NOP, EVIL),
        (by_itself(), stopped(exitCode=1, finishedAt=ENDED), "terminated.exitCode", 0, 1),
        (by_itself(), stopped(exitCode=0, finishedAt=ENDED, startedAt=LATER), "terminated.startedAt", BEGAN, LATER),
        (by_itself(), stopped(exitCode=0), "terminated.finishedAt", ENDED, STOPPED_AT),
        (
            by_itself(), stopped(exitCode=0, finishedAt=ENDED, containerID="x"), "terminated.containerID",
            "containerd://0f", "x",
        ),
        (by_itself(), {**by_itself(), "results": []}, "results", None, []),
        (by_itself(), {**by_itself(), "b": 1, "a": 2}, "b", None, 1),
        (by_itself(finishedAt=BEGAN), begun_anew(), "imageID", DB, NOP),
        (sidecar(), sidecar(image=EVIL), "imageID", DB, EVIL),
        (sidecar(), sidecar(running={"startedAt": LATER}), "running", {"startedAt": BEGAN}, {"startedAt": LATER}),
        (sidecar(), sidecar(terminated={"startedAt": LATER}), "terminated", None, {"startedAt": LATER}),
        (sidecar(image=""), sidecar(waiting={"reason": "x"}), "waiting", None, {"reason": "x"}),
        (sidecar(), {**sidecar(), "container": "x"}, "container", "sidecar-db", "x"),
        (sidecar(), {**sidecar(), "b": 1, "a": 2}, "a", None, 2),
        (sidecar(), {**sidecar(), "waiting": {}}, "waiting", None, {}),
        (sidecar(), sidecar(running={"startedAt": BEGAN, "x": 1}), "running.x", None, 1),
        (sidecar(), stopped(x=1), "terminated.x", None, 1),
        (stopped(x=1), sidecar(), "terminated.x", 1, None),
        (sidecar(waiting={"x": 1}), sidecar(), "waiting.x", 1, None),
    ],
)  # fmt: skip
def test_a_change_that_is_not_tektons_is_told_with_what_stands_in_both_records(
    one: Json, other: Json, path: str, before: Json, after: Json
) -> None:
    assert differences(one, other) == [(path, before, after)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (sidecar(), stopped()),
        (sidecar(), stopped(signal=9)),
        (sidecar(), begun_anew(reason="x")),
        (sidecar(), by_itself()),
        (sidecar(waiting={"reason": "x", "message": "y"}), sidecar()),
        (sidecar(waiting={}, image=""), sidecar()),
        (sidecar(waiting={}), stopped(startedAt=LATER)),
        (sidecar(image=""), sidecar()),
        (stopped(), {**stopped(), "imageID": ""}),
        (stopped(), not_started()),
        (by_itself(), begun_anew()),
        (by_itself(), stopped(exitCode=0, finishedAt=ENDED)),
        (by_itself(), by_itself()),
    ],
)
def test_a_change_of_tektons_is_none_whichever_record_is_the_later(one: Json, other: Json) -> None:
    assert differences(one, other) == []
    assert differences(other, one) == []


def test_of_sidecars_that_had_all_ended_the_one_that_differs_is_told() -> None:
    same, one, other = by_itself(), by_itself(), by_itself(exitCode=3)
    one["name"] = other["name"] = "dc"
    path = "status.sidecars[dc].terminated"
    assert list(sidecar_differences([same, one], [same, other], ENDED)) == [
        (path, one["terminated"], other["terminated"])
    ]


def test_a_sidecar_that_only_one_record_has_is_told_whole() -> None:
    db, dc = sidecar(), sidecar("dc")
    assert list(sidecar_differences([db], [db, dc], ENDED)) == [
        ("status.sidecars[db]", db, db),
        ("status.sidecars[dc]", None, dc),
    ]
    assert list(sidecar_differences([db], [dc], ENDED)) == [
        ("status.sidecars[db]", db, None),
        ("status.sidecars[dc]", None, dc),
    ]
    nameless = {"container": "c", "running": {"startedAt": BEGAN}}
    other = {**nameless, "running": {"startedAt": LATER}}
    assert differences(nameless, other) == [("running", nameless["running"], other["running"])]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"running": {"startedAt": ENDED}}, False),
        ({"running": {"startedAt": STOPPED_AT}}, True),
        ({"terminated": {"startedAt": ENDED, "finishedAt": STOPPED_AT}}, False),
        ({"terminated": {"startedAt": "1970-01-01T00:00:01Z", "finishedAt": STOPPED_AT}}, False),
        ({"terminated": {"startedAt": "1970-01-01T00:00:00Z", "finishedAt": STOPPED_AT}}, True),
        ({"terminated": {"finishedAt": STOPPED_AT}}, True),
    ],
)
def test_a_container_that_began_after_the_end_is_the_replacement(state: Json, expected: bool) -> None:
    assert is_replaced(state, ENDED) is expected
    assert not is_replaced(state, "")


def test_the_replaced_sidecars_are_named() -> None:
    sidecars = [sidecar("a"), stopped("b"), begun_anew("c"), stopped("d")]
    status = {"completionTime": ENDED, "sidecars": sidecars}
    assert sidecars_of({"status": status}) == sidecars
    assert replaced({"status": status}) == ["b", "c", "d"]
    assert replaced({"status": {"sidecars": sidecars}}) == ["b", "d"], (
        "without an end only tekton's words count"
    )


def test_only_what_changes_after_the_end_is_left_out() -> None:
    raw = {
        "metadata": {"name": "n", "annotations": {NOTED: "x"}, "labels": {"a": "b", NOTED: "y"}},
        "status": {"sidecars": [1], "podName": "p"},
        "spec": 1,
    }
    before = copy.deepcopy(raw)
    assert settled(raw) == {
        "metadata": {"name": "n", "labels": {"a": "b"}}, "status": {"podName": "p"}, "spec": 1,
    }  # fmt: skip
    assert raw == before, "the run itself stays as it is"
    notes = {"metadata": {"annotations": {"a": "b", NOTED: "x"}}, "status": {"podName": "p"}}
    assert settled(notes) == {"metadata": {"annotations": {"a": "b"}}, "status": {"podName": "p"}}
    only_sidecars = {"metadata": {"labels": {"a": "b"}}, "status": {"sidecars": []}}
    assert settled(only_sidecars) == {"metadata": {"labels": {"a": "b"}}, "status": {}}
    assert settled({"status": {"sidecars": []}}) == {"status": {}}


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"spec": 1},
        {"metadata": [], "status": []},
        {"metadata": {"annotations": [NOTED], "labels": None}},
        {"metadata": {"annotations": {"a": "b"}, "labels": {}}, "status": {"podName": "p"}},
    ],
)
def test_a_run_without_any_of_it_is_the_same_object(raw: Json) -> None:
    assert settled(raw) is raw
