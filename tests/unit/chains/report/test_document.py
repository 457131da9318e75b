"""The document of a report: its schema, its file, and what is refused."""

from __future__ import annotations

import json
from collections import Counter
from io import BytesIO
from pathlib import Path

import jsonschema
import orjson
import pytest

from chains.errors import InputError
from chains.report.document.file import Document, canonical, read_document, write_document
from chains.report.document.format import ROWS, STATES, moment, text
from chains.report.document.schema import json_schema, schema_bytes
from tests.audit_truth import World
from tests.unit.chains.report.made import gathered, small_world

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return small_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def document(world: World) -> Document:
    return gathered(world)


def written(document: Document) -> bytes:
    out = BytesIO()
    write_document(document, out)
    return out.getvalue()


def test_the_published_schema_is_that_of_the_types() -> None:
    assert (ROOT / "docs" / "report.schema.json").read_bytes() == schema_bytes()


def test_a_report_of_real_evidence_fits_the_schema(document: Document) -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    whole = json.loads(written(document))
    assert list(validator.iter_errors(whole)) == []
    assert list(validator.iter_errors({**whole, "more": 1}))
    assert list(validator.iter_errors({name: one for name, one in whole.items() if name != "limits"}))


def test_a_report_has_the_states_that_the_world_was_made_with(document: Document, world: World) -> None:
    found = {
        one["uid"] or f"{one['namespace']}/{one['name']}": (one["state"], one["reason"], one["detail"])
        for one in document.runs()
        if one["state"] != "evidenced"
    }
    assert found == world.expected
    head = document.head
    assert head["population"]["finished"] == world.finished
    states = Counter(one["state"] for one in document.runs())
    assert head["counts"] == {state: states[state] for state in STATES}
    assert head["coverage"] == {
        "least": states["evidenced"],
        "most": states["evidenced"] + 1,
        "finished": world.finished,
        "text": "78.0 % to 80.4 %",
    }


def test_evidence_and_artifacts_lead_to_their_runs(document: Document) -> None:
    runs = {one["uid"]: one for one in document.runs()}
    attestations = {one["digest"]: one for one in document.attestations()}
    assert {one["uid"] for one in attestations.values()} <= runs.keys()
    for run in runs.values():
        assert all(attestations[digest]["uid"] == run["uid"] for digest in run["attestations"])
        if run["state"] == "evidenced":
            assert any(attestations[digest]["result"] == "verified" for digest in run["attestations"])
    for one in document.artifacts():
        assert one["state"] == runs[one["uid"]]["state"]
        assert one["attested"] is (one["state"] == "evidenced")
        assert bool(one["builder"]) is one["attested"]


def test_a_file_is_read_as_it_was_written(document: Document, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(written(document))
    again = read_document(path)
    assert again.head == document.head
    for name in ROWS:
        assert list(again.rows(name)) == list(document.rows(name))
        assert list(again.rows(name)) == list(document.rows(name)), "a second time"
    assert written(again) == path.read_bytes()


def test_the_same_world_gives_the_same_bytes(world: World, document: Document) -> None:
    assert written(gathered(world)) == written(document)


def test_the_members_are_sorted_and_no_fraction_is_in_a_report(document: Document) -> None:
    def looked_at(value: object) -> None:
        assert not isinstance(value, float)
        if isinstance(value, dict):
            assert list(value) == sorted(value)
            for each in value.values():
                looked_at(each)
        elif isinstance(value, list):
            for each in value:
                looked_at(each)

    looked_at(json.loads(written(document)))


def _without_member(data: bytes) -> bytes:
    lines = data.split(b"\n")
    return b"\n".join(one for one in lines if not one.startswith(b'"limits"'))


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: data + b" ",
        lambda data: data.replace(b'"schema":', b'"schema": '),
        lambda data: data.replace(b'"reports/v1"', b'"reports/v2"').replace(b"/report/v1", b"/report/v9"),
        lambda data: orjson.dumps(orjson.loads(data)),
        lambda data: json.dumps(json.loads(data), indent=1).encode(),
        _without_member,
        lambda data: data.replace(b'"runs":[', b'"runs":[{},'),
        lambda data: data.replace(b'"state":"missing"', b'"state": "missing"'),
        lambda data: data.replace(b'"kind":"TaskRun"', b'"kind":7', 1),
        lambda data: data.replace(b'"exitCode":1', b'"exitCode":true'),
        lambda data: data.replace(b'"failed":', b'"failedd":', 1),
        lambda data: data.replace(b'"state":"missing"', b'"state":"lost"', 1),
        lambda data: b"",
        lambda data: b"{}\n",
        lambda data: b"\xff\xfe" + data,
    ],
    ids=[
        "no-end", "half", "more-after-it", "blank", "schema", "one-line", "indented", "member-missing",
        "entry-in-line", "blank-in-entry", "type", "truth-for-number", "member", "word", "empty", "no-member", "not-text",
    ],
)  # fmt: skip
def test_a_file_that_was_not_written_so_is_refused(document: Document, tmp_path: Path, change) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(change(written(document)))
    with pytest.raises(InputError, match=r"report\.json: this is no report as it was written"):
        read_document(path)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_document(tmp_path / "none.json")


def test_texts_keep_their_value_and_lose_only_what_json_cannot_have() -> None:
    assert text("a\u202eb\x00\n|'\"<svg>") == "a\u202eb\x00\n|'\"<svg>"
    assert text("a\ud800b") == "a\\ud800b"
    assert text("x" * 1_000_000) == "x" * 2000 + "… (1000000 characters)"
    assert moment("2026-10-01T02:00:00.5+02:00") == "2026-10-01T00:00:00Z"
    assert moment("yesterday") is moment("") is moment(None) is None


def test_invisible_characters_are_escapes_in_the_file() -> None:
    line = canonical({"b": "a\u202eb\u200b\x7f", "a": 1})
    assert line == b'{"a":1,"b":"a\\u202eb\\u200b\\u007f"}'
    assert json.loads(line) == {"a": 1, "b": "a\u202eb\u200b\x7f"}
