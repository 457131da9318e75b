"""Numbers of days, runs that nothing shows, and values with their counts, for all and for some namespaces."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from chains.index.codes import Verdict
from chains.index.query.overview import Counted, Day, beginning_with, days, unproven_runs, values
from chains.index.query.parse import parse
from chains.index.query.reader import Reader, reading
from chains.index.query.scope import view_of
from chains.index.query.terms import Key
from tests.unit.chains.index.query.index import Row, Run, sqlite_index

PROVENANCE = "https://slsa.dev/provenance/v1"
FIRST = 1_790_000_000
MONDAY = date(2026, 9, 21)
TUESDAY = date(2026, 9, 22)
NOW = datetime.fromtimestamp(FIRST + 86_400 * 3, UTC)


def _uid(number: int) -> str:
    return f"00000000-0000-4000-8000-00000000000{number}"


def _row(number: int, namespace: str, *, verdict: Verdict = Verdict.VERIFIED, **more: str) -> Row:
    finished = FIRST + 86_400 * (number % 2) + number
    run = Run(_uid(number), namespace, f"build-{number}", finished=finished, **more)  # type: ignore[arg-type]
    signer = "" if verdict else f"SHA256:{namespace}"
    digest = f"{number:02x}" * 32
    return Row(
        digest, run, PROVENANCE, signer=signer, verdict=verdict, finished=finished, namespace=namespace
    )


ROWS = [
    _row(0, "shop", pipeline="release", node="node-1"),
    _row(1, "shop", pipeline="release", node="node-2"),
    _row(2, "shop", pipeline="release-2", node="node-1"),
    _row(3, "dev", pipeline="secret", node="node-1"),
    _row(4, "dev", verdict=Verdict.FAILED),
    _row(5, "", verdict=Verdict.INDETERMINATE),
]


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    with reading(sqlite_index(tmp_path / "index.db", ROWS)) as opened:
        yield opened


def test_days_are_counted_by_verdict_for_all_and_for_some_namespaces(reader: Reader) -> None:
    assert days(view_of(reader), MONDAY, date(2026, 9, 23)) == [
        Day(MONDAY, Verdict.VERIFIED, 2),
        Day(MONDAY, Verdict.FAILED, 1),
        Day(TUESDAY, Verdict.VERIFIED, 2),
        Day(TUESDAY, Verdict.INDETERMINATE, 1),
    ]
    assert days(view_of(reader, ["dev"]), MONDAY, date(2026, 9, 23)) == [
        Day(MONDAY, Verdict.FAILED, 1),
        Day(TUESDAY, Verdict.VERIFIED, 1),
    ]
    assert days(view_of(reader, ["dev", "shop"]), MONDAY, TUESDAY) == [
        Day(MONDAY, Verdict.VERIFIED, 2),
        Day(MONDAY, Verdict.FAILED, 1),
    ]
    assert days(view_of(reader, []), MONDAY, date(2026, 9, 23)) == []


def test_runs_without_evidence_that_verified_are_found_the_newest_first(reader: Reader) -> None:
    found = unproven_runs(view_of(reader), 10)
    assert [(run.uid, run.namespace, run.name) for run in found] == [
        (_uid(5), "", "build-5"),
        (_uid(4), "dev", "build-4"),
    ]
    assert [run.uid for run in unproven_runs(view_of(reader), 1, after=found[0].position)] == [_uid(4)]
    assert [run.uid for run in unproven_runs(view_of(reader, ["dev"]), 10)] == [_uid(4)]
    assert unproven_runs(view_of(reader, ["shop"]), 10) == []
    tuesday = datetime(2026, 9, 22, tzinfo=UTC)
    assert [run.uid for run in unproven_runs(view_of(reader), 10, since=tuesday)] == [_uid(5)]
    assert [run.uid for run in unproven_runs(view_of(reader), 10, until=tuesday)] == [_uid(4)]


def test_values_are_counted_among_what_fits_and_may_be_seen(reader: Reader) -> None:
    every, shop = view_of(reader), view_of(reader, ["shop"])
    assert values(every, parse(""), Key.PIPELINE, NOW) == [
        Counted("release", 2),
        Counted("release-2", 1),
        Counted("secret", 1),
    ]
    assert values(every, parse("node:node-1"), Key.PIPELINE, NOW, 2) == [
        Counted("release", 1),
        Counted("release-2", 1),
    ]
    assert values(shop, parse(""), Key.NODE, NOW) == [Counted("node-1", 2), Counted("node-2", 1)]
    assert values(shop, parse(""), Key.SIGNER, NOW) == [Counted("SHA256:shop", 3)]
    assert values(every, parse("release"), Key.NAMESPACE, NOW) == [Counted("shop", 2)]
    assert values(shop, parse("namespace:dev"), Key.PIPELINE, NOW) == []
    assert values(every, parse("namespace:none"), Key.PIPELINE, NOW) == []


def test_beginnings_are_completed_with_what_may_be_seen(reader: Reader) -> None:
    every, shop = view_of(reader), view_of(reader, ["shop"])
    assert beginning_with(every, Key.PIPELINE, "", NOW) == ["release", "release-2", "secret"]
    assert beginning_with(every, Key.PIPELINE, "rel", NOW, 1) == ["release"]
    assert beginning_with(every, Key.PIPELINE, "%", NOW) == []
    assert beginning_with(shop, Key.PIPELINE, "", NOW) == ["release", "release-2"]
    assert beginning_with(shop, Key.PIPELINE, "sec", NOW) == []
    assert beginning_with(shop, Key.NAMESPACE, "", NOW) == ["shop"]


def test_what_was_made_from_an_input_is_told_the_newest_first(tmp_path: Path) -> None:
    from chains.index.codes import Role
    from chains.index.query.search import Search

    base = "ee" * 32
    rows = [
        Row(
            f"{number:02x}" * 32,
            Run(_uid(number), "shop", f"build-{number}"),
            PROVENANCE,
            finished=FIRST + order,
            namespace="shop",
            materials=((f"sha256:{base}", Role.DEPENDENCY, "registry.example/os"),),
        )
        for number, order in ((0, 5), (1, 9), (2, 1))
    ]
    with reading(sqlite_index(tmp_path / "index.db", rows)) as opened:
        for query in (f"input:{base}", "input:registry.example/os", base):
            found = Search(view_of(opened), parse(query), NOW).page(10)
            assert [one.id for one in found] == [2, 1, 3], query
