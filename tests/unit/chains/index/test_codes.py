"""How values are written in the index, and read from it again."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.index.codes import (
    LONGEST_TEXT,
    clean,
    digest_bytes,
    digest_text,
    original,
    place,
    place_parts,
    prefix_range,
    uid_bytes,
    uid_text,
)

# surrogates and NUL, too
ANY_TEXT = st.text(st.characters(codec=None), max_size=200)
HEX = st.binary(min_size=1, max_size=64).map(bytes.hex)


@given(ANY_TEXT)
def test_text_that_a_database_refuses_is_written_in_another_way_and_read_back_unchanged(text: str) -> None:
    written = clean(text)
    assert original(written) == text
    with sqlite3.connect(":memory:") as database:
        assert database.execute("SELECT ?", (written,)).fetchone() == (written,)
    assert "\0" not in written


def test_what_looks_like_an_escape_stays_apart_from_one() -> None:
    assert clean("\0") == r"\u0000"
    assert clean(r"\u0000") == r"\\u0000"
    assert original(r"\\u0000") == r"\u0000"
    assert clean("\ud800") == r"\ud800"


def test_a_name_that_is_too_long_is_cut_visibly() -> None:
    assert clean("a" * LONGEST_TEXT) == "a" * LONGEST_TEXT
    one, other = clean("a" * LONGEST_TEXT + "b"), clean("a" * LONGEST_TEXT + "c")
    assert one != other
    for cut in (one, other, clean("\U0001f600" * 1000), clean("\0" * 1000)):
        assert len(cut.encode()) <= LONGEST_TEXT
        assert cut[-17] == "…"


@given(HEX | ANY_TEXT)
def test_a_digest_is_stored_as_bytes_and_read_back(value: str) -> None:
    assert digest_text(digest_bytes(value)) == value


def test_hex_takes_half_its_length() -> None:
    assert digest_bytes("ab" * 32) == b"\xab" * 32


@given(st.text("0123456789abcdef", min_size=1, max_size=20), st.binary(min_size=10, max_size=20))
def test_a_prefix_is_the_range_of_the_digests_that_begin_with_it(prefix: str, digest: bytes) -> None:
    first, behind = prefix_range(prefix)
    is_within = first <= digest and (behind is None or digest < behind)
    assert is_within == digest.hex().startswith(prefix)


@pytest.mark.parametrize("text", ["", "AB", "xy", "a b", "١٢"])
def test_only_hex_is_a_prefix(text: str) -> None:
    with pytest.raises(ValueError, match="hex digits"):
        prefix_range(text)


@given(st.uuids().map(str) | ANY_TEXT)
def test_a_uid_is_read_back_as_it_was(uid: str) -> None:
    assert uid_text(uid_bytes(uid)) == uid


def test_a_kubernetes_uid_takes_16_bytes() -> None:
    assert len(uid_bytes("11111111-2222-3333-4444-555555555555")) == 16


@given(
    ANY_TEXT
    | st.builds(
        "{}@sha256:{}".format, st.text(max_size=9), st.binary(min_size=32, max_size=32).map(bytes.hex)
    )
)
def test_a_place_is_read_back_as_it_was(location: str) -> None:
    digest = b"\x17" * 32
    folder, end = place_parts(location, digest)
    assert place(clean(folder), end, digest) == location


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_the_place_of_an_image_signature_has_two_digests(manifest: bytes, signature: bytes) -> None:
    location = f"layout@sha256:{manifest.hex()}#sha256:{signature.hex()}"
    folder, end = place_parts(location, manifest)
    assert (folder, end) == ("layout@sha256:", manifest + signature)
    assert place(folder, end, b"") == location


def test_a_place_that_ends_with_the_digest_of_the_evidence_has_no_end_of_its_own() -> None:
    digest = b"\x17" * 32
    assert place_parts(f"registry.example/shop@sha256:{digest.hex()}", digest) == (
        "registry.example/shop@sha256:",
        b"",
    )
