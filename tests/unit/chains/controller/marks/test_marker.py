"""Marks on runs that somebody else writes to at the same time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from chains.attest.outcome import Outcome
from chains.cluster.errors import ClusterUnavailable, ObjectChanged, ObjectGone, ObjectRefused
from chains.controller.marks.marker import Marker
from chains.controller.marks.patches import OUTCOME_ANNOTATION, SIGNED_ANNOTATION
from chains.tekton.runs import Job

Json = Any
JOB = Job("TaskRun", "ns", "r", "u")
METADATA: Json = {"name": "r", "namespace": "ns", "uid": "u", "resourceVersion": "7"}
OUTCOME = Outcome("taskrun/ns/r", "u", "signed")


class Contended:
    """An API server that refuses a patch of an old version; ``meanwhile`` are the writes of others, in order."""

    def __init__(self, *meanwhile: Json) -> None:
        self.metadata: Json = dict(METADATA)
        self.meanwhile = list(meanwhile)
        self.patches: list[Json] = []
        self.paths: list[str] = []

    async def patch(self, path: str, body: Mapping[str, Any]) -> None:
        self.paths.append(path)
        self.patches.append(body["metadata"])
        if self.meanwhile:
            self.metadata = {**self.metadata, "resourceVersion": "8", **self.meanwhile.pop(0)}
        if body["metadata"]["resourceVersion"] != self.metadata["resourceVersion"]:
            raise ObjectChanged("409 the object has been modified")

    async def get(self, path: str, **_: Any) -> Json:
        self.paths.append(path)
        return {"metadata": self.metadata}


def marked(cluster: Any, extra: Mapping[str, str] | None = None) -> tuple[Marker, Callable[[], Outcome]]:
    marker = Marker(cluster, lambda _: None)
    return marker, lambda: asyncio.run(marker.mark(JOB, dict(METADATA), OUTCOME, extra or {}))


OTHERS_MARKS: Json = {
    "as Tekton Chains marks": {"annotations": {SIGNED_ANNOTATION: "true"}},
    "failed": {"annotations": {SIGNED_ANNOTATION: "failed"}},
    "of another replica": {
        "annotations": {SIGNED_ANNOTATION: "true", OUTCOME_ANNOTATION: json.dumps({"uid": "u"})}
    },
}


@pytest.mark.parametrize("name", OTHERS_MARKS)
def test_a_run_that_somebody_marked_between_the_conflict_and_the_next_try_keeps_that_mark(name: str) -> None:
    cluster = Contended(OTHERS_MARKS[name])
    _, mark = marked(cluster)
    with pytest.raises(ObjectChanged):
        mark()
    assert len(cluster.patches) == 1, "nothing is written over the mark"


def test_a_run_that_was_marked_after_several_conflicts_keeps_that_mark() -> None:
    touched = [{"resourceVersion": str(number), "labels": {"n": str(number)}} for number in (8, 9)]
    cluster = Contended(*touched, {"resourceVersion": "10", **OTHERS_MARKS["failed"]})
    _, mark = marked(cluster)
    with pytest.raises(ObjectChanged):
        mark()
    assert [patch["resourceVersion"] for patch in cluster.patches] == ["7", "8", "9"]


@pytest.mark.parametrize(
    "written",
    [
        {"labels": {"touched": "1"}},
        {"annotations": {"example.com/touched": "1"}},
        {"annotations": {SIGNED_ANNOTATION: "false"}},
        {"annotations": {SIGNED_ANNOTATION: "true", OUTCOME_ANNOTATION: json.dumps({"uid": "another"})}},
    ],
)
def test_any_other_change_is_no_reason_to_give_up(written: Json) -> None:
    cluster = Contended(written)
    _, mark = marked(cluster, {"chains.tekton.dev/payload-x": "eA=="})
    assert mark() == OUTCOME
    first, second = cluster.patches
    assert (first["resourceVersion"], second["resourceVersion"]) == ("7", "8")
    for patch in (first, second):
        assert patch["annotations"][SIGNED_ANNOTATION] == "true"
        assert patch["annotations"]["chains.tekton.dev/payload-x"] == "eA=="
    assert set(cluster.paths) == {"/apis/tekton.dev/v1/namespaces/ns/taskruns/r"}


def test_the_finalizers_that_others_added_meanwhile_stay() -> None:
    cluster = Contended({"finalizers": ["keep/me", "chains.tekton.dev/taskrun"]})
    _, mark = marked(cluster)
    mark()
    assert "finalizers" not in cluster.patches[0]
    assert cluster.patches[1]["finalizers"] == ["keep/me"]


def test_a_new_run_of_that_name_gets_no_mark_of_the_old_one() -> None:
    cluster = Contended({"uid": "v"})
    _, mark = marked(cluster)
    with pytest.raises(ObjectChanged):
        mark()
    assert len(cluster.patches) == 1


def test_a_run_that_changes_with_every_try_is_given_back_after_ten() -> None:
    cluster = Contended(*({"resourceVersion": str(number)} for number in range(8, 40)))
    marker, mark = marked(cluster)
    with pytest.raises(
        ObjectChanged,
        match=r"^PATCH /apis/tekton.dev/v1/namespaces/ns/taskruns/r: it changed 10 times meanwhile$",
    ):
        mark()
    assert len(cluster.patches) == 10
    assert marker.unwritten(JOB) == OUTCOME, "what is stored is told by the next try"


class Failing(Contended):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    async def patch(self, path: str, body: Mapping[str, Any]) -> None:
        await super().patch(path, body)
        raise self.error


@pytest.mark.parametrize(
    ("error", "is_kept"),
    [(ClusterUnavailable("away"), True), (ObjectGone("404"), False), (ObjectRefused("422"), True)],
)
def test_an_outcome_is_kept_unless_its_run_is_gone(error: Exception, is_kept: bool) -> None:
    marker, mark = marked(Failing(error), {"chains.tekton.dev/payload-x": "eA=="})
    with pytest.raises(type(error)):
        mark()
    assert (marker.unwritten(JOB) is not None) is is_kept


def test_what_was_kept_is_written_with_its_annotations_by_the_next_try() -> None:
    cluster = Failing(ClusterUnavailable("away"))
    marker, mark = marked(cluster, {"chains.tekton.dev/payload-x": "eA=="})
    with pytest.raises(ClusterUnavailable):
        mark()
    marker._cluster = Contended()  # type: ignore[assignment]
    assert asyncio.run(marker.mark(JOB, dict(METADATA), OUTCOME, {"chains.tekton.dev/new": "1"})) == OUTCOME
    (patch,) = marker._cluster.patches  # type: ignore[attr-defined]
    assert patch["annotations"]["chains.tekton.dev/payload-x"] == "eA=="
    assert patch["annotations"]["chains.tekton.dev/new"] == "1"
    assert marker.unwritten(JOB) is None


def test_of_the_outcomes_that_could_not_be_written_the_last_thousand_are_kept() -> None:
    marker = Marker(Failing(ClusterUnavailable("away")), lambda _: None)  # type: ignore[arg-type]
    jobs = [Job("TaskRun", "ns", "r", f"u{number}") for number in range(1002)]

    async def mark_all() -> None:
        for job in jobs:
            with pytest.raises(ClusterUnavailable):
                await marker.mark(job, dict(METADATA), OUTCOME, {})

    asyncio.run(mark_all())
    assert [marker.unwritten(job) is not None for job in jobs] == [False] * 2 + [True] * 1000
