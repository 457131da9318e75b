"""The document of a revocation list: what is read, what is refused, and that writing loses nothing."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from chains.revocation.document import (
    MOST_ENTRIES,
    MOST_EXPRESSIONS,
    MOST_PEMS,
    RevocationList,
    parse_list,
    write_list,
)
from chains.revocation.entry import Kind, Name, in_order
from signers.errors import FormatError
from tests.faults.verify.forge import public
from tests.unit.chains.revocation.made import ISSUED, at, document

Json = Any
SCHEMA = json.loads((Path(__file__).parents[4] / "docs" / "revocations.schema.json").read_text())
KEYID = public().keyid
HEX = "ab" * 32
SAN = {"san": "https://ci.example.com/a", "issuer": "https://issuer.example.com"}
GOOD = [
    {"key": KEYID},
    {"key": KEYID, "since": "2026-01-01T00:00:00Z"},
    {"pem": public().pem.decode()},
    {"identity": SAN},
    {"identity": SAN, "since": "2026-01-01T00:00:00Z", "until": "2026-02-01T00:00:00+01:00"},
    {"identity": {"sanRegexp": r".*@example\.com", "issuerRegexp": r"https://[a-z]+\.example\.com"}},
    {"image": f"sha256:{HEX}"},
    {"image": f"sha512:{HEX}{HEX}"},
    {"builder": "https://builder.example.com/v1"},
    {"verifier": "https://verifier.example.com"},
    {"task": f"sha256:{HEX}"},
    {"task": "sha1:" + "a" * 40},
    {"image": f"sha256:{HEX}", "reason": "\x1b[2J\u202e"},
]
BAD = {
    "no subject": {},
    "two subjects": {"key": KEYID, "image": f"sha256:{HEX}"},
    "an unknown member": {"key": KEYID, "sinse": "2026-01-01T00:00:00Z"},
    "a key id of another form": {"key": "SHA256:abc"},
    "a key id in hex": {"key": HEX},
    "a key that is no text": {"key": 7},
    "an empty reason": {"key": KEYID, "reason": ""},
    "a reason that is too long": {"key": KEYID, "reason": "x" * 2049},
    "a time without zone": {"key": KEYID, "since": "2026-01-01T00:00:00"},
    "a day": {"key": KEYID, "since": "2026-01-01"},
    "a time that is a number": {"key": KEYID, "since": 7},
    "an end for a key": {"key": KEYID, "until": "2026-01-01T00:00:00Z"},
    "an end for an image": {"image": f"sha256:{HEX}", "until": "2026-01-01T00:00:00Z"},
    "an identity without issuer": {"identity": {"san": "a"}},
    "an identity with both spellings": {"identity": {**SAN, "sanRegexp": "a"}},
    "an identity with an unknown member": {"identity": {**SAN, "subject": "a"}},
    "an identity that is a text": {"identity": "a"},
    "an empty identity": {"identity": {**SAN, "san": ""}},
    "an image by sha1": {"image": "sha1:" + "a" * 40},
    "an image with capitals": {"image": "sha256:" + HEX.upper()},
    "an image that is too short": {"image": "sha256:ab"},
    "an image without algorithm": {"image": HEX},
    "an image with a line break": {"image": f"sha256:{HEX}\n"},
    "a builder with a space": {"builder": "https://a b"},
    "an empty builder": {"builder": ""},
    "a Task by name": {"task": "git-clone"},
}
"""What the reader and the schema both refuse."""
READER_ALONE = {
    "a PEM that is none": {"pem": "hello"},
    "an end before the begin": {
        "identity": SAN,
        "since": "2026-02-01T00:00:00Z",
        "until": "2026-01-01T00:00:00Z",
    },
    "an expression that can take for ever": {"identity": {"sanRegexp": "(a+)+", "issuer": "b"}},
    "an expression that is none": {"identity": {"sanRegexp": "(", "issuer": "b"}},
    "a month that is none": {"key": KEYID, "since": "2026-13-01T00:00:00Z"},
}
"""What a schema cannot say."""


def is_valid(data: bytes) -> bool:
    checker = jsonschema.Draft202012Validator(SCHEMA)
    return checker.is_valid(json.loads(data))


@pytest.mark.parametrize("entry", GOOD, ids=lambda entry: next(iter(entry)))
def test_an_entry_of_every_kind_is_read_and_the_schema_agrees(entry: Json) -> None:
    data = document(entry)
    (found,) = parse_list(data).entries
    assert is_valid(data)
    kind = next(iter(entry))
    assert found.kind is (Kind.KEY if kind == "pem" else Kind(kind))
    if kind in {"key", "pem"}:
        assert found.value == KEYID


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_entry_is_refused_and_the_schema_agrees(name: str) -> None:
    data = document(BAD[name])
    assert not is_valid(data), "by the schema"
    with pytest.raises(FormatError, match=r"revocation list: entry 1: "):
        parse_list(data)


@pytest.mark.parametrize("name", READER_ALONE)
def test_what_a_schema_cannot_say_is_refused_too(name: str) -> None:
    with pytest.raises(FormatError, match=r"revocation list: entry 1: "):
        parse_list(document(READER_ALONE[name]))


@pytest.mark.parametrize(
    "more",
    [
        {"version": 0},
        {"version": -1},
        {"version": True},
        {"version": "7"},
        {"version": 1.5},
        {"version": 2**53},
        {"issued": "yesterday"},
        {"expires": "soon"},
        {"entries": {}},
        {"entries": ["a"]},
        {"expire": "2027-01-01T00:00:00Z"},
    ],
    ids=str,
)
def test_a_wrong_list_is_refused_and_the_schema_agrees(more: Json) -> None:
    data = document(**more)
    assert not is_valid(data), "by the schema"
    with pytest.raises(FormatError, match=r"revocation list"):
        parse_list(data)


@pytest.mark.parametrize("missing", ["version", "issued", "entries"])
def test_a_list_without_one_of_its_members_is_refused(missing: str) -> None:
    members = json.loads(document())
    del members[missing]
    assert not is_valid(json.dumps(members).encode())
    with pytest.raises(FormatError, match=missing):
        parse_list(json.dumps(members).encode())


def test_a_list_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(FormatError, match="expires is not after issued"):
        parse_list(document(expires=ISSUED))


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{", b"\xff", b'{"version":1,"version":2}'], ids=repr)
def test_what_is_no_json_object_with_one_reading_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError, match="revocation list"):
        parse_list(data)


@pytest.mark.parametrize("entry", [one for one in GOOD if "pem" not in one], ids=lambda one: next(iter(one)))
def test_an_entry_that_is_listed_twice_is_refused(entry: Json) -> None:
    with pytest.raises(FormatError, match="is listed twice"):
        parse_list(document(entry, {**entry, "reason": "once more"}))


def test_a_key_by_its_id_and_by_its_pem_is_the_same_entry() -> None:
    with pytest.raises(FormatError, match="is listed twice"):
        parse_list(document({"key": KEYID}, {"pem": public().pem.decode()}))


def test_an_identity_may_have_several_windows() -> None:
    found = parse_list(
        document(
            {"identity": SAN, "since": "2026-01-01T00:00:00Z", "until": "2026-02-01T00:00:00Z"},
            {"identity": SAN, "since": "2026-03-01T00:00:00Z", "until": "2026-04-01T00:00:00Z"},
        )
    )
    assert len(found.entries) == 2


def test_writing_and_reading_a_list_loses_nothing_and_sorts_it() -> None:
    given = [one for one in GOOD if "pem" not in one and one != {"key": KEYID}][:-1]
    before = parse_list(document(*reversed(given), version=9, expires="2027-01-01T00:00:00.5Z"))
    after = parse_list(write_list(before))
    assert (after.version, after.issued, after.expires) == (9, before.issued, before.expires)
    assert after.entries == in_order(before.entries)
    assert [one.kind for one in after.entries] == sorted(
        (one.kind for one in before.entries), key=list(Kind).index
    )
    assert write_list(after) == write_list(before), "writing again changes nothing"


def test_the_digest_is_that_of_the_bytes() -> None:
    one = parse_list(document({"key": KEYID}))
    assert one.digest.startswith("sha256:")
    assert one.digest == parse_list(document({"key": KEYID})).digest
    assert one.digest != parse_list(document({"key": KEYID}) + b"\n").digest


def test_a_hundred_thousand_entries_are_read_and_one_more_is_refused() -> None:
    entries = [{"image": f"sha256:{number:064x}", "reason": "r"} for number in range(MOST_ENTRIES)]
    found = parse_list(document(*entries))
    assert len(found.entries) == MOST_ENTRIES
    with pytest.raises(FormatError, match=f"at most {MOST_ENTRIES}"):
        parse_list(document(*entries, {"key": KEYID}))


def test_expressions_and_pems_are_bounded() -> None:
    expressions = [
        {"identity": {"sanRegexp": f"a{number}", "issuer": "b"}} for number in range(MOST_EXPRESSIONS + 1)
    ]
    assert len(parse_list(document(*expressions[1:])).entries) == MOST_EXPRESSIONS
    with pytest.raises(FormatError, match=f"at most {MOST_EXPRESSIONS}"):
        parse_list(document(*expressions))
    with pytest.raises(FormatError, match=f"more than {MOST_PEMS} keys in PEM"):
        parse_list(document(*[{"pem": "x"}] * (MOST_PEMS + 1)))


def test_a_list_is_over_from_its_end_on() -> None:
    end = at("2026-01-02T00:00:00Z")
    found = RevocationList(1, at(ISSUED), expires=end)
    assert not found.is_over(end - timedelta(seconds=1))
    assert found.is_over(end)
    assert not RevocationList(1, at(ISSUED)).is_over(end)


@pytest.mark.parametrize(
    ("name", "is_matched"),
    [("a@example.com", True), ("a@example.com.evil", False), ("b a@example.com", False), ("", False)],
)
def test_an_expression_is_compared_with_all_of_a_name(name: str, is_matched: bool) -> None:
    assert Name(r"[a-z]+@example\.com", is_regexp=True).matches(name) is is_matched


def test_a_name_that_is_too_long_to_be_compared_counts_as_revoked() -> None:
    assert Name("a", is_regexp=True).matches("b" * 2049)
    assert not Name("a").matches("b" * 2049)
    assert not Name("").matches("")
