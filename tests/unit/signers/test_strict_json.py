from __future__ import annotations

import base64
import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signers.errors import FormatError
from signers.strict_json import (
    MOST_VALUES,
    check_names,
    check_shape,
    decode_base64,
    expect_few,
    kind_of,
    member,
    parse_object,
)

Json = Any


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


_PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**25), 10**25)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("ab\u00e9", max_size=2), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.dictionaries(st.text("ab", max_size=2), _PLAIN, max_size=4), st.sampled_from([None, (",", ":")]))
def test_every_value_is_read_exactly_however_it_is_written(value: dict[str, Json], spaces: Json) -> None:
    for is_ascii in (True, False):
        read = parse_object(
            json.dumps(value, separators=spaces, ensure_ascii=is_ascii).encode(), "x", 100_000
        )
        assert read == value
        assert json.dumps(read) == json.dumps(value)  # True is no 1, and 1 is no 1.0


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 2)), min_size=1, max_size=4))
def test_a_repeated_name_is_refused_in_every_spelling(pairs: list[tuple[str, int]]) -> None:
    inner = ",".join(f'"{name}":{value}' for name, value in pairs)
    is_repeated = len({name for name, _ in pairs}) < len(pairs)
    for text in (f"{{{inner}}}", f"{{ {inner}}}", f'{{"x":[{{{inner}}}]}}'):
        if is_repeated:
            with pytest.raises(FormatError, match="two members are named"):
                parse_object(text.encode(), "x", 10_000)
        else:
            assert parse_object(text.encode(), "x", 10_000) == json.loads(text)


def test_integers_beyond_64_bits_are_exact_in_compact_json() -> None:
    for number in (2**64, -(2**63) - 1, 10**30):
        assert parse_object(b'{"n":%d}' % number, "x", 99) == {"n": number}
    assert parse_object(b'{"n":-0}', "x", 99) == {"n": 0}
    assert str(parse_object(b'{"n":-0.0}', "x", 99)["n"]) == "-0.0"


def test_what_is_too_deep_to_be_written_again_is_read_all_the_same() -> None:
    for depth in (200, 300, 900):
        text = b'{"x":' + b"[" * depth + b"]" * depth + b"}"
        assert parse_object(text, "x", 10_000) == json.loads(text)
        with pytest.raises(FormatError, match="two members are named 'x'"):
            parse_object(text[:-1] + b',"x":0}', "x", 10_000)


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


def test_values_are_counted_up_to_the_limit_and_not_beyond() -> None:
    text = b'{"x":[1,2]}'
    expect_few(text, "x", 5)
    with pytest.raises(FormatError) as caught:
        expect_few(text, "x", 4)
    assert str(caught.value) == "x has some 5 values, at most 4 are read"


def test_the_reason_of_a_parser_is_cut_after_160_characters() -> None:
    name = "\\u0001" * 64
    with pytest.raises(FormatError) as caught:
        parse_object(f'{{"{name}":1,"{name}":2}}'.encode(), "x", 10_000)
    reason = "two members are named '" + "\\x01" * 64
    assert str(caught.value) == f"x is not unambiguous JSON: {reason[:160]}"


def test_of_two_spellings_of_one_name_either_may_be_there_but_not_both() -> None:
    known = ("type", "key|public_key")
    check_names({"key": 1, "type": 2}, known, "x")
    check_names({"public_key": 1}, known, "x")
    with pytest.raises(FormatError) as caught:
        check_names({"key": 1, "public_key": 2}, known, "x")
    assert str(caught.value) == "x: has key and public_key, two spellings of one name"
    with pytest.raises(FormatError) as caught:
        check_names({"publicKey": 1}, known, "x")
    assert str(caught.value) == "x: member 'publicKey' must be spelled 'public_key'"


def test_every_object_that_a_shape_describes_is_checked() -> None:
    shape = {"sig": None, "one|two": {"keyid": None}, "free": None}
    check_shape({"sig": 1, "two": {"keyid": 1}, "free": {"Sig": 1, "Keyid": 2}}, shape, "x")
    wrong = {"Keyid": 1}
    for value, where in (
        ({"Sig": 1}, "x: member 'Sig' must be spelled 'sig'"),
        ([1, {"Sig": 1}], "x: member 'Sig' must be spelled 'sig'"),
        ({"one": wrong}, "x: one: member 'Keyid' must be spelled 'keyid'"),
        ({"two": [{}, wrong]}, "x: two: member 'Keyid' must be spelled 'keyid'"),
    ):
        with pytest.raises(FormatError) as caught:
            check_shape(value, shape, "x")
        assert str(caught.value) == where


@pytest.mark.parametrize("size", range(1, 9))
def test_a_value_has_one_text_whatever_its_length(size: int) -> None:
    text = base64.b64encode(bytes(size)).decode()
    assert decode_base64(text, "x") == bytes(size)
    if size % 3:
        other = text.rstrip("=")[:-1] + "B" + "=" * (3 - size % 3)
        with pytest.raises(FormatError, match="x is not base64: its last group is not as RFC 4648 requires"):
            decode_base64(other, "x")
