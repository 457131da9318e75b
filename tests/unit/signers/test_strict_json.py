from __future__ import annotations

import base64

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signers.errors import FormatError
from signers.strict_json import (
    MOST_VALUES,
    check_names,
    decode_base64,
    expect_few,
    kind_of,
    member,
    parse_object,
)


@settings(deadline=None)
@given(st.binary())
def test_both_alphabets_decode_to_the_same(raw: bytes) -> None:
    assert decode_base64(base64.b64encode(raw).decode(), "x") == raw
    assert decode_base64(base64.urlsafe_b64encode(raw).decode(), "x") == raw


@settings(deadline=None)
@given(st.text("ABab+/-_=", max_size=8))
def test_every_value_has_one_text_per_alphabet(text: str) -> None:
    try:
        raw = decode_base64(text, "x")
    except FormatError:
        return
    assert text in (base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode())


def test_integers_keep_every_digit() -> None:
    assert parse_object(b'{"n": 9007199254740993, "u": 18446744073709551615}', "x", 99) == {
        "n": 2**53 + 1,
        "u": 2**64 - 1,
    }


@settings(deadline=None)
@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 9)))
def test_objects_read_as_orjson_reads_them(value: dict[str, int]) -> None:
    assert parse_object(orjson.dumps(value), "x", 10_000) == value


def test_numbers_that_no_reader_keeps_are_refused() -> None:
    for text in (b'{"n": 1e999}', b'{"n": %b}' % (b"1" * 5000), b'{"n": Infinity}', b'{"n": 01}'):
        with pytest.raises(FormatError, match="x is not unambiguous JSON"):
            parse_object(text, "x", 10_000)


def test_many_members_are_read_in_linear_time() -> None:
    text = b"{%b}" % b",".join(b'"%d":0' % number for number in range(200_000))
    assert len(parse_object(text, "x", 10_000_000, 500_000)) == 200_000
    with pytest.raises(FormatError, match="two members are named '7'"):
        parse_object(text[:-1] + b',"7":1}', "x", 10_000_000, 500_000)


@pytest.mark.parametrize("unit", [b"[]", b"{}", b'""', b"1", b'{"":0}', b"[[]]"])
def test_a_document_of_more_values_than_are_read_is_refused_before_it_is_parsed(unit: bytes) -> None:
    text = b'{"x":[%b]}' % b",".join([unit] * MOST_VALUES)
    with pytest.raises(FormatError, match=r"x has some \d+ values, at most 200000 are read"):
        parse_object(text, "x", 10_000_000)
    few = b'{"x":[%b]}' % b",".join([unit] * 1000)
    parse_object(few, "x", 10_000_000, 10_000)
    expect_few(b'{"x":"%b"}' % (b"A" * 10_000_000), "x", 10)


def test_names_that_others_would_take_for_ours_are_refused() -> None:
    known = frozenset({"payloadType", "sig"})
    for name in ("payloadtype", "PayloadType", "payload_type", "PAYLOAD_TYPE", "SIG", "s_ig", "\u017fig"):
        with pytest.raises(FormatError, match="must be spelled"):
            check_names({name: 1}, known, "x")
    check_names({"payloadType": 1, "sigs": 2, "": 3, "payload-type": 4}, known, "x")


def test_a_member_of_another_kind_says_what_it_is() -> None:
    assert member({"n": 1}, "n", int, "x") == 1
    with pytest.raises(FormatError, match="x: n must be an object, got a number"):
        member({"n": 1.5}, "n", dict, "x")
    assert kind_of(b"") == "bytes"
