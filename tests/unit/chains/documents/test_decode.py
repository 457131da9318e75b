"""One object that cannot be decoded spoils no other, and is known by its name."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chains.documents.decode import (
    MOST_LEVELS,
    UNREADABLE,
    Unreadable,
    _elements,
    _members,
    decode,
    decode_event,
    decode_object,
    decode_page,
    end_of,
)
from chains.errors import InputError
from chains.tekton.snapshot import has_ended, take_snapshot

Json = Any
GOOD: Json = {
    "apiVersion": "tekton.dev/v1", "kind": "TaskRun",
    "metadata": {"name": "good", "namespace": "ns", "uid": "u-good", "resourceVersion": "1"},
    "status": {"conditions": [{"type": "Succeeded", "status": "True"}]},
}  # fmt: skip


def deep(levels: int, *, of: str = "object") -> bytes:
    return b"[" * levels + b"]" * levels if of == "array" else b'{"a":' * levels + b"1" + b"}" * levels


def hostile(inside: bytes, name: str = "bad") -> bytes:
    """Return a finished run with something in its spec, and the same nesting in its managed fields."""
    return (
        b'{"apiVersion":"tekton.dev/v1","kind":"TaskRun","metadata":{"name":"' + name.encode()
        + b'","namespace":"ns","uid":"u-bad","resourceVersion":"7","finalizers":["chains.tekton.dev/taskrun"],'
        + b'"labels":{"x":"]}\\"{["},"managedFields":[{"fieldsV1":' + inside + b"}]},"
        + b'"spec":{"managedBy":"tekton.dev/pipeline","params":' + inside + b"},"
        + b'"status":{"conditions":[{"type":"Succeeded","status":"True"}],"completionTime":"2026-01-02T03:04:05Z",'
        + b'"results":' + inside + b"}}"
    )  # fmt: skip


HOSTILE = {
    "deep objects": deep(9000),
    "deep arrays": deep(9000, of="array"),
    "deeper than we write": deep(MOST_LEVELS),
    "half a surrogate": b'"\\ud800"',
    "not UTF-8": b'"\xff\xfe"',
    "no number": b"NaN",
    "a number beyond all": b"1" + b"0" * 5000,
}
hostile_things = pytest.mark.parametrize("inside", HOSTILE.values(), ids=HOSTILE.keys())


@hostile_things
def test_an_object_that_cannot_be_read_has_an_outline_with_a_reason(inside: bytes) -> None:
    found = decode_object(hostile(inside))
    assert found is not None
    reason = found.pop(UNREADABLE)
    assert reason.startswith(("it is nested deeper than 200 levels", "not JSON: "))
    assert found == {
        "apiVersion": "tekton.dev/v1", "kind": "TaskRun",
        "metadata": {
            "name": "bad", "namespace": "ns", "uid": "u-bad", "resourceVersion": "7",
            "finalizers": ["chains.tekton.dev/taskrun"], "labels": {"x": ']}"{['},
        },
        "spec": {"managedBy": "tekton.dev/pipeline"},
        "status": {
            "conditions": [{"type": "Succeeded", "status": "True"}], "completionTime": "2026-01-02T03:04:05Z",
        },
    }  # fmt: skip
    assert has_ended(found)


@hostile_things
def test_of_a_page_the_others_are_read(inside: bytes) -> None:
    good = orjson.dumps(GOOD)
    data = b'{"kind":"TaskRunList","items":[' + b",".join((good, hostile(inside), good))
    page = decode_page(data + b'],"metadata":{"continue":"next","resourceVersion":"9"}}')
    assert page["items"][0] == page["items"][2] == GOOD
    assert page["items"][1]["metadata"]["name"] == "bad"
    assert page["metadata"] == {"continue": "next", "resourceVersion": "9"}
    assert page["kind"] == "TaskRunList"


@hostile_things
def test_an_event_of_the_watch_keeps_its_type(inside: bytes) -> None:
    event = decode_event(b'{"type":"MODIFIED","object":' + hostile(inside) + b"}")
    assert event is not None
    assert (event["type"], event["object"]["metadata"]["uid"]) == ("MODIFIED", "u-bad")


@hostile_things
def test_no_statement_is_made_of_an_outline(inside: bytes) -> None:
    with pytest.raises(InputError, match=r"taskrun/ns/bad: cannot be read: (it is nested|not JSON)"):
        take_snapshot(decode_object(hostile(inside)))


def test_what_is_read_can_be_written_and_decoded_by_others() -> None:
    for levels in (1, 100, MOST_LEVELS):
        found = decode(deep(levels))
        assert json.loads(orjson.dumps(found)) == found
    for levels in (MOST_LEVELS + 1, 1000, 1024, 1025, 100_000):
        for kind in ("object", "array"):
            with pytest.raises(Unreadable, match="nested deeper than 200 levels"):
                decode(deep(levels, of=kind))


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"<html>", b"[]", b'{"items":[', b'{"metadata":{"name":"a"}', b'{"metadata":{"uid":"u"},"x":NaN}',
     b'{"metadata":{"name":1,"uid":2},"x":NaN}', b'{"a" 1}', b'{"a":1 "b":2}', b'{"a":"\\"}'],
)  # fmt: skip
def test_what_is_no_object_is_not_taken_for_one(data: bytes) -> None:
    assert decode_object(data) is None


@pytest.mark.parametrize("data", [b"", b"{", b"<html>", b"[]", b'{"items":[{]}', b'{"items":[1,2', b"null"])
def test_what_is_no_list_is_an_error(data: bytes) -> None:
    with pytest.raises(Unreadable):
        decode_page(data)


def test_what_has_no_name_is_left_out_of_a_page_and_of_a_watch() -> None:
    data = b'{"items":[{"metadata":{"name":"a"},"x":NaN},' + orjson.dumps(GOOD) + b"]}"
    assert decode_page(data)["items"] == [None, GOOD]
    assert decode_event(b'{"type":"ADDED","object":{"x":NaN}}') is None


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(), lambda inner:
    st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4), max_leaves=20,
)  # fmt: skip


@settings(max_examples=300)
@given(st.dictionaries(st.text(max_size=8), VALUES, max_size=5), st.sampled_from([None, 1]), st.booleans())
def test_the_scan_finds_the_members_that_a_parser_finds(
    value: dict[str, Json], indent: int | None, ascii_only: bool
) -> None:
    data = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    found = {json.loads(b'"' + name + b'"'): json.loads(data[a:b]) for name, a, b in _members(data, 0)}
    assert found == value
    listed = json.dumps(list(value.values()), indent=indent).encode()
    assert [json.loads(listed[a:b]) for a, b in _elements(listed, 0)] == list(value.values())
    assert end_of(data, 0) == len(data)


@settings(max_examples=300)
@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:\\ a1', max_size=60).map(str.encode))
def test_nothing_that_is_sent_breaks_the_scan(data: bytes) -> None:
    decode_object(b'{"metadata":' + data)
    decode_event(data)
    for whole in (data, b'{"items":[' + data):
        with suppress(Unreadable):
            decode_page(whole)
