"""A reader of some namespaces learns nothing of others: not by counts, values, lineage, days or positions."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chains.index.codes import Role, Verdict
from chains.index.query.answer import ask
from chains.index.query.errors import CursorError
from chains.index.query.overview import VALUES, beginning_with, days, unproven_runs, values
from chains.index.query.parse import parse
from chains.index.query.reader import Reader, reading
from chains.index.query.relatives import collect_relatives
from chains.index.query.report import to_json
from chains.index.query.rows import hits
from chains.index.query.scope import view_of
from chains.index.query.search import Count, Search
from chains.lineage.collect import Collected
from tests.unit.chains.index.query.checks import parsed
from tests.unit.chains.index.query.index import Row, Run, sqlite_index
from tests.unit.chains.index.query.made_rows import DIGESTS, FIRST, NAMESPACES, queries, rows
from tests.unit.chains.index.query.made_rows import NOW as LATER

NOW = datetime.fromtimestamp(LATER, UTC)
SHARED = f"sha256:{'11' * 32}"
BASE = f"sha256:{'22' * 32}"
PROVENANCE = "https://slsa.dev/provenance/v1"


def row(number: int, namespace: str, *, verdict: Verdict = Verdict.VERIFIED, **more: Any) -> Row:
    """An attestation of a run in a namespace, about an artifact that all namespaces have."""
    return Row(
        f"{number:064x}",
        Run(f"00000000-0000-4000-8000-{number:012}", namespace, f"build-{number}", sender=f"of-{namespace}"),
        PROVENANCE,
        builder=f"https://builder.example/{namespace}",
        signer="SHA256:key",
        verdict=verdict,
        finished=FIRST + number,
        namespace=namespace,
        **({"subjects": ((SHARED, "shop"),), "materials": ((BASE, Role.DEPENDENCY, "base"),)} | more),
    )


def test_a_count_and_its_more_do_not_tell_how_many_rows_others_have(tmp_path: Path) -> None:
    own = [row(number, "shop") for number in range(1, 9)]
    others = [row(number, "secret") for number in range(100, 140)]
    texts = (
        SHARED,
        f"input:{BASE}",
        "signer:SHA256:key",
        "repo:nothing",
        "-verdict:failed",
        "name:secret",
        "",
    )
    texts += (f"input:{BASE} -verdict:failed", f"{SHARED} -{SHARED}", "1" * 40)
    with (
        reading(sqlite_index(tmp_path / "whole.db", [*own, *others])) as whole,
        reading(sqlite_index(tmp_path / "own.db", own)) as alone,
    ):
        for text, candidates in itertools.product(texts, (3, 8, 20)):
            counted = [
                Search(view_of(reader, ["shop"]), parse(text), NOW).count(candidates=candidates)
                for reader in (whole, alone)
            ]
            assert counted[0] == counted[1], (text, candidates)
        search = Search(view_of(whole, ["shop"]), parse(SHARED), NOW)
        assert search.count(candidates=8) == search.count() == Count(8)
        assert search.count(candidates=3) == Count(3, has_more=True)
        assert Search(view_of(whole, []), parse(SHARED), NOW).count(candidates=3) == Count(0)
        # whoever sees everything sees both
        assert Search(view_of(whole), parse(SHARED), NOW).count() == Count(48)


def test_a_term_that_others_alone_have_is_told_like_one_that_nobody_has(tmp_path: Path) -> None:
    own = [row(number, "shop") for number in range(1, 9)]
    secret = row(100, "secret", subjects=((f"sha256:{'33' * 32}", "rocket"),), materials=())
    with reading(sqlite_index(tmp_path / "whole.db", [*own, secret])) as reader:
        view = view_of(reader, ["shop"])
        for there, nowhere in (
            (f"sha256:{'33' * 32}", f"sha256:{'44' * 32}"),
            ("33" * 10, "44" * 10),
            ("image:rocket", "image:socket"),
            ("namespace:secret", "namespace:public"),
            ("run:secret/build-100", "run:secret/build-101"),
            ("sender:of-secret", "sender:of-public"),
            ("builder:https://builder.example/secret", "builder:https://builder.example/public"),
        ):
            found = [Search(view, parse(text), NOW) for text in (there, nowhere)]
            assert [one.page(5) for one in found] == [[], []]
            # the cut of the count is the same, too: it is that of the reader's own rows
            assert found[0].count(candidates=3) == found[1].count(candidates=3) == Count(0, has_more=True)


def test_lineage_goes_through_own_statements_alone(tmp_path: Path) -> None:
    def link(number: int, namespace: str, product: str, source: str) -> Row:
        return row(
            number,
            namespace,
            subjects=((f"sha256:{product * 64}", f"image-{product}"),),
            materials=((f"sha256:{source * 64}", Role.DEPENDENCY, f"image-{source}"),),
        )

    # c was made from b by others, and b from a by us
    own = [link(1, "shop", "b", "a"), link(2, "shop", "d", "c")]
    others = [link(3, "secret", "c", "b"), link(4, "secret", "b", "f"), link(5, "secret", "e", "d")]
    place = sqlite_index(tmp_path / "whole.db", [*own, *others])
    apart = sqlite_index(tmp_path / "own.db", own)
    for letter in "abcdef":
        digests = [f"sha256:{letter * 64}"]
        seen = collect_relatives(place, digests, 9, namespaces=["shop"])
        assert facts(seen) == facts(collect_relatives(apart, digests, 9)), letter
    named = {
        run.run for run in collect_relatives(place, [f"sha256:{'d' * 64}"], 9, namespaces=["shop"]).claims
    }
    assert named == {"taskrun/shop/build-2"}
    every = {run.run for run in collect_relatives(place, [f"sha256:{'d' * 64}"], 9).claims}
    assert "taskrun/secret/build-3" in every


def test_lineage_names_no_run_of_others_that_false_evidence_claims(tmp_path: Path) -> None:
    secret = Run("00000000-0000-4000-8000-000000000001", "secret", "rocket")
    claim = Row(
        "aa" * 32, secret, PROVENANCE, namespace="shop", verdict=Verdict.FAILED, subjects=((SHARED, "x"),)
    )
    honest = Row("bb" * 32, secret, PROVENANCE, namespace="secret", subjects=((SHARED, "y"),))
    place = sqlite_index(tmp_path / "index.db", [claim, honest])
    (found,) = collect_relatives(place, [SHARED], 3, namespaces=["shop"]).claims
    assert (found.run, found.run_uid, [name for name, _ in found.products]) == ("", "", ["x"])


def test_an_index_that_is_behind_tells_readers_of_some_namespaces_no_number(tmp_path: Path) -> None:
    place = sqlite_index(tmp_path / "index.db", [row(1, "shop")])
    with closing(sqlite3.connect(place.path)) as connection, connection:
        connection.execute("UPDATE store SET parts = 9")
    told = [
        [one.reason for one in collect_relatives(place, [SHARED], 1, namespaces=seen).problems]
        for seen in (None, ["shop"])
    ]
    assert told == [["the index is behind by 8 parts: update it"], ["the index is behind: update it"]]


def test_no_namespace_at_all_shows_nothing(tmp_path: Path) -> None:
    place = sqlite_index(tmp_path / "index.db", [row(1, "shop"), row(2, "", verdict=Verdict.FAILED)])
    answer = ask(place, parse(""), NOW, namespaces=[])
    assert (answer.hits, answer.count, answer.cursor) == ([], Count(0), "")
    assert collect_relatives(place, [SHARED], 3, namespaces=[]).claims == []
    with reading(place) as reader:
        view = view_of(reader, [])
        assert days(view, *_SPAN) == unproven_runs(view, 9) == values(view, parse(""), VALUES[0], NOW) == []
        assert beginning_with(view, VALUES[0], "", NOW) == []


def test_what_has_no_namespace_is_shown_only_to_those_who_see_everything(tmp_path: Path) -> None:
    place = sqlite_index(tmp_path / "index.db", [row(1, "")])
    assert len(ask(place, parse(""), NOW).hits) == 1
    for seen in ([], [""], ["shop"]):
        assert ask(place, parse(""), NOW, namespaces=seen).hits == [], seen


def test_a_cursor_of_other_namespaces_is_refused_in_the_words_of_any_wrong_one(tmp_path: Path) -> None:
    made = [
        row(number, namespace) for number, namespace in enumerate(("shop", "shop", "secret", "secret"), 1)
    ]
    place = sqlite_index(tmp_path / "index.db", made)
    cursors = [ask(place, parse(""), NOW, limit=1, namespaces=seen).cursor for seen in (None, ["secret"])]
    words = set()
    for cursor in (*cursors, ask(place, parse("-name:x"), NOW, limit=1, namespaces=["shop"]).cursor):
        with pytest.raises(CursorError) as error:
            ask(place, parse(""), NOW, cursor=cursor, namespaces=["shop"])
        words.add(str(error.value))
    assert len(words) == 1


_SPAN = (datetime.fromtimestamp(FIRST, UTC).date(), (NOW + timedelta(days=9)).date())


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    made=rows,
    texts=st.lists(queries, min_size=1, max_size=6),
    seen=st.lists(st.sampled_from(NAMESPACES[:3]), max_size=2),
)
def test_an_index_with_others_in_it_answers_as_one_without_them(
    tmp_path: Path, made: Sequence[Row], texts: Sequence[str], seen: Sequence[str]
) -> None:
    own = [one for one in made if one.namespace in seen and one.run.namespace in seen]
    uids = {one.run.uid for one in own}
    # a run of others has evidence of its own namespace alone, as what verifies has by construction
    others = [
        one
        for one in made
        if one.namespace not in seen and one.run.namespace not in seen and one.run.uid not in uids
    ]
    for name in ("whole.db", "own.db"):
        (tmp_path / name).unlink(missing_ok=True)
    places = [
        sqlite_index(tmp_path / name, listed)
        for name, listed in (("whole.db", [*own, *others]), ("own.db", own))
    ]
    for query in parsed(texts):
        answers = [to_json(ask(place, query, NOW, limit=3, namespaces=seen)) for place in places]
        for one in answers:
            one["index"].pop("place")
        assert answers[0] == answers[1], str(query)
    with reading(places[0]) as whole, reading(places[1]) as alone:
        assert told(whole, texts, seen) == told(alone, texts, seen)
    for digest in DIGESTS:
        shown = [
            facts(collect_relatives(place, [f"sha256:{digest}"], 3, namespaces=seen)) for place in places
        ]
        assert shown[0] == shown[1]


def told(reader: Reader, texts: Sequence[str], seen: Sequence[str]) -> list[object]:
    """Everything that is told beside single attestations."""
    view = view_of(reader, seen)
    found: list[object] = [days(view, *_SPAN)]
    found += [(one.uid, one.kind, one.namespace, one.name) for one in unproven_runs(view, 50)]
    found += [beginning_with(view, key, text, NOW) for key in VALUES for text in ("", "s", "x'")]
    for query in parsed(texts):
        search = Search(view, query, NOW)
        found += [values(view, query, key, NOW) for key in VALUES]
        found += [search.count(candidates=n).has_more for n in (1, 2, 3)]
        found.append(hits(view, search.page(50)))
    return found


def facts(collected: Collected) -> object:
    """What a lineage says, without the name of the index."""
    return (
        sorted(
            (one.predicate_type, one.run, one.run_uid, one.signer, [name for name, _ in one.products])
            for one in collected.claims
        ),
        collected.pieces,
        collected.unread,
        [problem.reason for problem in collected.problems],
    )
