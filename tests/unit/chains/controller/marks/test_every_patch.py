"""Every patch that marks, holds, releases or unmarks a run, as it is sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from chains.attest.outcome import FAILED, SIGNED, SKIPPED, Outcome
from chains.attest.stores import Entry
from chains.cluster.errors import ClusterUnavailable, ObjectChanged, ObjectRefused
from chains.controller.marks.marker import Marker
from chains.controller.marks.patches import (
    bare,
    compact_outcome,
    finalizer_patch,
    has_marks,
    is_marked,
    mark_patch,
    note_patch,
    room_patch,
    smaller,
    unmark_patch,
)
from chains.tekton.runs import Job, label_of, run_path

Json = Any
DONE = "provenance.chains/done"
SIGNED_KEY, OUTCOME_KEY = "chains.tekton.dev/signed", "chains.tekton.dev/outcome"
TASK, PIPELINE, LEGACY = "chains.tekton.dev/taskrun", "chains.tekton.dev/pipelinerun", "chains.tekton.dev"
ENTRY = Entry("provenance", "oci:", "att", "sha256:ab", "stored", "r.example/app:x", "sha256:1")
KEPT = Entry("provenance", "tekton:", "annotation", "", "stored", "there")
JOB = Job("TaskRun", "ns", "r", "u")


def outcome(state: str = SIGNED, *entries: Entry, **more: Json) -> Outcome:
    return Outcome("taskrun/ns/r", "u", state, entries=entries, **more)


def told(*entries: Json, state: str = "signed", **more: Json) -> Json:
    return {"state": state, "uid": "u", "entries": list(entries)} | more


WRITTEN = {
    "payload": "provenance", "store": "oci:", "form": "att", "subject": "sha256:ab", "state": "stored", "detail": "r.example/app:x",
}  # fmt: skip


def test_a_mark_is_one_patch_of_annotations_label_and_finalizers() -> None:
    metadata = {"resourceVersion": "7", "finalizers": ["keep/me", TASK, LEGACY]}
    extra = {"chains.tekton.dev/payload-x": "eA=="}
    made = mark_patch(
        "TaskRun", metadata, outcome(SIGNED, ENTRY, logged=("https://log/1", "https://log/2")), extra
    )
    text = made["metadata"]["annotations"].pop(OUTCOME_KEY)
    assert made == {
        "metadata": {
            "resourceVersion": "7",
            "labels": {DONE: "true"},
            "annotations": {
                "chains.tekton.dev/payload-x": "eA==",
                SIGNED_KEY: "true",
                "chains.tekton.dev/transparency": "https://log/1",
            },
            "finalizers": ["keep/me"],
        }
    }
    assert json.loads(text) == told(WRITTEN, transparency=["https://log/1", "https://log/2"])


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("TaskRun", [TASK], []),
        ("PipelineRun", [PIPELINE, LEGACY], []),
        ("TaskRun", [PIPELINE], None),
        ("PipelineRun", [TASK, "a"], None),
        ("TaskRun", [], None),
        ("TaskRun", None, None),
    ],
)
def test_only_our_own_finalizers_are_released(kind: str, before: Json, after: Json) -> None:
    metadata = {"resourceVersion": "7"} | ({} if before is None else {"finalizers": before})
    assert mark_patch(kind, metadata, outcome())["metadata"].get("finalizers") == after


@pytest.mark.parametrize(
    ("found", "word", "label"),
    [
        (outcome(SIGNED), "true", "true"),
        (outcome(FAILED, reason="x"), "failed", "true"),
        (outcome(SKIPPED, reason="x"), "skipped", "true"),
        (outcome(SKIPPED, reason="left out: it is old", put_off=True), "skipped", "put-off"),
    ],
)
def test_the_words_of_a_mark(found: Outcome, word: str, label: str) -> None:
    made = mark_patch("TaskRun", {"resourceVersion": "7"}, found)["metadata"]
    assert (made["annotations"][SIGNED_KEY], made["labels"]) == (word, {DONE: label})
    assert set(made["annotations"]) == {SIGNED_KEY, OUTCOME_KEY}


def test_a_mark_of_somebody_else_gets_the_label_alone() -> None:
    made = mark_patch("TaskRun", {"resourceVersion": "7", "finalizers": [TASK]}, None, {"a": "b"})
    assert made == {"metadata": {"resourceVersion": "7", "labels": {DONE: "true"}, "finalizers": []}}
    assert room_patch("TaskRun", {"resourceVersion": "7", "finalizers": ["a", TASK]}) == {
        "metadata": {"resourceVersion": "7", "labels": {DONE: "no-room"}, "finalizers": ["a"]}
    }


@pytest.mark.parametrize(
    ("metadata", "marks"),
    [
        ({}, False),
        ({"annotations": None, "labels": None}, False),
        ({"annotations": {SIGNED_KEY: "anything"}}, True),
        ({"labels": {DONE: "true"}}, True),
        ({"labels": {DONE: ""}, "annotations": {}}, True),
        ({"annotations": {OUTCOME_KEY: "{}"}, "labels": {"a": "b"}}, False),
    ],
)
def test_whatever_says_that_a_run_is_done_is_seen(metadata: Json, marks: bool) -> None:
    assert has_marks(metadata) is marks


@pytest.mark.parametrize(
    ("annotations", "is_final"),
    [
        (None, False),
        ({}, False),
        ({OUTCOME_KEY: '{"uid":"u"}'}, False),
        ({SIGNED_KEY: "true"}, True),
        ({SIGNED_KEY: "failed"}, True),
        ({SIGNED_KEY: "skipped"}, True),
        ({SIGNED_KEY: "True"}, False),
        ({SIGNED_KEY: "signed"}, False),
        ({SIGNED_KEY: ""}, False),
        ({SIGNED_KEY: "pending", OUTCOME_KEY: '{"uid":"u"}'}, False),
    ],
)
def test_a_run_is_marked_by_one_of_the_words_that_end_it_alone(annotations: Json, is_final: bool) -> None:
    metadata = {"uid": "u"} | ({} if annotations is None else {"annotations": annotations})
    assert is_marked(metadata) is is_final


@pytest.mark.parametrize(
    ("uid", "text", "is_own"),
    [
        ("u", '{"uid":"u"}', True),
        ("u", '{"uid":"v"}', False),
        ("u", '{"uid":""}', True),
        ("u", "{}", True),
        ("u", "[]", True),
        ("u", "{", True),
        (None, '{"uid":"v"}', False),
    ],
)
def test_a_mark_that_came_with_a_copy_is_none(uid: str | None, text: str, is_own: bool) -> None:
    metadata = {"annotations": {SIGNED_KEY: "true", OUTCOME_KEY: text}} | ({"uid": uid} if uid else {})
    assert is_marked(metadata) is is_own


def test_what_marks_is_taken_off_whole_and_nothing_else() -> None:
    ours = [
        f"chains.tekton.dev/{name}"
        for name in (
            "signed", "outcome", "payload-taskrun-u", "signature-taskrun-u", "cert-x", "chain-x", "retries",
            "transparency",
        )
    ]  # fmt: skip
    others = ["chains.tekton.dev/transparency-upload", "chains.tekton.dev/other", "payload-x", "a"]
    made = unmark_patch({"resourceVersion": "7", "annotations": dict.fromkeys([*ours, *others], "x")})
    assert made == {
        "metadata": {
            "resourceVersion": "7",
            "annotations": dict.fromkeys(ours),
            "labels": {DONE: None},
        }
    }
    assert unmark_patch({"resourceVersion": "7"})["metadata"]["annotations"] == {}


def test_a_note_is_no_mark() -> None:
    assert note_patch({"resourceVersion": "7"}, "text") == {
        "metadata": {"resourceVersion": "7", "annotations": {OUTCOME_KEY: "text"}}
    }


@pytest.mark.parametrize(
    ("kind", "hold", "before", "after"),
    [
        ("TaskRun", True, [], [TASK]),
        ("PipelineRun", True, ["a"], ["a", PIPELINE]),
        ("TaskRun", True, [TASK], None),
        ("TaskRun", True, [LEGACY], None),
        ("TaskRun", True, [PIPELINE], [PIPELINE, TASK]),
        ("TaskRun", False, [TASK, "a", LEGACY], ["a"]),
        ("TaskRun", False, ["a"], None),
        ("TaskRun", False, [PIPELINE], None),
        ("TaskRun", False, None, None),
        ("TaskRun", True, None, [TASK]),
    ],
)
def test_a_finalizer_is_added_and_removed_where_it_has_to_be(
    kind: str, hold: bool, before: Json, after: Json
) -> None:
    metadata = {"resourceVersion": "7"} | ({} if before is None else {"finalizers": before})
    made = finalizer_patch(kind, metadata, hold=hold)
    assert made == (
        after and {"metadata": {"resourceVersion": "7", "finalizers": after}} if after is not None else None
    )


def test_a_run_without_room_keeps_what_is_stored_elsewhere() -> None:
    whole = outcome(SIGNED, ENTRY, KEPT, reason="", logged=("https://log/1",))
    less = smaller(whole, {"payload": "x"}, "422")
    assert (less.state, less.entries) == (FAILED, (ENTRY,))
    assert less.reason == "the run cannot hold its evidence: 422; store in oci or another place"
    assert less.logged == ("https://log/1",)
    short = smaller(whole, {}, "422")
    assert (short.state, short.reason, short.entries, short.logged) == (SIGNED, "told in short: 422", (), ())
    failed = smaller(outcome(FAILED, ENTRY, reason="why"), {}, "422")
    assert (failed.state, failed.reason) == (FAILED, "why")
    least = bare(outcome(FAILED, ENTRY, reason="y" * 101, logged=("https://log/1",)))
    assert (least.state, least.reason, least.entries, least.logged) == (FAILED, "y" * 100, (), ())


def test_an_outcome_is_written_without_what_is_empty_and_cut_where_it_is_long() -> None:
    bare_entry = Entry("provenance", "", "", "", "failed", "z" * 301)
    assert json.loads(compact_outcome(outcome(FAILED, ENTRY, bare_entry, reason="x" * 2001))) == told(
        WRITTEN,
        {"payload": "provenance", "state": "failed", "detail": "z" * 300},
        state="failed",
        reason="x" * 2000,
    )
    assert compact_outcome(outcome()) == '{"state":"signed","uid":"u","entries":[]}'


def test_an_outcome_stays_within_eight_kibibytes_and_tells_how_many_entries_were_cut() -> None:
    fixed = len(compact_outcome(outcome(SIGNED)))
    size = len(json.dumps(WRITTEN, separators=(",", ":"))) + 1
    fitting = (8192 - fixed + 1) // size
    whole = compact_outcome(outcome(SIGNED, *[ENTRY] * fitting))
    assert len(whole) <= 8192
    assert "cut" not in json.loads(whole)
    cut = json.loads(compact_outcome(outcome(SIGNED, *[ENTRY] * (fitting + 3))))
    assert cut["cut"] + len(cut["entries"]) == fitting + 3
    assert cut["cut"] in {3, 4}
    assert json.loads(compact_outcome(outcome(FAILED, reason="x" * 9000)))["reason"] == "x" * 2000


class Server:
    """An API server that takes every patch, or refuses as it is told."""

    def __init__(self, *refusals: Exception | None) -> None:
        self.refusals = list(refusals)
        self.patches: list[tuple[str, Json]] = []
        self.created: list[tuple[str, Json]] = []

    async def patch(self, path: str, body: Mapping[str, Any]) -> None:
        self.patches.append((path, body["metadata"]))
        refusal = self.refusals.pop(0) if self.refusals else None
        if refusal is not None:
            raise refusal

    async def create(self, path: str, body: Mapping[str, Any]) -> None:
        self.created.append((path, body))


def marker(server: Server) -> Marker:
    return Marker(server, lambda _: None)  # type: ignore[arg-type]


PATH = "/apis/tekton.dev/v1/namespaces/ns/taskruns/r"
METADATA = {"resourceVersion": "7", "uid": "u"}


def test_paths_and_labels_of_runs() -> None:
    assert (run_path(JOB), label_of(JOB)) == (PATH, "taskrun/ns/r")
    job = Job("PipelineRun", "a", "b", "u")
    assert run_path(job) == "/apis/tekton.dev/v1/namespaces/a/pipelineruns/b"
    assert label_of(job) == "pipelinerun/a/b"


def test_who_may_not_write_writes_nothing() -> None:
    asked: list[Job] = []

    def refuse(job: Job) -> None:
        asked.append(job)
        raise PermissionError("lost")

    server = Server()
    with pytest.raises(PermissionError, match="lost"):
        asyncio.run(Marker(server, refuse).patch(JOB, {"metadata": {}}))  # type: ignore[arg-type]
    assert (asked, server.patches) == ([JOB], [])


REFUSED = ObjectRefused("422 too large")


def test_a_mark_that_does_not_fit_is_told_in_fewer_words_each_time() -> None:
    extra = {"chains.tekton.dev/payload-x": "x"}
    server = Server(REFUSED)
    found = asyncio.run(marker(server).mark(JOB, METADATA, outcome(SIGNED, ENTRY, KEPT), extra))
    assert (found.state, found.entries) == (FAILED, (ENTRY,))
    assert [patch["annotations"][SIGNED_KEY] for _, patch in server.patches] == ["true", "failed"]
    assert json.loads(server.patches[1][1]["annotations"][OUTCOME_KEY])["entries"] == [WRITTEN]
    assert "chains.tekton.dev/payload-x" not in server.patches[1][1]["annotations"]

    server = Server(REFUSED, REFUSED)
    found = asyncio.run(marker(server).mark(JOB, METADATA, outcome(SIGNED, ENTRY, KEPT), extra))
    reason = "the run cannot hold its evidence: 422 too large; store in oci or another place"
    assert (found.state, found.entries, found.reason) == (FAILED, (), reason[:100])
    assert len(server.patches) == 3

    server = Server(REFUSED, REFUSED, REFUSED)
    found = asyncio.run(marker(server).mark(JOB, METADATA, outcome(SIGNED, ENTRY), {}))
    assert (found.state, found.reason) == (FAILED, "the run has no room for a mark: 422 too large")
    assert server.patches[3][1] == {"resourceVersion": "7", "labels": {DONE: "no-room"}}


def test_a_run_to_which_nothing_can_be_written_is_let_go_of() -> None:
    server = Server(REFUSED, REFUSED, REFUSED, REFUSED)
    metadata = METADATA | {"finalizers": [TASK, "a"]}
    found = marker(server)
    with pytest.raises(ObjectRefused, match="422 too large"):
        asyncio.run(found.mark(JOB, metadata, outcome(SIGNED, ENTRY), {}))
    assert server.patches[4] == (PATH, {"resourceVersion": "7", "finalizers": ["a"]})


@pytest.mark.parametrize(
    ("metadata", "patch"),
    [
        ({"labels": {DONE: "true"}}, None),
        ({"labels": {DONE: "true"}, "finalizers": ["a"]}, None),
        ({"labels": {DONE: "true"}, "finalizers": [TASK]}, {"labels": {DONE: "true"}, "finalizers": []}),
        ({"labels": {}}, {"labels": {DONE: "true"}}),
        ({}, {"labels": {DONE: "true"}}),
    ],
)
def test_a_marked_run_is_labelled_and_released_once(metadata: Json, patch: Json) -> None:
    server = Server()
    found = marker(server)
    found._unwritten[JOB] = outcome(), {}
    asyncio.run(found.finish(JOB, METADATA | metadata))
    assert server.patches == ([] if patch is None else [(PATH, {"resourceVersion": "7"} | patch)])
    assert found.unwritten(JOB) is None


def test_a_run_that_is_anothers_is_released_and_forgotten() -> None:
    server = Server()
    found = marker(server)
    found._unwritten[JOB] = outcome(), {}
    asyncio.run(found.leave(JOB, METADATA | {"finalizers": [TASK]}))
    assert server.patches == [(PATH, {"resourceVersion": "7", "finalizers": []})]
    assert found.unwritten(JOB) is None
    asyncio.run(found.leave(JOB, METADATA))
    assert len(server.patches) == 1


def held(server: Server, metadata: Json) -> bool:
    return asyncio.run(marker(server).hold(JOB, METADATA | metadata))


def test_a_running_run_is_held_unless_it_is_being_deleted() -> None:
    server = Server()
    assert held(server, {})
    assert held(server, {"finalizers": [TASK]})
    assert held(server, {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [TASK]})
    assert held(server, {"deletionTimestamp": "2026-01-01T00:00:00Z"})
    assert [patch["finalizers"] for _, patch in server.patches] == [[TASK], []]


def test_a_mark_before_the_end_is_nobodys(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()
    assert held(server, {"annotations": {SIGNED_KEY: "true", "a": "b"}})
    assert held(server, {"finalizers": [TASK], "labels": {DONE: "true"}})
    assert server.patches == [
        (PATH, {"resourceVersion": "7", "annotations": {SIGNED_KEY: None}, "labels": {DONE: None}, "finalizers": [TASK]}),
        (PATH, {"resourceVersion": "7", "annotations": {}, "labels": {DONE: None}}),
    ]  # fmt: skip
    record = caplog.records[0]
    assert record.getMessage() == "a run in progress had a mark, which is taken off"
    assert record.run == "taskrun/ns/r"  # type: ignore[attr-defined]


def test_a_run_that_cannot_be_held_is_told_and_one_that_changed_is_looked_at_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert held(Server(REFUSED), {})
    (record,) = caplog.records
    assert record.getMessage() == "a run cannot be held"
    assert (record.run, record.reason) == ("taskrun/ns/r", "422 too large")  # type: ignore[attr-defined]
    assert not held(Server(ObjectChanged("409")), {})
    with pytest.raises(ClusterUnavailable):
        held(Server(ClusterUnavailable("away")), {})


def test_an_event_is_about_the_run_that_it_is_written_for() -> None:
    server = Server()
    asyncio.run(marker(server).tell(JOB, "AttestationFailed", "why"))
    ((path, event),) = server.created
    assert path == "/api/v1/namespaces/ns/events"
    assert event["involvedObject"] == {
        "apiVersion": "tekton.dev/v1", "kind": "TaskRun", "namespace": "ns", "name": "r", "uid": "u",
    }  # fmt: skip
    assert (event["reason"], event["message"]) == ("AttestationFailed", "why")


def test_outcomes_that_are_not_wanted_any_more_are_forgotten_alone() -> None:
    found = marker(Server())
    other = Job("TaskRun", "ns", "other", "v")
    for job in (JOB, other):
        found._unwritten[job] = outcome(), {}
    found.forget_all(lambda job: job.uid == "u")
    assert (found.unwritten(JOB), found.unwritten(other)) == (None, outcome())
    found.forget(JOB)
    found.forget(other)
    assert found.unwritten(other) is None
