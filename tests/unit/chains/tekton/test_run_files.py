import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains
from chains.documents.load import load_documents
from chains.errors import InputError
from chains.tekton.pod import parse_pod
from chains.tekton.run_files import MAX_RUN, Intake, read_inputs
from tests.owners import owned, task_reference

Json = Any


def run(name: str = "r", **more: Json) -> Json:
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "TaskRun",
        "metadata": {"name": name, "namespace": "ns"},
        **more,
    }


def taken(text: str, name: str = "in.yaml") -> Intake:
    intake = Intake()
    intake.add(name, text.encode())
    return intake


def test_one_object_a_list_a_typed_list_and_several_yaml_documents_are_read() -> None:
    typed = {
        "kind": "TaskRunList",
        "apiVersion": "tekton.dev/v1",
        "items": [{"metadata": {"name": "r", "namespace": "ns"}}],
    }
    for value in (run(), {"kind": "List", "apiVersion": "v1", "items": [run()]}, typed, [run()]):
        intake = taken(json.dumps(value), "in.json")
        assert list(intake.runs) == [("TaskRun", "ns", "r")]
        assert not intake.problems
    text = "---\n" + json.dumps(run("a")) + "\n---\n---\n" + json.dumps(run("b"))
    assert [key[2] for key in taken(text).runs] == ["a", "b"]


def test_times_stay_text_and_a_bom_is_no_problem() -> None:
    text = "apiVersion: tekton.dev/v1\nkind: TaskRun\nmetadata: {name: r}\nstatus: {startTime: 2026-01-02T03:04:05Z}\n"
    assert taken(text).snapshot(("TaskRun", "default", "r")).status["startTime"] == "2026-01-02T03:04:05Z"
    assert load_documents(b"\xef\xbb\xbf" + json.dumps(run()).encode(), "x.json") == [run()]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("truncated.json", '{"kind": "TaskRun", "metadata"', "truncated.json: not JSON"),
        ("empty.json", "", "empty.json: empty"),
        ("spaces.json", " " * 300, "empty"),
        ("bomb.yaml", "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n", "aliases are refused"),
        ("cycle.yaml", "a: &a [*a]\n", "aliases are refused"),
        ("twice.yaml", "kind: TaskRun\nkind: PipelineRun\n", "key 'kind' comes twice"),
        ("keys.yaml", "5: x\n", "keys must be strings"),
        ("tabs.yaml", "a:\n\t- b\n", "not YAML"),
        ("tag.yaml", "!!python/object:os.system {}\n", "not YAML"),
        ("deep.json", "[" * 5000 + "]" * 5000, "not JSON"),
        ("binary.json", "{\x00\x01", "not JSON"),
        ("word.yaml", "hello\n", "expected an object with kind and name"),
        (
            "nameless.json",
            '{"kind":"TaskRun","apiVersion":"tekton.dev/v1"}',
            "expected an object with kind and name",
        ),
        ("none.yaml", "---\n---\n", "holds no objects"),
        ("deep.yaml", "a: " + "[" * 40_000 + "]" * 40_000, "more than 200 levels of nesting"),
        (
            "equal.json",
            '{"kind":"TaskRun","metadata":{"name":"a"},"metadata":{"name":"b"}}',
            "key 'metadata' comes twice",
        ),
        (
            "letters.json",
            '{"kind":"taskrun","apiVersion":"tekton.dev/v1","metadata":{"name":"a"}}',
            "spelled tekton.dev/v1 taskrun",
        ),
        (
            "group.json",
            '{"kind":"TaskRun","apiVersion":"Tekton.dev/v1","metadata":{"name":"a"}}',
            "expected tekton.dev/v1",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_a_problem_with_clear_words(name: str, text: str, words: str) -> None:
    intake = taken(text, name)
    assert not intake.runs
    assert words in intake.problems[0][1]


def test_a_problem_harms_no_other_run() -> None:
    huge = run("huge", spec={"params": [{"name": "p", "value": "x" * MAX_RUN}]})
    intake = taken(json.dumps({"kind": "List", "items": [huge, run("good"), 5]}), "in.json")
    assert [key[2] for key in intake.runs] == ["good"]
    assert "taskrun/ns/huge: 8 MiB, more than the 8 MiB" in intake.problems[0][1]
    assert len(intake.problems) == 2


def test_a_run_that_comes_twice_with_different_content_is_not_attested() -> None:
    intake = taken(json.dumps([run(), run(), run("other")]))
    assert len(intake.runs) == 2
    assert not intake.problems
    intake.add("again.json", json.dumps(run(spec={})).encode())
    intake.add("third.json", json.dumps(run()).encode())
    assert [key[2] for key in intake.runs] == ["other"]
    assert "comes twice with different content" in intake.problems[0][1]


def test_folders_files_and_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.json").write_text(json.dumps(run("a")))
    (tmp_path / "b.yml").write_text(json.dumps(run("b")))
    (tmp_path / "notes.txt").write_text("no run")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(run("c")).encode())))
    intake = read_inputs([str(tmp_path), "-", str(tmp_path / "missing.json")])
    assert [key[2] for key in intake.runs] == ["b", "a", "c"]
    assert "No such file" in intake.problems[0][1]
    (tmp_path / "empty").mkdir()
    assert "has no .json" in read_inputs([str(tmp_path / "empty")]).problems[0][1]


def test_the_top_is_what_is_no_other_run_s_child() -> None:
    parent = {
        "apiVersion": "tekton.dev/v1", "kind": "PipelineRun",
        "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
        "status": {"childReferences": [task_reference("mine"), task_reference("foreign"), task_reference("other"), 7]},
    }  # fmt: skip
    mine, foreign = run("mine"), run("foreign")
    mine["metadata"]["ownerReferences"] = owned("u")
    foreign["metadata"]["ownerReferences"] = owned("other")
    elsewhere = run("other")
    elsewhere["metadata"] |= {"namespace": "attacker", "ownerReferences": owned("u")}
    intake = taken(json.dumps([parent, mine, foreign, elsewhere, run("alone")]))
    assert [key[2] for key in intake.top()] == ["p", "foreign", "other", "alone"]
    del parent["status"]["childReferences"][-1]
    frozen = taken(json.dumps([parent, mine, foreign, elsewhere])).snapshot(("PipelineRun", "ns", "p"))
    assert [child.name for child in frozen.children] == ["mine"]
    assert [gap.name for gap in frozen.gaps] == ["foreign", "other"]


def test_a_run_that_names_itself_or_another_pipeline_run_hides_nothing() -> None:
    def pipeline(name: str, *children: tuple[str, str]) -> Json:
        references = [
            {"apiVersion": "tekton.dev/v1", "kind": kind, "name": child} for kind, child in children
        ]
        return {
            "apiVersion": "tekton.dev/v1", "kind": "PipelineRun",
            "metadata": {"name": name, "namespace": "ns", "uid": name}, "status": {"childReferences": references},
        }  # fmt: skip

    one = pipeline("one", ("PipelineRun", "one"), ("PipelineRun", "two"), ("TaskRun", "task"))
    two = pipeline("two", ("PipelineRun", "one"))
    task = run("task")
    task["metadata"]["ownerReferences"] = owned("one")
    assert [key[2] for key in taken(json.dumps([one, two, task])).top()] == ["one", "two"]


def test_words_and_numbers_are_read_as_kubernetes_reads_them() -> None:
    text = "kind: A\nmetadata: {name: a}\nequal: =\nbase60: 12:30:45\nint: 10\nfloat: 1.5\ninf: .inf\n"
    document = load_documents(text.encode(), "x.yaml")[0]
    found = [document[key] for key in ("equal", "base60", "int", "float", "inf")]
    assert found == ["=", "12:30:45", 10, 1.5, ".inf"]


def test_a_pipe_is_not_waited_for_and_a_closed_input_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "x.json")
    assert "not a regular file" in read_inputs([str(tmp_path)]).problems[0][1]
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError, match="standard input is closed"):
        read_inputs(["-"])


def test_linked_folders_are_read_once_and_odd_names_are_told(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.json").write_text(json.dumps(run("a")))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "real")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/in/\xff.json")).write_text("{")
    intake = read_inputs([str(tmp_path / "in")])
    assert [key[2] for key in intake.runs] == ["a"]
    assert "\\xff.json: not JSON" in intake.problems[0][1]


def test_the_pod_of_a_run_is_found_beside_it() -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "r-pod", "namespace": "ns"}}
    intake = taken(json.dumps([run(status={"podName": "r-pod"}), pod]))
    assert intake.surroundings_of(intake.snapshot(("TaskRun", "ns", "r")))["taskrun/ns/r"].pod == parse_pod(
        pod
    )


def test_an_unreadable_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Is a directory"):
        load_documents_from(tmp_path)


def load_documents_from(path: Path) -> None:
    from chains.documents.load import read_bytes

    read_bytes(path)


@pytest.mark.parametrize("levels", [201, 254, 300, 960, 1000, 1030, 100_000])
@pytest.mark.parametrize("kind", ["arrays", "objects"])
def test_a_file_nested_deeper_than_anybody_writes_is_refused_and_breaks_nothing(
    tmp_path: Path, levels: int, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    nested = "[" * levels + "]" * levels if kind == "arrays" else '{"a":' * levels + "1" + "}" * levels
    file = tmp_path / "deep.json"
    file.write_text(
        '{"apiVersion":"tekton.dev/v1","kind":"TaskRun","metadata":{"name":"r"},"spec":' + nested + "}"
    )
    assert chains(["payload", str(file)]) == 1
    assert "deep.json: not JSON: it is nested deeper than 200 levels" in capsys.readouterr().err
