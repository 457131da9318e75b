"""Files with more values than one object may have: read as lists, object by object, or refused at once."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from chains.documents import lists, load
from chains.documents.lists import MAX_RUN, split_list
from chains.documents.load import load_documents
from chains.errors import InputError
from chains.tekton import run_files
from chains.tekton.run_files import Intake

MIB = 1024 * 1024


def run(name: str, **spec: object) -> dict[str, object]:
    metadata = {"name": name, "namespace": "n", "uid": f"uid-{name}"}
    return {"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "metadata": metadata, "spec": spec}


@pytest.fixture
def few_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a hundred values be too many for one object, and a window end within most of them."""
    monkeypatch.setattr(load, "MOST_VALUES", 100)
    monkeypatch.setattr(lists, "_WINDOW", 700)


def read(data: bytes) -> Intake:
    found = Intake()
    found.add("export.json", data)
    return found


def peak(data: bytes) -> tuple[Intake, int]:
    """Return what was read, and the most memory that it took beside the text."""
    tracemalloc.start()
    try:
        return read(data), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.usefixtures("few_values")
def test_a_large_list_gives_the_runs_that_a_small_one_does(indent: int | None, *, ascii_only: bool) -> None:
    runs = [run(f"r{number}", text="ä€𝄞" * number, deep=[[{"a": ","}]]) for number in range(100)]
    document = {"apiVersion": "v1", "items": runs, "kind": "List", "metadata": {"resourceVersion": ""}}
    found = read(json.dumps(document, indent=indent, ensure_ascii=ascii_only).encode())
    assert found.problems == []
    assert [found.load(key) for key in found.runs] == runs


@pytest.mark.usefixtures("few_values")
def test_a_large_array_is_a_list_too() -> None:
    runs = [run(f"r{number}") for number in range(100)]
    found = read(b"\xef\xbb\xbf \n" + json.dumps(runs).encode() + b"\n")
    assert found.problems == []
    assert [found.load(key) for key in found.runs] == runs


@pytest.mark.usefixtures("few_values")
def test_items_of_a_large_typed_list_get_its_kind_wherever_it_stands() -> None:
    runs = [run(f"r{number}") for number in range(100)]
    bare = [{key: value for key, value in each.items() if key not in {"kind", "apiVersion"}} for each in runs]
    found = read(json.dumps({"items": bare, "apiVersion": "tekton.dev/v1", "kind": "TaskRunList"}).encode())
    assert found.problems == []
    assert [found.load(key) for key in found.runs] == runs


@pytest.mark.usefixtures("few_values")
def test_an_object_of_a_large_list_that_cannot_be_read_harms_no_other() -> None:
    runs = [json.dumps(run(f"r{number}")) for number in range(100)]
    runs[50] = f'{{"kind":"TaskRun","deep":{"[" * 5000}{"]" * 5000}}}'
    found = read(f'{{"kind":"List","items":[{",".join(runs)}]}}'.encode())
    assert len(found.runs) == 99
    assert found.problems == [("export.json", "export.json: object 51: it is nested deeper than 200 levels")]


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (b'{"kind":"List","items":[%b', "not JSON: "),
        (b'{"kind":"List","items":[%b]', "a comma and a value, or the end, are expected"),
        (b'{"kind":"List","items":[%b,]}', "a comma and a value, or the end, are expected"),
        (b'{"kind":"List","items":[%b]}}', "something stands behind its end"),
        (b'{"kind":"List","items":[%b],"items":[]}', "key 'items' comes twice"),
        (b'{"kind":"List","items":[%b],"\\u006bind":"List"}', "key 'kind' comes twice"),
        (b'{"kind":"List","items":[%b,{"a":1,"a":2}]}', "key 'a' comes twice"),
        (b'{"kind":"List","items":[%b,tru]}', "not JSON: "),
        (b'{"kind":"List","items":[%b,"\xff"]}', "not JSON: "),
        (b'{"kind":"Thing","items":[%b]}', "at most"),
        (b'{"kind":"List","thing":[%b]}', "at most"),
        (b'{"kind":"List","_items":1,"items":[%b]}', "readers would disagree"),
    ],
)
@pytest.mark.usefixtures("few_values")
def test_a_large_file_that_is_no_list_is_refused_whole(broken: bytes, reason: str) -> None:
    runs = ",".join(json.dumps(run(f"r{number}")) for number in range(100))
    found = read(broken % runs.encode())
    assert not found.runs
    [(source, problem)] = found.problems
    assert source == "export.json"
    assert problem.startswith("export.json: ")
    assert reason in problem


def test_nan_in_a_large_list_is_no_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "MOST_VALUES", 10)
    found = read(json.dumps([run("a"), run("b", value=float("nan")), run("c")]).encode())
    assert [key[2] for key in found.runs] == ["a", "c"]
    assert [problem.partition(":")[0] for _, problem in found.problems] == ["export.json"]


def test_a_list_of_empty_lists_is_left_after_a_hundred() -> None:
    found = read(b'{"kind":"List","items":[%b[]]}' % (b"[]," * 190_000))
    assert len(found.problems) == run_files.MOST_FOREIGN + 1
    assert "expected an object with kind and name" in found.problems[0][1]
    assert "the rest is not read" in found.problems[-1][1]


def test_a_file_of_millions_of_values_is_refused_before_they_are_made() -> None:
    found, most = peak(b'{"kind":"List","items":[%b[]]}' % (b"[]," * (2 * MIB // 3)))
    assert [problem for _, problem in found.problems] == [
        "export.json: more than 200000 objects in one list; split it"
    ]
    assert most < 32 * MIB


def test_one_object_of_millions_of_values_is_refused_before_they_are_made() -> None:
    found, most = peak(b'{"kind":"TaskRun","metadata":{"name":"x"},"spec":[%b[]]}' % (b"[]," * (MIB // 4)))
    assert len(found.problems) == 1
    assert "values, at most 400000 are read" in found.problems[0][1]
    assert most < 32 * MIB


def test_an_enormous_object_of_a_list_is_refused_with_its_place() -> None:
    data = b'{"kind":"List","items":[{"a":"%b"},%b1]}' % (b"x" * MAX_RUN, b"1," * 400_000)
    with pytest.raises(InputError, match=r"^f: an object at byte 24 has more than the 8 MiB that are read$"):
        split_list(data, "f", lambda _: None)


def test_yaml_of_too_many_values_is_refused_before_they_are_made() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"^f.yaml: more than 200000 values of YAML; export it as JSON$"):
            load_documents(b"a: [" + b"[]," * 210_000 + b"[]]", "f.yaml")
        assert tracemalloc.get_traced_memory()[1] < 16 * MIB
    finally:
        tracemalloc.stop()
