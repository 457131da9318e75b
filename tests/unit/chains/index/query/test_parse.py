"""The query language: what each text means, and what the errors say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from chains.index.query.errors import QueryError
from chains.index.query.parse import LONGEST, MOST_TERMS, parse
from chains.index.query.terms import Age, Digest, Key, Moment, Query, RunWanted, Span, Term, Unit, Value, Word
from chains.statements.vsa import VSA

SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
COMMIT = "f35c689185a78065ee4e8c1ee6cb65f4c54a9be3"
UID = "0b1c2d3e-4f50-4a61-8b72-93a4b5c6d7e8"
KEYID = "SHA256:" + "aB+/" * 10 + "cde"


def _one(text: str) -> Term:
    (term,) = parse(text).terms
    return term


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        pytest.param(SHA256, Key.HASH, Digest(SHA256), id="64 hex digits"),
        pytest.param(SHA256.upper(), Key.HASH, Digest(SHA256), id="64 hex digits in upper case"),
        pytest.param(COMMIT, Key.HASH, Digest(COMMIT), id="40 hex digits"),
        pytest.param(SHA256[:12], Key.HASH, Digest(SHA256[:12]), id="12 hex digits"),
        pytest.param(f"{SHA256[:13]}*", Key.HASH, Digest(SHA256[:13]), id="hex digits and a star"),
        pytest.param(f"sha256:{SHA256}", Key.HASH, Digest(SHA256, "sha256"), id="with its algorithm"),
        pytest.param(
            f"gitCommit:{COMMIT}", Key.HASH, Digest(COMMIT, "gitCommit"), id="with a commit's algorithm"
        ),
        pytest.param(
            f"localhost:5000/shop@sha256:{SHA256}",
            Key.HASH,
            Digest(SHA256, "sha256"),
            id="an image by digest",
        ),
        pytest.param("localhost:5000/a", Key.NAME, Word("localhost:5000/a"), id="a host with a port"),
        pytest.param(SHA256[:11], Key.NAME, Word(SHA256[:11]), id="11 hex digits"),
        pytest.param(f'"{SHA256}"', Key.NAME, Word(SHA256), id="64 hex digits in quotes"),
        pytest.param(UID.upper(), Key.RUN, RunWanted(uid=UID), id="a UID"),
        pytest.param("shop/build-1", Key.RUN, RunWanted("", "build-1", "shop"), id="namespace and name"),
        pytest.param("shop/build-*", Key.RUN, RunWanted("", "build-", "shop", "", True), id="and a star"),
        pytest.param(
            "taskrun/shop/build.1", Key.RUN, RunWanted("", "build.1", "shop", "taskrun"), id="with its kind"
        ),
        pytest.param("example.com/shop", Key.NAME, Word("example.com/shop"), id="a registry is no namespace"),
        pytest.param("a/b/c", Key.NAME, Word("a/b/c"), id="three parts without a kind"),
        pytest.param("build-1", Key.NAME, Word("build-1"), id="a name"),
        pytest.param("build-*", Key.NAME, Word("build-", is_prefix=True), id="the beginning of a name"),
        pytest.param("https://example.com/a", Key.NAME, Word("https://example.com/a"), id="a URI"),
        pytest.param(KEYID, Key.SIGNER, Word(KEYID), id="the id of a key"),
        pytest.param('"say \\"x\\" \\\\ *"', Key.NAME, Word('say "x" \\ *'), id="escapes in quotes"),
        pytest.param('"two words"*', Key.NAME, Word("two words", is_prefix=True), id="a star after quotes"),
    ],
)
def test_a_bare_word_is_what_it_looks_like(text: str, key: Key, value: Value) -> None:
    assert _one(text) == Term(key, value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("digest:sha256:" + SHA256, Digest(SHA256, "sha256")),
        (f"commit:{COMMIT[:7]}", Digest(COMMIT[:7])),
        ("image:registry.example/shop", Word("registry.example/shop")),
        (f"image:shop:v1@sha256:{SHA256}", Digest(SHA256, "sha256")),
        (f"step-image:{SHA256}", Digest(SHA256)),
        ("input:git+https://example.com/*", Word("git+https://example.com/", is_prefix=True)),
        ("run:build-1", RunWanted("", "build-1")),
        ("run:5000/build-1", RunWanted("", "build-1", "5000")),
        ("run:PipelineRun/shop/b", RunWanted("", "b", "shop", "pipelinerun")),
        ("NAMESPACE:shop", Word("shop")),
        ("step_image:alpine", Word("alpine")),
        ("namespace:-dev", Word("-dev")),
        ("type:vsa", Word(VSA)),
        ("type:PROVENANCE", Word("https://slsa.dev/provenance/", is_prefix=True)),
        ("type:https://slsa.dev/provenance/v1", Word("https://slsa.dev/provenance/v1")),
        ("level:Enforced", Word("enforced")),
        ("verdict:failed", Word("failed")),
        ("outcome:timed-out", Word("timed-out")),
        ("from:2026-10", Moment(datetime(2026, 10, 1, tzinfo=UTC), Unit.MONTH)),
        ("to:2026-10-31", Moment(datetime(2026, 10, 31, tzinfo=UTC), Unit.DAY)),
        ("from:2026-10-01T14:00:00.9+02:00", Moment(datetime(2026, 10, 1, 12, tzinfo=UTC))),
        ('from:"2026-10-01 12:00"', Moment(datetime(2026, 10, 1, 12, tzinfo=UTC))),
        ("last:7d", Age(7, Span.DAYS)),
    ],
)
def test_a_key_takes_its_kind_of_value(text: str, value: Value) -> None:
    assert _one(text).value == value


def test_all_terms_of_several_blanks_and_lines_count() -> None:
    query = parse(' repo:"https://example.com/a b"\n\t-namespace:dev  level:enforced ')
    assert query == Query(
        (
            Term(Key.LEVEL, Word("enforced")),
            Term(Key.REPO, Word("https://example.com/a b")),
            Term(Key.NAMESPACE, Word("dev"), is_negated=True),
        )
    )
    assert str(query) == '-namespace:dev repo:"https://example.com/a b" level:enforced'


def test_nothing_is_the_query_for_everything() -> None:
    assert parse(" \n") == Query()
    assert str(Query()) == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("namespace:shop", "namespace is shop"),
        ("-namespace:dev", "namespace is not dev"),
        ("-run:shop/b*", "run does not begin with shop/b"),
        ("repo:https://example.com/*", "repository begins with https://example.com/"),
        (SHA256[:12], f"digest or commit begins with {SHA256[:12]}"),
        (f"image:sha256:{SHA256}", f"an image is sha256:{SHA256}"),
        ("level:enforced", "isolation level is enforced"),
        ("from:2026-10", "from Oct 2026"),
        ("from:2026-10-01", "from 1 Oct 2026"),
        ("to:2026-10-31", "to the end of 31 Oct 2026"),
        ("to:2026-10-31T12:00:00Z", "before 31 Oct 2026 12:00:00 UTC"),
        ("last:7d", "in the last 7 days"),
        ("last:1h", "in the last hour"),
    ],
)
def test_a_term_is_told_in_words(text: str, words: str) -> None:
    assert parse(text).words == (words,)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nmespace:shop", "unknown key nmespace:; did you mean namespace:? known keys: hash, digest, commit,"),
        ("ns:shop", "did you mean namespace:?"),
        ("until:2026-10", "did you mean to:?"),
        ("zzzzzzz:shop", "unknown key zzzzzzz: known keys: hash,"),
        ("C:shop", "a word with a colon that is no key needs quotes"),
        ("namespace:", "namespace: has no value: expected a namespace"),
        ('namespace:""', "namespace: has no value"),
        ("digest:abc", "'abc' has 3 hex digits: expected 12 to 128"),
        ("digest:shop", "digest: 'shop': expected [sha256:]HEX with at least 12 hex digits"),
        (f"digest:sha256:{SHA256}00", "has 66 hex digits: expected 12 to 64"),
        ("commit:abcdef", "'abcdef' has 6 hex digits: expected 7 to 128"),
        ("input:sha256:abc", "has 3 hex digits: expected 12 to 64"),
        ("level:enforcd", "expected one of not-requested, requested-only, unknown, partly, enforced; did you mean"),
        ("level:enforced*", "level: 'enforced'*: expected one of"),
        ("verdict:good", "verdict: 'good': expected one of verified, failed, indeterminate"),
        ("outcome:success", "did you mean succeeded?"),
        ("type:vsas", "expected a predicate type, or one of provenance, report, vsa, svr; did you mean vsa?"),
        ("run:a//b", "run: 'a//b': expected a UID, NAME, NAMESPACE/NAME or KIND/NAMESPACE/NAME"),
        ("run:pod/shop/a", "with a KIND of taskrun, pipelinerun"),
        ("from:yesterday", "from: 'yesterday': expected a month, a day or a time in RFC 3339"),
        ("from:2026-13", "expected a month, a day or a time"),
        ("from:2026-02-30", "expected a month, a day or a time"),
        ("to:1969-12-31", "expected a month, a day or a time"),
        ("from:1970-01-01T00:00+14:00", "expected a month, a day or a time"),
        ("last:7", "last: '7': expected a number and one of m, h, d, w"),
        ("last:0d", "expected a number and one of m, h, d, w"),
        ("last:999999w", "expected a number and one of m, h, d, w"),
        ("-from:2026-10", "-from: a time cannot be negated"),
        ("last:7d from:2026-10", "from:2026-10 and last:7d: one of them says where the time begins"),
        ("to:2026-10 to:2026-11", "one of them says where the time ends"),
        ("from:2026-10-02 to:2026-10-01", "from: is not before to:, so no time is between them"),
        ("namespace:a namespace:b", "namespace:a and namespace:b: nothing has two values of it"),
        ('repo:"a', "repo: a quote is not closed"),
        ('"a"b', "a quote is not closed, or the value goes on after it"),
        ('a"b', "a * counts at the end of a value alone, and quotes go around the whole value"),
        ("repo:a*b", "a * counts at the end of a value alone"),
        ("repo:*", "repo: * alone is everything: write how the value begins"),
        ("-", "a term is empty"),
        ('""', "a term is empty"),
        ("a" * (LONGEST + 1), f"the query has {LONGEST + 1} characters: expected at most {LONGEST}"),
        ("a " * (MOST_TERMS + 1), f"the query has {MOST_TERMS + 1} terms: expected at most {MOST_TERMS}"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_query_is_said(text: str, told: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse(text)
    assert told in str(caught.value)
    assert caught.value.exit_code == 2
    assert len(str(caught.value)) < 600


def test_two_beginnings_and_a_value_that_is_excluded_are_no_contradiction() -> None:
    assert len(parse("namespace:a* namespace:ab* -namespace:abc -namespace:abd").terms) == 4


def test_from_a_month_to_the_same_month_is_that_month() -> None:
    query = parse("from:2026-12 to:2026-12")
    now = datetime(2027, 3, 1, tzinfo=UTC)
    assert query.since(now) == datetime(2026, 12, 1, tzinfo=UTC)
    assert query.until() == datetime(2027, 1, 1, tzinfo=UTC)


def test_a_day_ends_with_the_day_and_a_second_before_itself() -> None:
    assert parse("to:2026-10-31").until() == datetime(2026, 11, 1, tzinfo=UTC)
    assert parse("to:2026-10-31T12:00:00Z").until() == datetime(2026, 10, 31, 12, tzinfo=UTC)


def test_an_age_counts_from_now_and_is_kept_as_it_was_written() -> None:
    query = parse("last:36h")
    now = datetime(2026, 11, 29, 12, tzinfo=UTC)
    assert query.since(now) == now - timedelta(hours=36)
    assert query.since(now + timedelta(days=1)) == now - timedelta(hours=12)
    assert str(query) == "last:36h"


def test_without_times_there_are_no_bounds() -> None:
    assert parse("shop").since(datetime.now(UTC)) is None
    assert parse("shop").until() is None
