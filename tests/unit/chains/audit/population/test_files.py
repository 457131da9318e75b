"""Populations from files: exports, audit logs of the API server, exported records of Tekton Results."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from chains.audit.population.audit_log import read_audit_log
from chains.audit.population.exports import read_exports
from chains.audit.population.known import Gap, Population, Source
from chains.audit.population.tekton_results import read_results_files
from chains.errors import InputError
from tests.audit_truth import event, pipeline_run, task_run, time_of, uid_of, with_metadata, without

Json = Any
ReadLog = Callable[..., tuple[Population, Source]]
AT = "2026-10-01T00:00:00Z"
LEAVES_OUT_PIPELINE_RUNS = (
    "no write of a PipelineRun at the level RequestResponse: an audit policy that leaves that kind out writes such a "
    "log, so it covers no PipelineRuns"
)


def lines(*events: Json) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in events)


def log(tmp_path: Path, data: bytes, name: str = "audit.log") -> str:
    (tmp_path / name).write_bytes(data)
    return str(tmp_path / name)


@pytest.fixture
def read_log() -> Iterator[ReadLog]:
    """Read audit logs into populations that are closed at the end."""
    with ExitStack() as stack:

        def read(*paths: str) -> tuple[Population, Source]:
            population = stack.enter_context(Population())
            return population, read_audit_log(paths, population)

        yield read


def test_exports_are_read_as_the_command_line_reads_them(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "one.json").write_text(json.dumps(task_run(1)))
    (tmp_path / "list.json").write_text(
        json.dumps(
            {"kind": "List", "apiVersion": "v1", "items": [task_run(2), without(task_run(3), "status")]}
        )
    )
    (tmp_path / "broken.json").write_text("{")
    with Population() as population:
        source = read_exports([str(tmp_path)], population)
        assert {run.uid for run in population} == {uid_of(1), uid_of(2), uid_of(3)}
        assert [run.is_finished for run in population if run.uid == uid_of(3)] == [False]
        assert (source.runs, source.finished) == (3, 2)
        assert (source.since, source.until) == (time_of(3), time_of(2, 9))
        assert len(source.problems) == 1
        assert "broken.json" in source.problems[0]
        assert source.problems[0].endswith(
            "export the runs again: kubectl get taskruns,pipelineruns -A -o json"
        )
        run = population.get(uid_of(1))
        assert run is not None
        assert population.whole(run) == task_run(1)


@pytest.mark.parametrize(
    ("content", "is_left_out"),
    [
        ({"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "dsseEnvelope": {}}, True),
        ({"payload": "e30=", "payloadType": "application/vnd.in-toto+json", "signatures": []}, True),
        ({"mediaType": "application/vnd.oci.image.manifest.v1+json"}, False),
        ({"payload": "e30=", "signatures": []}, False),
        # what says that it is a run is never left out
        ({"kind": "TaskRun", "payload": "", "payloadType": "", "signatures": []}, False),
    ],
)
def test_evidence_beside_run_files_is_no_run_that_cannot_be_read(
    tmp_path: Path, content: Json, is_left_out: bool
) -> None:
    (tmp_path / "run.json").write_text(json.dumps(task_run(1)))
    (tmp_path / "other.json").write_text(json.dumps(content))
    with Population() as population:
        source = read_exports([str(tmp_path)], population)
        assert [run.uid for run in population] == [uid_of(1)]
    assert bool(source.problems) is not is_left_out
    assert source.notes == (["1 file with evidence, not runs, in the folders"] if is_left_out else [])
    with Population() as population:  # somebody named this file as one of runs
        assert read_exports([str(tmp_path / "other.json")], population).problems


def test_a_run_without_uid_is_told_and_never_counted(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(with_metadata(task_run(1), uid="")))
    with Population() as population:
        source = read_exports([str(tmp_path / "run.json")], population)
        assert len(population) == 0
        assert "taskrun/team-1/run-1 has no UID" in source.problems[0]


def test_a_log_names_runs_with_generated_names_their_end_and_who_deleted_them(
    tmp_path: Path, read_log: ReadLog
) -> None:
    made = event("create", without(task_run(1), "status"), AT)
    made["objectRef"].pop("name")
    gone = {"kind": "Status", "details": {"name": "run-1", "uid": uid_of(1)}}
    data = lines(
        made,
        event("update", task_run(1), time_of(1, 9)),
        event("delete", task_run(1), time_of(1, 30), "mallory", responseObject=gone),
    )
    population, source = read_log(log(tmp_path, data))
    (run,) = population
    assert (run.uid, run.name, run.namespace) == (uid_of(1), "run-1", "team-1")
    assert (run.finished, run.outcome) == (time_of(1, 9), "True")
    assert (run.deleted, run.deleted_by) == (time_of(1, 30), "mallory")
    assert (source.since, source.until, source.finished) == (AT, time_of(1, 30), 1)
    assert source.problems == []


@pytest.mark.parametrize("level", ["Metadata", "Request"])
def test_a_log_below_the_level_of_answers_is_refused_with_the_reason(
    tmp_path: Path, read_log: ReadLog, level: str
) -> None:
    made = without(event("create", task_run(1), AT, level=level), "responseObject")
    with pytest.raises(InputError, match=f"level {level}, expected RequestResponse: .* neither name nor UID"):
        read_log(log(tmp_path, lines(made)))


def test_what_did_not_happen_is_no_run(tmp_path: Path, read_log: ReadLog) -> None:
    """Refused requests, dry runs, other stages, other groups and reads."""
    events = [
        event("create", task_run(1), AT, responseStatus={"code": 403}),
        event("create", task_run(2), AT, requestURI="/apis/tekton.dev/v1/namespaces/x/taskruns?dryRun=All"),
        event("create", task_run(3), AT, stage="RequestReceived"),
        event("get", task_run(4), AT),
        event(
            "create",
            task_run(5),
            AT,
            objectRef={"resource": "taskruns", "apiGroup": "other.example", "name": "x tekton.dev"},
        ),
    ]
    population, source = read_log(log(tmp_path, lines(*events)))
    assert len(population) == 0
    assert (source.problems, source.since) == ([], AT)


@pytest.mark.parametrize(
    ("query", "body", "is_real"),
    [
        ("?dryRun=All", None, False),
        ("?fieldManager=dryRun=", None, True),
        ("?fieldManager=dryRun=All", None, True),
        ("?fieldManager=x%26dryRun=All", None, True),
        ("", {"kind": "DeleteOptions", "dryRun": ["All"]}, False),
        ("?dryRun=All", {"kind": "DeleteOptions"}, True),
    ],
)
def test_only_a_delete_that_is_tried_hides_nothing(
    tmp_path: Path, read_log: ReadLog, query: str, body: Json, is_real: bool
) -> None:
    uri = f"/apis/tekton.dev/v1/namespaces/x/taskruns/run-1{query}"
    more = {"requestURI": uri} | ({"requestObject": body} if body else {})
    gone = event("delete", task_run(1), time_of(1, 30), "mallory", **more)
    population, _ = read_log(log(tmp_path, lines(event("update", task_run(1), AT), gone)))
    (run,) = population
    assert run.deleted == (time_of(1, 30) if is_real else "")


def test_a_log_without_writes_of_runs_covers_no_time(tmp_path: Path, read_log: ReadLog) -> None:
    pod = {"resource": "pods", "namespace": "x", "name": "p", "apiGroup": "", "apiVersion": "v1"}
    other = event("update", task_run(1), AT, objectRef=pod)
    read = event("get", task_run(1), time_of(50))
    low = without(event("delete", task_run(1), time_of(60), level="Metadata"), "responseObject")
    _, source = read_log(log(tmp_path, lines(other, read, low)))
    assert (source.since, source.until, source.covers(AT, "TaskRun"), source.problems) == ("", "", False, [])
    assert "no write of a run at the level RequestResponse" in source.notes[-1]
    _, source = read_log(log(tmp_path, lines(event("update", task_run(1), time_of(9)), other, read, low)))
    assert (source.since, source.until) == (time_of(9), time_of(9))


def test_rotated_and_packed_files_are_read_in_the_order_of_their_events(
    tmp_path: Path, read_log: ReadLog
) -> None:
    """The newest file is the first by name, and the finalizer is taken off in it."""
    held = with_metadata(task_run(1), finalizers=["chains.tekton.dev/taskrun"])
    (tmp_path / "log").mkdir()
    old = gzip.compress(lines(event("create", held, AT), event("update", held, time_of(1, 9))))
    (tmp_path / "log" / "z-2026.log.gz").write_bytes(old)
    (tmp_path / "log" / "a.log").write_bytes(lines(event("patch", task_run(1), time_of(1, 20), "mallory")))
    population, source = read_log(str(tmp_path / "log"))
    (run,) = population
    assert run.stripped == f"mallory at {time_of(1, 20)}"
    assert source.problems == []


def test_a_mark_takes_the_finalizer_off_rightly(tmp_path: Path, read_log: ReadLog) -> None:
    held = with_metadata(task_run(1), finalizers=["chains.tekton.dev/taskrun"])
    marked = with_metadata(task_run(1), annotations={"chains.tekton.dev/signed": "true"})
    population, _ = read_log(log(tmp_path, lines(event("update", held, AT), event("patch", marked, AT))))
    (run,) = population
    assert (run.stripped, run.mark) == ("", "true")


def test_a_torn_last_line_is_expected_of_the_newest_file_alone(tmp_path: Path, read_log: ReadLog) -> None:
    first, second = (
        lines(event("update", task_run(1), AT)),
        lines(event("update", task_run(2), time_of(2, 9))),
    )
    population, source = read_log(log(tmp_path, first, "1"), log(tmp_path, second + b'{"kind":"Ev', "2"))
    assert (len(population), source.problems) == (2, [])
    assert "line 2: the line breaks off" in source.notes[0]
    population, source = read_log(log(tmp_path, first + b'{"kind":"Ev', "1"), log(tmp_path, second, "2"))
    assert len(population) == 2
    assert "line 2: the line breaks off: an event is lost" in source.problems[0]


def test_a_whole_last_line_without_its_end_counts(tmp_path: Path, read_log: ReadLog) -> None:
    population, source = read_log(log(tmp_path, lines(event("update", task_run(1), AT)).rstrip()))
    assert (len(population), source.problems, source.notes) == (1, [], [LEAVES_OUT_PIPELINE_RUNS])


@pytest.mark.parametrize(
    "line", [b'{"verb": tekton.dev\n', b"not json\n", b'{"annotations":{"tekton.dev": \xff}}\n']
)
def test_a_line_that_cannot_be_read_may_have_been_a_run(
    tmp_path: Path, read_log: ReadLog, line: bytes
) -> None:
    _, source = read_log(log(tmp_path, line + lines(event("update", task_run(1), AT))))
    assert len(source.problems) == 1
    assert "line 1" in source.problems[0]


def test_a_file_that_breaks_off_is_told(tmp_path: Path, read_log: ReadLog) -> None:
    packed = gzip.compress(lines(*(event("update", task_run(number), AT) for number in range(200))))
    _, source = read_log(log(tmp_path, packed[: len(packed) // 2]))
    assert "breaks off after line" in source.problems[-1]


def test_a_truncated_event_is_a_run_without_name(tmp_path: Path, read_log: ReadLog) -> None:
    made = without(
        event("create", task_run(1), AT, annotations={"audit.k8s.io/truncated": "true"}), "responseObject"
    )
    population, source = read_log(log(tmp_path, lines(made)))
    assert len(population) == 0
    assert "the event of a create was truncated" in source.problems[0]


def test_a_deleted_collection_names_each_of_its_runs(tmp_path: Path, read_log: ReadLog) -> None:
    items = [without(task_run(number), "kind", "apiVersion") for number in (1, 2)]
    gone = event(
        "deletecollection", task_run(1), AT, "jane", responseObject={"kind": "TaskRunList", "items": items}
    )
    gone["objectRef"].pop("name")
    population, source = read_log(log(tmp_path, lines(gone)))
    assert {(run.uid, run.deleted_by) for run in population} == {(uid_of(1), "jane"), (uid_of(2), "jane")}
    assert source.finished == 2


def test_a_deletion_without_answer_is_of_the_run_that_had_the_name(tmp_path: Path, read_log: ReadLog) -> None:
    made = event("create", without(task_run(1), "status"), AT)
    gone = without(event("delete", task_run(1), time_of(1, 9), "jane", level="Metadata"), "responseObject")
    population, _ = read_log(log(tmp_path, lines(made, gone)))
    (run,) = population
    assert (run.deleted, run.is_finished) == (time_of(1, 9), False)


def test_writes_without_answer_are_counted(tmp_path: Path, read_log: ReadLog) -> None:
    made = event("create", without(task_run(1), "status"), AT)
    ended = without(event("update", task_run(1), AT, level="Metadata"), "responseObject")
    _, source = read_log(log(tmp_path, lines(made, ended, ended)))
    assert source.notes == [
        "2 events of update below the level RequestResponse: they do not show the run after it",
        LEAVES_OUT_PIPELINE_RUNS,
    ]


def test_a_write_of_a_status_without_answer_may_have_been_an_end(tmp_path: Path, read_log: ReadLog) -> None:
    low = without(event("update", task_run(1), AT, level="Metadata"), "responseObject")
    low["objectRef"]["subresource"] = "status"
    _, source = read_log(log(tmp_path, lines(low, low)))
    assert len(source.problems) == 1
    assert "2 writes of a status without the run after it" in source.problems[0]


@pytest.mark.parametrize(("verb", "part"), [("patch", ""), ("update", ""), ("update", "status")])
def test_only_writes_of_a_status_show_that_ends_are_logged(
    tmp_path: Path, read_log: ReadLog, verb: str, part: str
) -> None:
    """A mark shows the status of the run that it is on, whatever the audit policy says of writes of a status."""
    ended = event(verb, task_run(1), AT)
    ended["objectRef"]["subresource"] = part
    _, source = read_log(log(tmp_path, lines(ended)))
    assert (source.finished, source.shows_ends) == (1, part == "status")


@pytest.mark.parametrize("kind", ["TaskRun", "PipelineRun"])
def test_a_log_covers_only_the_kind_of_runs_whose_writes_it_has(
    tmp_path: Path, read_log: ReadLog, kind: str
) -> None:
    """An audit policy may name taskruns alone: such a log says nothing about PipelineRuns, and the other way round."""
    other = "PipelineRun" if kind == "TaskRun" else "TaskRun"
    made = task_run if kind == "TaskRun" else lambda number: pipeline_run(number, [])
    first, last = time_of(1, 0), time_of(1, 9)
    written = [event("update", made(number), at) for number, at in ((1, first), (2, last))]
    for one in written:
        one["objectRef"]["subresource"] = "status"
    _, source = read_log(log(tmp_path, lines(*written)))
    assert (source.since, source.until) == (first, last)
    assert source.periods == {kind: (first, last)}
    assert (source.covers(first, kind), source.covers(first, other)) == (True, False)
    assert (source.shows_kind(kind), source.shows_kind(other)) == (True, False)
    assert source.ends_of == {kind}
    assert any(note.endswith(f"so it covers no {other}s") for note in source.notes)
    assert not source.covers_all(Gap(first, last, "down"))
    mixed = event("update", task_run(3) if other == "TaskRun" else pipeline_run(3, []), first)
    later = event("update", task_run(4) if other == "TaskRun" else pipeline_run(4, []), last)
    _, source = read_log(log(tmp_path, lines(written[0], mixed, written[1], later)))
    assert source.covers_all(Gap(first, last, "down"))


def test_a_file_that_is_no_audit_log_is_told(tmp_path: Path, read_log: ReadLog) -> None:
    _, source = read_log(log(tmp_path, b'{"a": 1}\n'))
    assert "is this the log of an API server?" in source.problems[0]
    with pytest.raises(InputError, match="no such file"):
        read_log(str(tmp_path / "nowhere"))


def test_a_long_silence_is_told(tmp_path: Path, read_log: ReadLog) -> None:
    one, two = event("update", task_run(1), AT), event("update", task_run(2), "2026-10-01T02:00:00Z")
    _, source = read_log(log(tmp_path, lines(one, two)))
    assert source.notes == [
        f"the longest time without any event: {AT} to 2026-10-01T02:00:00Z",
        LEAVES_OUT_PIPELINE_RUNS,
    ]


def record(run: Json, kind: str = "tekton.dev/v1.TaskRun") -> Json:
    uid = run["metadata"]["uid"]
    return {
        "name": f"ns/results/{uid}/records/{uid}",
        "data": {"type": kind, "value": b64encode(json.dumps(run).encode()).decode()},
    }


def test_records_of_tekton_results_are_whole_runs(tmp_path: Path) -> None:
    half = without(task_run(3), "status")
    page = {
        "records": [
            record(task_run(1)),
            record(pipeline_run(2, ["a"]), "tekton.dev/v1.PipelineRun"),
            record(half),
            record(task_run(9), "results.tekton.dev/v1alpha3.Log"),
        ],
        "nextPageToken": "",
    }
    (tmp_path / "page.json").write_text(json.dumps(page))
    (tmp_path / "more.jsonl").write_text("\n".join(json.dumps(record(task_run(number))) for number in (4, 5)))
    with Population() as population:
        source = read_results_files([str(tmp_path / "page.json"), str(tmp_path / "more.jsonl")], population)
        assert {run.uid: run.is_finished for run in population} == {
            uid_of(1): True,
            uid_of(2): True,
            uid_of(3): False,
            uid_of(4): True,
            uid_of(5): True,
        }
        assert source.notes == ["taskrun/team-3/run-3: the row was stored before the run had ended"]
        assert source.problems == []
        run = population.get(uid_of(4))
        assert run is not None
        assert population.whole(run) == task_run(4)


@pytest.mark.parametrize(
    ("pages", "told"),
    [
        ([{"records": [], "nextPageToken": "x"}], "a further page follows it (nextPageToken)"),
        ([{"records": [], "nextPageToken": "x"}, {"records": []}], ""),
        ([{"records": [], "nextPageToken": "x"}, record(task_run(1))], "a further page follows it"),
        ([{"nextPageToken": ""}], ""),
        ([{}], ""),
        ([{"code": 16, "message": "no token", "details": []}], "got an error: no token"),
        ([{"code": 16}], "expected an object with a list of records"),
        ([{"records": {"a": 1}}], "expected an object with a list of records"),
        ([{"records": None, "code": 5}], "expected an object with a list of records"),
        ([{"records": ["text"]}], "a record is no object"),
        ([{"data": None, "records": 1}], "expected an object with a list of records"),
        ([{"name": "n", "data": {"value": "e30="}}], "n: has no type"),
    ],
    ids=[
        "no-page-after", "page-after", "record-after", "empty", "nothing", "error", "code", "no-list", "null",
        "no-object", "both", "no-type",
    ],
)  # fmt: skip
def test_an_answer_that_is_not_whole_is_told(tmp_path: Path, pages: list[Json], told: str) -> None:
    (tmp_path / "pages.jsonl").write_text("\n".join(map(json.dumps, pages)))
    with Population() as population:
        source = read_results_files([str(tmp_path / "pages.jsonl")], population)
    assert len(source.problems) == bool(told)
    assert told in "".join(source.problems)


def test_a_record_that_cannot_be_read_may_have_been_a_run(tmp_path: Path) -> None:
    broken = {"name": "n", "data": {"type": "tekton.dev/v1.TaskRun", "value": "!"}}
    nobody = {"name": "m", "data": {"type": "tekton.dev/v1.TaskRun", "value": b64encode(b"{}").decode()}}
    (tmp_path / "page.json").write_text(json.dumps({"records": [broken, nobody]}))
    (tmp_path / "results.json").write_text(json.dumps({"results": [{"name": "x"}]}))
    (tmp_path / "lines.jsonl").write_text(json.dumps(record(task_run(1))) + '\n{"name"\n')
    with Population() as population:
        source = read_results_files([str(tmp_path)], population)
    assert [problem.partition(": ")[2].partition(":")[0] for problem in source.problems] == [
        "is no JSON, so a record is lost",
        "n",
        "m",
        "holds results and not records",
    ]
