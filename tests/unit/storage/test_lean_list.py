"""A list that is read entry by entry."""

from __future__ import annotations

import json
import re
import tracemalloc
from pathlib import Path

import pytest

from storage import lean_json, lean_list
from storage.errors import StoreRejected
from storage.layout.index import Index, IndexFile
from storage.lean_list import WINDOW, members_of

MIB = 1024 * 1024


def entry(number: int) -> dict[str, object]:
    return {"digest": f"sha256:{number:064x}", "mediaType": "ä€𝄞", "annotations": {"a": [1.5, None, True]}}


@pytest.fixture
def small_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lean_list, "WINDOW", 300)


def read(data: bytes) -> tuple[dict[str, object], list[object]]:
    taken: list[bytes] = []
    others = members_of(data, "manifests", taken.append)
    return others, [json.loads(each) for each in taken]


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.usefixtures("small_window")
def test_entries_and_other_members_come_as_a_parser_reads_them(
    indent: int | None, *, ascii_only: bool
) -> None:
    entries = [entry(number) for number in range(50)]
    document = {"schemaVersion": 2, "manifests": entries, "x": {"y": []}}
    data = json.dumps(document, indent=indent, ensure_ascii=ascii_only).encode()
    assert read(b"\n" + data + b" ") == ({"schemaVersion": 2, "x": {"y": []}}, entries)
    assert read(b'{"manifests" : [ ] }') == ({}, [])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "expected { at byte 0"),
        (b"[]", "expected { at byte 0"),
        (b"{}", "it has no manifests"),
        (b'{"manifests":{}}', "expected [ at byte 13"),
        (b'{"manifests":[1,]}', "expected a value of at most"),
        (b'{"manifests":[1 2]}', "expected ] at byte 16"),
        (b'{"manifests":[1]', "expected } at byte 16"),
        (b'{"manifests":[1]}}', "it has content after its end, at byte 17"),
        (b'{"manifests":[1],"manifests":[]}', "'manifests' is repeated"),
        (b'{"a":1,"\\u0061":1,"manifests":[1]}', "'a' is repeated"),
        (b'{1:2,"manifests":[1]}', "'1' is repeated, or its name is not a string"),
        (b'{"manifests":["\xff"]}', "expected a value of at most"),
    ],
)
def test_anything_else_is_refused_with_its_place(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        read(data)


def test_an_entry_larger_than_the_window_is_refused() -> None:
    assert read(b'{"manifests":["%b"]}' % (b"x" * (WINDOW - 10)))[1] == ["x" * (WINDOW - 10)]
    with pytest.raises(ValueError, match="expected a value of at most 262144 bytes at byte 14"):
        read(b'{"manifests":["%b"]}' % (b"x" * WINDOW))


def test_an_index_of_empty_lists_is_refused_and_takes_no_memory(tmp_path: Path) -> None:
    data = b'{"manifests":[%b[]]}' % (b"[]," * MIB)
    (tmp_path / "index.json").write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(StoreRejected, match="is not an image index"):
            IndexFile(tmp_path).read(Index())
        assert tracemalloc.get_traced_memory()[1] < len(data) + 4 * MIB
    finally:
        tracemalloc.stop()


def test_an_index_of_too_small_entries_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lean_json, "MOST_VALUES", 10)
    (tmp_path / "index.json").write_text(json.dumps({"manifests": [{"digest": str(n)} for n in range(99)]}))
    with pytest.raises(
        StoreRejected, match=r"is not an image index \(more than 17 entries in 1787 bytes\): move"
    ):
        IndexFile(tmp_path).read(Index())


def test_a_large_index_has_the_entries_that_a_small_one_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = {"schemaVersion": 2, "manifests": [entry(number) for number in range(99)], "other": {"a": 1}}
    (tmp_path / "index.json").write_text(json.dumps(document))
    small = IndexFile(tmp_path).read(Index())
    monkeypatch.setattr(lean_json, "MOST_VALUES", 10)
    large = IndexFile(tmp_path).read(Index())
    assert (large.entries, large.others) == (small.entries, small.others)
    assert len(large.entries) == 99
