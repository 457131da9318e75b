"""One entry of a revocation list: when it strikes, what it covers, and how it is told."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chains.revocation.entry import Entry, Identity, Kind, Name, check_name, check_value, in_order
from signers.errors import FormatError
from tests.unit.chains.revocation.made import at

DAY = timedelta(days=1)
BEGIN, END = at("2026-01-10T00:00:00Z"), at("2026-01-20T00:00:00Z")
IDENTITY = Identity(Name("https://ci.example.com"), Name("https://issuer.example.com"))


def entry(since: bool = False, until: bool = False, reason: str = "leaked") -> Entry:
    return Entry(Kind.IDENTITY, "", reason, BEGIN if since else None, END if until else None, IDENTITY)


def test_an_entry_is_told_with_its_window_and_its_reason() -> None:
    name = "identity https://ci.example.com (issuer https://issuer.example.com) is revoked"
    assert str(entry()) == f"{name}: leaked"
    assert str(entry(since=True)) == f"{name} since 2026-01-10T00:00:00Z: leaked"
    assert str(entry(until=True)) == f"{name} until 2026-01-20T00:00:00Z: leaked"
    told = f"{name} since 2026-01-10T00:00:00Z until 2026-01-20T00:00:00Z: leaked"
    assert str(entry(since=True, until=True)) == told
    assert str(Entry(Kind.KEY, "SHA256:x", "r")) == "key SHA256:x is revoked: r"
    assert str(Identity(Name("a.*", is_regexp=True), Name("b"))) == "matching a.* (issuer b)"


def test_an_entry_strikes_within_its_window_and_without_a_time() -> None:
    second = timedelta(seconds=1)
    both = entry(since=True, until=True)
    for moment, is_struck in (
        (BEGIN - second, False),
        (BEGIN, True),
        (END - second, True),
        (END, False),
    ):
        assert both.strikes([moment]) is is_struck
    assert both.strikes([])
    assert both.strikes([BEGIN - DAY, BEGIN + DAY]), "each time has to be outside"
    assert not both.strikes([BEGIN - DAY, END + DAY])
    assert entry().strikes([END + DAY])
    assert entry(since=True).strikes([END + DAY])
    assert not entry(since=True).strikes([BEGIN - DAY])
    assert entry(until=True).strikes([BEGIN - DAY])
    assert not entry(until=True).strikes([END])


def test_an_entry_covers_what_revokes_no_more() -> None:
    wide, begins, ends, both = entry(), entry(since=True), entry(until=True), entry(since=True, until=True)
    covered = {
        id(wide): {id(wide), id(begins), id(ends), id(both)},
        id(begins): {id(begins), id(both)},
        id(ends): {id(ends), id(both)},
        id(both): {id(both)},
    }
    every = (wide, begins, ends, both)
    for one in every:
        assert {id(other) for other in every if one.covers(other)} == covered[id(one)]
    earlier = Entry(Kind.KEY, "a", "r", BEGIN - DAY)
    assert earlier.covers(Entry(Kind.KEY, "a", "s", BEGIN))
    assert not Entry(Kind.KEY, "a", "s", BEGIN).covers(earlier)
    assert not earlier.covers(Entry(Kind.KEY, "b", "r", BEGIN))
    assert not earlier.covers(Entry(Kind.BUILDER, "a", "r", BEGIN))
    shorter = Entry(Kind.IDENTITY, "", "r", None, END - DAY, IDENTITY)
    assert ends.covers(shorter)
    assert not shorter.covers(ends)


def test_entries_are_sorted_by_kind_and_then_by_what_is_revoked() -> None:
    given = [
        Entry(kind, value, "r") for kind in reversed(Kind) if kind is not Kind.IDENTITY for value in "ba"
    ]
    found = in_order([*given, entry()])
    kinds = [Kind.KEY, Kind.KEY, Kind.IDENTITY, Kind.IMAGE, Kind.IMAGE, Kind.BUILDER, Kind.BUILDER,
        Kind.VERIFIER, Kind.VERIFIER, Kind.TASK, Kind.TASK]  # fmt: skip
    assert [one.kind for one in found] == kinds
    assert [one.value for one in found] == ["a", "b", "", *["a", "b"] * 4]


@pytest.mark.parametrize(
    ("kind", "value", "told"),
    [
        (Kind.KEY, "SHA256:x", "key: expected SHA256: and 43 characters of base64, got 'SHA256:x'"),
        (Kind.BUILDER, "a b", "builder: expected an id without spaces, got 'a b'"),
        (Kind.BUILDER, "a\nb", "builder: expected an id without spaces, got 'a\\nb'"),
        (Kind.VERIFIER, "", "verifier: expected 1 to 2048 characters, got 0"),
        (Kind.VERIFIER, "x" * 2049, "verifier: expected 1 to 2048 characters, got 2049"),
        (
            Kind.IMAGE,
            "sha1:" + "a" * 40,
            "image: expected sha256 or sha384 or sha512, a colon and lower-case hex, got 'sha1:",
        ),
        (
            Kind.TASK,
            "x",
            "task: expected sha1 or sha256 or sha384 or sha512, a colon and lower-case hex, got 'x'",
        ),
    ],
)
def test_a_value_of_another_form_is_refused_with_what_was_expected(kind: Kind, value: str, told: str) -> None:

    with pytest.raises(FormatError) as caught:
        check_value(kind, value)
    assert str(caught.value).startswith(told)


def test_the_longest_value_and_name_are_taken_and_one_more_character_is_not() -> None:

    assert check_value(Kind.BUILDER, "x" * 2048) == "x" * 2048
    assert check_name(Name("x" * 2048), "san").value == "x" * 2048
    for wrong in ("", "x" * 2049):
        with pytest.raises(FormatError, match=rf"^san: expected 1 to 2048 characters, got {len(wrong)}$"):
            check_name(Name(wrong), "san")
    with pytest.raises(FormatError, match=r"^san: .*write it simpler"):
        check_name(Name("(a+)+", is_regexp=True), "san")


def test_an_entry_is_written_in_utc_with_its_exact_times() -> None:
    half = BEGIN + timedelta(microseconds=500_000)
    found = Entry(Kind.IDENTITY, "", "r", half, END, IDENTITY).to_json()
    assert (found["since"], found["until"]) == ("2026-01-10T00:00:00.500000Z", "2026-01-20T00:00:00Z")
    assert list(found) == ["identity", "since", "until", "reason"]


def test_a_name_of_the_longest_length_is_still_compared() -> None:
    assert not Name("b", is_regexp=True).matches("a" * 2048)
    assert Name("a*", is_regexp=True).matches("a" * 2048)
    assert Name("b", is_regexp=True).matches("a" * 2049)


@pytest.mark.parametrize(
    ("kind", "value"), [(Kind.KEY, "x" * 200), (Kind.BUILDER, " " * 200), (Kind.IMAGE, "x" * 200)]
)
def test_a_long_value_is_cut_in_its_error(kind: Kind, value: str) -> None:
    with pytest.raises(FormatError) as caught:
        check_value(kind, value)
    assert str(caught.value).endswith(f"got {value[:80]!r}")


def test_a_digest_has_one_colon() -> None:
    with pytest.raises(FormatError, match="expected sha256"):
        check_value(Kind.IMAGE, "x:sha256:" + "a" * 64)
    with pytest.raises(FormatError, match="expected sha256"):
        check_value(Kind.IMAGE, "sha256:a:" + "a" * 62)
