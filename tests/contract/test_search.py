"""Searches in every database: what each finds, how PostgreSQL plans them, and hostile text in all keys."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chains.cli.main import run as chains
from chains.index import tables
from chains.index.codes import Kind, Level, Outcome, Role, Verdict
from chains.index.database import Place, place_of
from chains.index.errors import IndexAbsent, IndexUnavailable
from chains.index.names import source_of
from chains.index.query.answer import ask
from chains.index.query.errors import QueryError
from chains.index.query.lookup import digest_condition
from chains.index.query.overview import days, unproven_runs, values
from chains.index.query.parse import parse
from chains.index.query.reader import QueryTooSlow, reading
from chains.index.query.report import summary, to_csv, to_json, to_row
from chains.index.query.scope import view_of
from chains.index.query.search import Count, Search
from chains.index.query.sql import Sql
from chains.index.query.terms import Digest, Key, Query
from chains.text import to_json as json_text
from tests.testbed.postgres import Postgres, is_installed, postgres
from tests.unit.chains.index.query.by_hand import answered
from tests.unit.chains.index.query.checks import check_apart, check_by_hand
from tests.unit.chains.index.query.index import Row, Run, make_index
from tests.unit.chains.index.query.made_rows import FIRST, NAMES, NAMESPACES, NOW, queries, rows

_NOW = datetime.fromtimestamp(NOW, UTC)
LONG = "label " + "x" * 1024 * 1024
HOSTILE = (
    *NAMES,
    "\u2066\u2069",
    "\r\n",
    "\t",
    "''",
    '"',
    "\\",
    "*",
    "-",
    "--",
    "/*",
    ";",
    ":",
    "\x85",
    "ﷺ" * 100,
)
_DATABASES = [
    "sqlite",
    pytest.param("debian", marks=pytest.mark.server),
    pytest.param("embedded", marks=pytest.mark.server),
]


_POSTGRES = pytest.mark.parametrize("server", _DATABASES[1:], indirect=True)


@pytest.fixture(scope="module", params=_DATABASES)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Postgres | None]:
    """A server of PostgreSQL, or None for SQLite."""
    if request.param == "sqlite":
        yield None
        return
    if request.param == "debian" and not is_installed() and not os.environ.get("CI"):
        pytest.skip("Debian's PostgreSQL is not installed")
    with postgres(request.param, tmp_path_factory.mktemp("postgres")) as started:
        yield started


@pytest.fixture
def empty(server: Postgres | None, tmp_path: Path) -> Place:
    return place_of(str(tmp_path / "index.db") if server is None else server.database())


@pytest.fixture(scope="module")
def hostile(server: Postgres | None, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """An index with a row for each hostile text."""
    folder = tmp_path_factory.mktemp("index")
    place = place_of(str(folder / "index.db") if server is None else server.database())
    return make_index(place, _hostile_rows())


def _uid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


def _hostile_rows() -> list[Row]:
    """A row for each hostile text, which stands in every place that a stranger can write to."""
    made = []
    for number, text in enumerate((*HOSTILE, LONG)):
        run = Run(
            _uid(number), text, text, Kind.TASKRUN, text, text, text, text, text, Outcome.FAILED, Level.ENFORCED,
            FIRST + number,
        )  # fmt: skip
        made.append(
            Row(
                f"{number:064x}",
                run,
                f"https://example.com/{text}",
                builder=text,
                signer=text,
                verdict=Verdict.VERIFIED,
                finished=FIRST + number,
                namespace=text,
                subjects=((f"sha256:{number + 100:064x}", text),),
                materials=tuple(
                    (f"sha256:{number + 100 * role:064x}", role, text)
                    for role in (Role.SOURCE, Role.STEP_IMAGE, Role.TASK, Role.DEPENDENCY)
                ),
                tasks=(text,),
            )
        )
    return made


_TEXTS = (
    Key.NAME, Key.IMAGE, Key.INPUT, Key.STEP_IMAGE, Key.NAMESPACE, Key.PIPELINE, Key.TASK, Key.TRIGGER, Key.SENDER,
    Key.ACCOUNT, Key.NODE, Key.REPO, Key.BUILDER, Key.SIGNER,
)  # fmt: skip


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def test_hostile_text_in_any_key_finds_its_own_rows_alone(hostile: Place) -> None:
    made = _hostile_rows()
    with reading(hostile) as reader:
        view = view_of(reader)
        for text in HOSTILE:
            for key in _TEXTS:
                for star in ("", "*"):
                    query = parse(f"{key}:{_quoted(text)}{star}")
                    found = [one.id for one in Search(view, query, _NOW).page(1000)]
                    assert found == answered(made, query, _NOW), str(query)
                    assert HOSTILE.index(text) + 1 in found, str(query)
        count = reader.rows(Sql("SELECT count(*) FROM attestation"))
    assert count == [(len(made),)]


def _understood(text: str) -> Query | None:
    try:
        return parse(text)
    except QueryError as refused:
        told = str(refused)
    assert len(told) < 1000
    return None


def test_hostile_text_is_a_query_or_refused_for_every_key(hostile: Place) -> None:
    with reading(hostile) as reader:
        view = view_of(reader, ["shop"])
        for key in Key:
            for text in (*HOSTILE, LONG):
                for written in (f"{key}:{text}", f"-{key}:{_quoted(text)}*", text):
                    query = _understood(written)
                    if query is not None:
                        search = Search(view, query, _NOW)
                        assert Count(len(search.page(10))) == search.count(), written


def test_hostile_rows_are_shown_within_bounds(
    hostile: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = ask(hostile, parse(""), _NOW)
    assert answer.count == Count(len(HOSTILE) + 1)
    told = [json_text(to_json(answer)), *to_csv(answer), *summary(answer)]
    assert all(line.isprintable() for line in told)
    assert sum(map(len, told)) < 500_000
    assert all(len(cell) < 10_000 for hit in answer.hits for cell in to_row(hit))
    monkeypatch.setenv("CHAINS_INDEX", hostile.url or hostile.path)
    for form in ("table", "json", "csv"):
        assert chains(["search", "--output", form]) == 0
        shown = capsys.readouterr().out
        assert all(line.isprintable() for line in shown.splitlines())
        assert "\u202e" not in shown
    rows_of_csv = [line for line in shown.split("\n") if line]
    assert not [line for line in rows_of_csv if '"=' in line or '"+' in line or '"-' in line or '"@' in line]


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    made=rows,
    texts=st.lists(queries, min_size=30, max_size=30),
    seen=st.lists(st.sampled_from(NAMESPACES[:3]), max_size=2),
)
def test_each_database_finds_what_a_look_at_each_row_finds(
    server: Postgres | None,
    tmp_path_factory: pytest.TempPathFactory,
    made: list[Row],
    texts: list[str],
    seen: list[str],
) -> None:
    def place() -> Place:
        if server is not None:
            return place_of(server.database())
        return place_of(str(tmp_path_factory.mktemp("index") / "index.db"))

    own = [row for row in made if row.namespace in seen and row.run.namespace in seen]
    other = [row for row in made if row.namespace not in seen]
    whole = make_index(place(), [*own, *other])
    with reading(whole) as all_of_it, reading(make_index(place(), own)) as apart:
        check_by_hand(all_of_it, [*own, *other], texts, None)
        check_by_hand(all_of_it, [*own, *other], texts, seen)
        check_apart(all_of_it, apart, texts, seen)


SPELLED = (
    "git+https://git.example.com/shop/storefront.git",
    "git+https://Git.Example.com:443/shop/storefront@refs/heads/main",
    "https://git.example.com/shop/storefront/",
    "http://git.example.com/shop/storefront.git",
    "git@git.example.com:shop/storefront.git",
    "ssh://git@git.example.com/shop/storefront",
    "git+ssh://git@git.example.com:22/shop/storefront.git",
    "git://git.example.com/shop/storefront.git",
    "git.example.com/shop/storefront",
)
"""One repository."""
APART = (
    "https://git.example.com/shop/storefront2",
    "https://git.example.com/shop/Storefront",
    "https://git.example.com:8443/shop/storefront",
    "https://mirror.example.com/git.example.com/shop/storefront",
    "https://git.example.com.evil.example/shop/storefront",
    "file://git.example.com/shop/storefront",
)
"""Other repositories."""


def test_a_repository_is_found_by_each_of_its_spellings(empty: Place) -> None:
    made = [
        Row(
            f"{number:064x}",
            Run(_uid(number), "shop", "build", finished=FIRST + number),
            "https://slsa.dev/provenance/v1",
            finished=FIRST + number,
            materials=((f"sha256:{number + 100:064x}", Role.SOURCE, source_of(uri)),),
        )
        for number, uri in enumerate((*SPELLED, *APART), 1)
    ]
    make_index(empty, made)
    same = set(range(1, len(SPELLED) + 1))
    others = {uri: len(SPELLED) + number for number, uri in enumerate(APART, 1)}
    with reading(empty) as reader:
        view = view_of(reader)

        def found(text: str) -> set[int]:
            return {one.id for one in Search(view, parse(text), _NOW).page(1000)}

        for uri in (*SPELLED, "git.example.com/shop/storefront.git", "GIT.example.com/shop/storefront/"):
            assert found(f"repo:{uri}") == same, uri
        for uri, number in others.items():
            assert found(f"repo:{uri}") == {number}, uri
        assert found("-repo:git.example.com/shop/storefront") == set(others.values())
        for beginning in (
            "git.example.com/shop/storef",
            "https://git.example.com/shop/storef",
            "git+https://git.example.com:443/shop/storef",
            "git@git.example.com:shop/storef",
            "ssh://git@Git.example.com/shop/storefront.git",
        ):
            assert found(f"repo:{beginning}*") == {*same, others[APART[0]]}, beginning
        assert found("repo:file://git*") == {others[APART[-1]]}


def test_days_runs_and_values_are_told(empty: Place) -> None:
    run = Run(_uid(1), "shop", "build-1", pipeline="release", node="node-1", finished=FIRST)
    other = Run(_uid(2), "dev", "build-2", finished=FIRST)
    type_ = "https://slsa.dev/provenance/v1"
    place = make_index(
        empty,
        [
            Row("aa" * 32, run, type_, signer="SHA256:key", finished=FIRST, namespace="shop"),
            Row("bb" * 32, other, type_, verdict=Verdict.FAILED, finished=FIRST, namespace="dev"),
        ],
    )
    day = datetime.fromtimestamp(FIRST, UTC).date()
    with reading(place) as reader:
        view = view_of(reader)
        assert [(one.verdict, one.number) for one in days(view, day, day.replace(day=day.day + 1))] == [
            (Verdict.VERIFIED, 1),
            (Verdict.FAILED, 1),
        ]
        assert [one.name for one in unproven_runs(view, 10, since=datetime(2020, 1, 1, tzinfo=UTC))] == [
            "build-2"
        ]
        assert unproven_runs(view_of(reader, ["shop"]), 10) == []
        for key, expected in ((Key.PIPELINE, "release"), (Key.NODE, "node-1"), (Key.SIGNER, "SHA256:key")):
            for query in ("", "shop"):
                assert [one.text for one in values(view, parse(query), key, _NOW)] == [expected]


def test_a_place_without_an_index_says_how_to_build_one(empty: Place) -> None:
    with pytest.raises(IndexAbsent, match=r"there is no index .*: build it with `chains index build"):
        ask(empty, parse(""), _NOW)


def test_a_reader_changes_nothing(empty: Place) -> None:
    place = make_index(empty, [])
    with pytest.raises(IndexUnavailable, match=r"read-?only"), reading(place) as reader:
        reader.rows(Sql("DELETE FROM term RETURNING id"))


@_POSTGRES
def test_a_statement_of_postgres_that_takes_too_long_ends(empty: Place) -> None:
    place = make_index(empty, [])
    with pytest.raises(QueryTooSlow, match=r"more than 0\.2 seconds"), reading(place, 0.2) as reader:
        reader.rows(Sql("SELECT count(*) FROM pg_sleep(600) AS slept"))


def test_a_server_that_is_away_is_an_error_without_the_password() -> None:
    place = place_of(f"postgresql://postgres:hunter2@127.0.0.1:1/{'x' * 10}")
    with pytest.raises(IndexUnavailable) as caught:
        ask(place, parse(""), _NOW)
    assert "hunter2" not in str(caught.value)


@_POSTGRES
def test_postgres_answers_each_query_from_an_index(empty: Place) -> None:
    """Without statistics that call for it, PostgreSQL would read small tables whole; so this is asked of large ones."""
    place = make_index(empty, [])
    with psycopg.connect(place.url) as connection:
        for statement in _MANY:
            connection.execute(f"SET search_path = chains_index; {statement}".encode())
        connection.commit()
    with reading(place) as reader:
        for query, index in (
            (f"digest:sha256:{7:012x}{'0' * 52}", "used_pkey"),
            (f"commit:{7:012x}{'0' * 28}", "used_pkey"),
            ("input:word-3", "named_pkey"),
            ("namespace:word-3", "Index Scan"),
            ("signer:word-3 from:1970-01-02", "Index Scan"),
            ("verdict:failed", "attestation_bad"),
            (f"run:{_uid(7)}", "attestation_run"),
            ("", "attestation_finished"),
        ):
            search = Search(view_of(reader), parse(query), _NOW)
            plan = "\n".join(step for one in search.statements(51) for step in reader.explain(one))
            assert index in plan, f"{query}: {plan}"
            assert "Seq Scan" not in plan, f"{query}: {plan}"
        for table in ("attestation", "artifact", "location"):
            where = digest_condition(Digest(f"{7:012x}{'0' * 52}"))
            plan = "\n".join(
                reader.explain(Sql(f"SELECT digest FROM {table} WHERE {where.text}", where.values))
            )
            assert f"{table}_digest" in plan, plan


_N = 30_000
_MANY = (
    "INSERT INTO term SELECT 100 + n + 20 * w, w, 'word-' || n FROM generate_series(1, 10) n, generate_series(1, 10) w",
    "INSERT INTO term VALUES (9001, 8, 'sha256'), (9002, 8, 'gitCommit')",
    "INSERT INTO run (id, uid, verdict, kind, namespace, name, outcome, finished, level) SELECT n, "
    "decode('000000004000800000000000' || lpad(to_hex(n), 8, '0'), 'hex'), 0, 1, 180 + n % 10 + 1, 'build-' || n, 1, n * 60, 1 "
    f"FROM generate_series(1, {_N}) n",
    "INSERT INTO attestation (id, digest, run, predicate, signer, verdict, checked, size, finished, namespace, level, "
    "outcome) SELECT n, sha256(n::text::bytea), n, 121 + n % 10, 161 + n % 10, (n % 999 = 0)::int, 1, 1, n * 60, "
    f"181 + n % 10, n % 5 + 1, 1 FROM generate_series(1, {_N}) n",
    "INSERT INTO artifact SELECT n, decode(lpad(to_hex(n), 12, '0') || repeat('0', 52), 'hex'), 9001, 0, 241 + n % 10 "
    f"FROM generate_series(1, {_N}) n",
    "INSERT INTO artifact SELECT 100000 + n, decode(lpad(to_hex(n), 12, '0') || repeat('0', 28), 'hex'), 9002, 1, "
    f"241 + n % 10 FROM generate_series(1, {_N}) n",
    f"INSERT INTO part SELECT n, n + 100000 * w FROM generate_series(1, {_N}) n, generate_series(0, 1) w",
    *tables.FILLS.values(),
    f"INSERT INTO location SELECT n, sha256(('copy' || n)::bytea), 1, ''::bytea FROM generate_series(1, {_N}) n",
    "ANALYZE",
)
