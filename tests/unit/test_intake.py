import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from chains.documents import load_documents
from chains.errors import InputError
from chains.intake import MAX_RUN, Intake, read_inputs

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
        "status": {"childReferences": [{"kind": "TaskRun", "name": "mine"}, {"kind": "TaskRun", "name": "foreign"}, 7]},
    }  # fmt: skip
    mine, foreign = run("mine"), run("foreign")
    mine["metadata"]["ownerReferences"] = [{"kind": "PipelineRun", "uid": "u"}]
    foreign["metadata"]["ownerReferences"] = [{"kind": "PipelineRun", "uid": "other"}]
    intake = taken(json.dumps([parent, mine, foreign, run("alone")]))
    assert [key[2] for key in intake.top()] == ["p", "foreign", "alone"]


def test_the_pod_of_a_run_is_found_beside_it() -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "r-pod", "namespace": "ns"}}
    intake = taken(json.dumps([run(status={"podName": "r-pod"}), pod]))
    assert intake.pod_of(intake.snapshot(("TaskRun", "ns", "r"))) == pod


def test_an_unreadable_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Is a directory"):
        load_documents_from(tmp_path)


def load_documents_from(path: Path) -> None:
    from chains.documents import read_bytes

    read_bytes(path)
