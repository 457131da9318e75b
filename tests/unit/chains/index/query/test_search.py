"""Searches: which index each term uses, what a reader of some namespaces sees, and where a search ends."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from chains.index.codes import Role, Verdict
from chains.index.database import Place, place_of
from chains.index.errors import IndexUnavailable
from chains.index.query import lookup
from chains.index.query.answer import ask
from chains.index.query.cursor import Position
from chains.index.query.errors import CursorError
from chains.index.query.lookup import digest_condition
from chains.index.query.parse import parse
from chains.index.query.reader import QueryTooSlow, Reader, reading
from chains.index.query.report import summary, to_json
from chains.index.query.rows import hits
from chains.index.query.scope import view_of
from chains.index.query.search import Count, Search
from chains.index.query.sql import Sql
from chains.index.query.terms import Digest
from tests.bench.index_rows import BASE_IMAGE, FIRST, digest_of, fill, uid_of
from tests.unit.chains.index.query.checks import check_by_hand
from tests.unit.chains.index.query.index import Row, Run, sqlite_index

NOW = datetime.fromtimestamp(FIRST + 365 * 86_400, UTC)
DAY = f"{datetime.fromtimestamp(FIRST + 86_400 * 100, UTC):%Y-%m-%d}"
FEW = ("(rowid=?)", "attestation_run")
"""How a plan begins that finds few rows, which are then sorted."""
UID = "00000000-0000-4000-8000-000000000001"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Place:
    path = tmp_path_factory.mktemp("index") / "index.db"
    fill(path, 3_000)
    return place_of(str(path))


@pytest.fixture
def reader(filled: Place) -> Iterator[Reader]:
    with reading(filled) as opened:
        yield opened


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (digest_of("subject 7 0").hex(), "PRIMARY KEY (artifact=?"),
        (digest_of("subject 7 0").hex()[:12], "PRIMARY KEY (artifact=?"),
        (f"digest:{digest_of('attestation 7').hex()}", "PRIMARY KEY (rowid=?)"),
        (f"digest:{digest_of('copy 7').hex()}", "PRIMARY KEY (rowid=?)"),
        (f"commit:{digest_of('commit 7').hex()[:40]}", "PRIMARY KEY (artifact=?"),
        (f"commit:{digest_of('commit 7').hex()[:7]}", "PRIMARY KEY (artifact=?"),
        (f"input:sha256:{BASE_IMAGE.hex()}", "PRIMARY KEY (artifact=?"),
        ("input:registry.example/base/os", "PRIMARY KEY (name=? AND role=?"),
        (f"step-image:{digest_of('step 5').hex()}", "PRIMARY KEY (artifact=?"),
        ("step-image:registry.example/steps/s-5", "PRIMARY KEY (name=? AND role=?"),
        ("image:registry.example/ns-0/app-0", "PRIMARY KEY (name=? AND role=?"),
        ("step-image:registry.example/steps/s-1*", "PRIMARY KEY (name=? AND role=?"),
        ("repo:https://git.example/repo-0", "PRIMARY KEY (name=? AND role=?"),
        ("task:task-0", "PRIMARY KEY (name=? AND role=?"),
        (f"run:{uid_of(7)}", "attestation_run (run=?)"),
        ("run:build-7", "attestation_run (run=?)"),
        ("run:build-77*", "attestation_run (run=?)"),
        ("ns-0/build-7*", "attestation_run (run=?)"),
        ("node:node-7", "attestation_run (run=?)"),
        ("namespace:ns-0", "attestation_namespace (namespace=?"),
        (
            f"namespace:ns-0 from:{DAY} to:{DAY}",
            "attestation_namespace (namespace=? AND finished>? AND finished<?",
        ),
        ("pipeline:pipeline-0", "attestation_pipeline (pipeline=?"),
        ("builder:https://tekton.dev/chains/v1", "attestation_builder (builder=?"),
        ("signer:SHA256:signer-3", "attestation_signer (signer=?"),
        ("type:report", "attestation_predicate (predicate=?"),
        ("level:enforced", "attestation_level (level=?"),
        ("verdict:failed", "attestation_bad"),
        ("outcome:failed", "attestation_ended"),
        (f"from:{DAY} to:{DAY}", "attestation_finished (finished>? AND finished<?"),
        ("", "attestation_finished"),
        ("build-7", "attestation_run (run=?)"),
    ],
)
def test_each_query_is_answered_from_an_index(reader: Reader, query: str, index: str) -> None:
    search = Search(view_of(reader), parse(query), NOW)
    found = search.page(51)
    assert found
    plans = [reader.explain(statement) for statement in search.statements(51, Position(FIRST * 2, 2**40))]
    assert any(index in step for plan in plans for step in plan), plans
    for plan in plans:
        assert all(" INDEX " in step for step in plan if step.startswith("SCAN")), plan
        if not any(few in plan[0] for few in FEW):
            assert not [step for step in plan if "TEMP B-TREE" in step], plan


@pytest.mark.parametrize("table", ["attestation", "artifact", "location"])
@pytest.mark.parametrize("length", [7, 12, 13, 63, 64])
def test_each_digest_is_looked_up_in_an_index(reader: Reader, table: str, length: int) -> None:
    where = digest_condition(Digest(digest_of("x").hex()[:length]))
    plan = reader.explain(Sql(f"SELECT digest FROM {table} WHERE {where.text}", where.values))
    assert len(plan) == 1
    assert plan[0].startswith(f"SEARCH {table} USING INDEX {table}_digest (<expr>"), plan


def test_the_rarest_term_leads(reader: Reader) -> None:
    def plan(query: str) -> str:
        search = Search(view_of(reader), parse(query), NOW)
        return " ".join(step for one in search.statements(51) for step in reader.explain(one))

    rare = f"commit:{digest_of('commit 7').hex()[:40]}"
    for order in (f"namespace:ns-0 {rare} level:enforced", f"level:enforced {rare} namespace:ns-0"):
        assert plan(order).startswith("SEARCH s USING PRIMARY KEY (artifact=?")
    assert "attestation_bad" in plan("namespace:ns-0 verdict:failed")


def test_the_time_of_each_table_is_that_of_the_attestation(reader: Reader) -> None:
    for table in ("used", "named"):
        wrong = Sql(
            f"SELECT count(*) FROM {table} AS s JOIN attestation AS a ON a.id = s.attestation "
            "WHERE a.finished <> s.finished"
        )
        assert reader.rows(wrong) == [(0,)]


def test_a_claim_of_a_namespace_shows_nothing_of_the_run_that_it_names(tmp_path: Path) -> None:
    victim = Run(
        UID, "victim", "secret-build", pipeline="secret", node="node-1", trigger="el/t", account="robot"
    )
    provenance = Row(
        "aa" * 32, victim, "https://slsa.dev/provenance/v1", signer="SHA256:key", namespace="victim"
    )
    forged = Row(
        "bb" * 32, victim, "https://slsa.dev/provenance/v1", verdict=Verdict.FAILED, namespace="mallory"
    )
    place = sqlite_index(tmp_path / "index.db", [provenance, forged])
    with reading(place) as reader:
        view = view_of(reader, ["mallory"])
        (hit,) = hits(view, Search(view, parse(""), NOW).page(10))
        assert (hit.digest, hit.run) == (f"sha256:{'bb' * 32}", None)
        for query in (
            "node:node-1",
            "trigger:el/t",
            "account:robot",
            "run:secret-build",
            f"run:{UID}",
            "secret-build",
        ):
            assert Search(view, parse(query), NOW).page(10) == [], query
            assert Search(view, parse(query), NOW).count() == Count(0), query
            # and what is left out says nothing either
            assert len(Search(view, parse(f"-{query}"), NOW).page(10)) == 1, query
        assert len(Search(view_of(reader), parse("node:node-1"), NOW).page(10)) == 2


def test_what_is_asked_for_by_position_is_shown_to_its_namespace_alone(tmp_path: Path) -> None:
    run = Run(UID, "shop", "build-1")
    rows = [Row("aa" * 32, run, "https://slsa.dev/provenance/v1", namespace="shop", finished=7)]
    with reading(sqlite_index(tmp_path / "index.db", rows)) as reader:
        assert len(hits(view_of(reader, ["shop"]), [Position(7, 1)])) == 1
        assert hits(view_of(reader, ["dev"]), [Position(7, 1)]) == []
        assert hits(view_of(reader, []), [Position(7, 1)]) == []


def test_a_cursor_belongs_to_the_namespaces_that_were_seen(filled: Place) -> None:
    cursor = ask(filled, parse("level:enforced"), NOW, limit=1).cursor
    with pytest.raises(CursorError, match="of another query"):
        ask(filled, parse("level:enforced"), NOW, limit=1, cursor=cursor, namespaces=["ns-0"])
    own = ask(filled, parse("level:enforced"), NOW, limit=1, cursor="", namespaces=["ns-0", "ns-1"]).cursor
    again = ask(filled, parse("level:enforced"), NOW, limit=1, cursor=own, namespaces=["ns-1", "ns-0"])
    assert len(again.hits) == 1


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("namespaces", [None, ["shop"]])
def test_cursors_lead_through_rows_of_one_second(
    tmp_path: Path, size: int, namespaces: list[str] | None
) -> None:
    made = [
        Row(
            f"{number:064x}", Run(UID, "shop", "build-1"), "x", namespace="shop", finished=FIRST + number // 4
        )
        for number in range(9)
    ]
    place = sqlite_index(tmp_path / "index.db", made)
    found: list[str] = []
    cursor = ""
    while len(found) <= len(made):
        answer = ask(place, parse(""), NOW, limit=size, cursor=cursor, namespaces=namespaces)
        found += [one.digest for one in answer.hits]
        cursor = answer.cursor
        if not cursor:
            break
    assert found == [f"sha256:{number:064x}" for number in reversed(range(9))]


def test_after_a_row_that_is_gone_nothing_is_left_out(tmp_path: Path) -> None:
    made = [
        Row(
            f"{number:064x}", Run(UID, "shop", "build-1"), "x", namespace="shop", finished=FIRST + number // 3
        )
        for number in range(6)
    ]
    place = sqlite_index(tmp_path / "index.db", made)
    cursor = ask(place, parse(""), NOW, limit=2).cursor
    with sqlite3.connect(place.path) as connection:
        connection.execute("DELETE FROM attestation WHERE digest = ?", (bytes.fromhex(f"{4:064x}"),))
    connection.close()
    # the row that was shown before, of the same second, is shown again
    following = ask(place, parse(""), NOW, limit=9, cursor=cursor)
    assert [one.digest for one in following.hits] == [f"sha256:{number:064x}" for number in (5, 3, 2, 1, 0)]


def test_readers_of_some_namespaces_are_told_no_numbers_of_stores(tmp_path: Path) -> None:
    place = sqlite_index(
        tmp_path / "index.db", [Row("aa" * 32, Run(UID, "dev", "build-1"), "x", namespace="dev")]
    )
    with sqlite3.connect(place.path) as connection:
        connection.execute("INSERT INTO unread VALUES (1, 'secret/place', '', 'no JSON', 0)")
        connection.execute("UPDATE store SET parts = 9")
    connection.close()
    every, shop = ask(place, parse(""), NOW), ask(place, parse(""), NOW, namespaces=["shop"])
    assert [(one.is_whole, one.behind, one.unread) for one in every.state.stores] == [(False, 8, 1)]
    assert [(one.is_whole, one.behind, one.unread) for one in shop.state.stores] == [(False, None, None)]
    assert (every.exit_code, shop.exit_code) == (0, 4)
    assert list(summary(shop))[-1].endswith(", behind")
    assert to_json(shop)["index"]["stores"][0]["unreadable"] is None


def test_a_search_that_takes_too_long_ends_and_says_what_to_do(filled: Place) -> None:
    endless = Sql("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n")
    with (
        pytest.raises(QueryTooSlow, match=r"more than 0\.05 seconds: add a term"),
        reading(filled, 0.05) as reader,
    ):
        reader.rows(endless)


def test_a_reader_cannot_change_an_index(filled: Place) -> None:
    with pytest.raises(IndexUnavailable, match="readonly"), reading(filled) as reader:
        reader.rows(Sql("DELETE FROM attestation"))


def test_more_than_are_counted_is_told_apart(filled: Place) -> None:
    with reading(filled) as reader:
        search = Search(view_of(reader), parse(""), NOW)
        assert search.count(2_999) == Count(2_999, has_more=True)
        assert search.count(3_000) == search.count() == Count(3_000)


def test_what_is_asked_of_too_many_rows_is_counted_in_part(filled: Place) -> None:
    with reading(filled) as reader:
        # all but few fit, so the term that leads shows nothing by itself
        for query in (
            "-verdict:failed",
            "level:not-requested -verdict:failed",
            "type:report -verdict:failed",
        ):
            search = Search(view_of(reader), parse(query), NOW)
            whole = search.count()
            assert whole.number > 500
            assert not whole.has_more
            part = search.count(candidates=100)
            assert 90 <= part.number <= 100, query
            assert part.has_more


@pytest.mark.parametrize("most", [2_000, 50], ids=["listed", "too many to list"])
def test_a_beginning_that_fits_many_words_finds_what_a_look_at_each_row_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(lookup, "MOST_WORDS", most)
    roles = [role for role in Role if role is not Role.SUBJECT]
    made = [
        Row(
            f"{number:064x}",
            Run(
                f"00000000-0000-4000-8000-{number:012}",
                f"ns-{number % 3}",
                f"build-{number}",
                pipeline=f"p-{number}",
            ),
            "https://slsa.dev/provenance/v1",
            namespace=f"ns-{number % 3}",
            finished=FIRST + number * 7 % 11,
            subjects=((f"sha256:{number:064x}", f"word-{number}"),) if number % 2 else (),
            materials=((f"sha256:{number:064x}", roles[number % 4], f"word-{number % 90}"),)
            if number % 5
            else (),
            tasks=(f"word-{number}",) if number % 7 == 0 else (),
        )
        for number in range(1, 100)
    ]
    keys = ("image", "input", "step-image", "repo", "task", "name", "pipeline")
    texts = [
        f"{minus}{key}:{text}*"
        for key in keys
        for minus in ("", "-")
        for text in ("word-", "p-", "w", "word-11")
    ]
    texts += [f"{text} namespace:ns-1 {other}" for text in texts[::3] for other in texts[::5]]
    with reading(sqlite_index(tmp_path / "index.db", made)) as reader:
        check_by_hand(reader, made, texts, None)
        check_by_hand(reader, made, texts, ["ns-0", "ns-1"])


def test_a_name_in_several_roles_is_found_once(tmp_path: Path) -> None:
    row = Row(
        "aa" * 32,
        Run(UID, "shop", "shop", pipeline="shop"),
        "https://slsa.dev/provenance/v1",
        namespace="shop",
        subjects=((f"sha256:{'11' * 32}", "shop"), (f"sha256:{'22' * 32}", "shop")),
        materials=(
            (f"sha256:{'11' * 32}", Role.STEP_IMAGE, "shop"),
            (f"sha256:{'11' * 32}", Role.TASK, "shop"),
        ),
        tasks=("shop",),
    )
    with reading(sqlite_index(tmp_path / "index.db", [row])) as reader:
        for query in ("shop", "1" * 12, "input:shop", "image:shop", "input:1111111111111111"):
            search = Search(view_of(reader), parse(query), NOW)
            assert (len(search.page(10)), search.count()) == (1, Count(1)), query


def test_the_first_subjects_are_shown_and_whether_there_are_more(tmp_path: Path) -> None:
    def row(number: int, subjects: int) -> Row:
        return Row(
            f"{number:02x}" * 32,
            Run(UID, "shop", "build-1"),
            "https://slsa.dev/provenance/v1",
            finished=number,
            subjects=tuple((f"sha256:{one:064x}", f"image-{one}") for one in range(subjects)),
        )

    rows = [row(1, 0), row(2, 1), row(3, 10), row(4, 11), row(5, 40)]
    with reading(sqlite_index(tmp_path / "index.db", rows)) as reader:
        view = view_of(reader)
        found = hits(view, Search(view, parse(""), NOW).page(10))
    assert [(len(one.subjects), one.has_more_subjects) for one in found] == [
        (10, True),
        (10, True),
        (10, False),
        (1, False),
        (0, False),
    ]
    assert [one.name for one in found[0].subjects] == [f"image-{one}" for one in range(10)]
    assert found[3].subjects[0].digest == f"sha256:{0:064x}"
