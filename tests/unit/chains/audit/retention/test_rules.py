"""Retention rules: what they demand of a piece, the reader's problems, and the published schema."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.audit.retention.format import LockWanted, Start, json_schema
from chains.audit.retention.judge import Code, State, problems_of, state_of
from chains.audit.retention.load import parse_rules
from chains.audit.retention.rules import Facts, Rules
from chains.errors import InputError
from storage.formats.reference import parse_image
from storage.locks import COMPLIANCE, GOVERNANCE, LockState, ObjectLock

Json = Any
NOW = datetime(2030, 1, 1, tzinfo=UTC)
SIGNED, FINISHED = datetime(2026, 1, 1, tzinfo=UTC), datetime(2025, 12, 31, tzinfo=UTC)
IMAGE = parse_image("registry.example/shop/app@sha256:" + "ab" * 32)


def document(classes: Json = None, holds: Json = None) -> Json:
    return {
        "apiVersion": "provenance.chains/v1",
        "kind": "Retention",
        "metadata": {"name": "evidence"},
        "spec": {
            "classes": classes or [{"name": "all", "match": {}, "keep": "365d", "reason": "rule 7"}],
            **({} if holds is None else {"holds": holds}),
        },
    }


def rules(classes: Json = None, holds: Json = None) -> Rules:
    read = parse_rules(json.dumps(document(classes, holds)).encode(), "rules.yaml", NOW)
    assert not read.errors
    assert read.rules is not None
    return read.rules


def one_class(name: str = "all", keep: str = "365d", match: Json = None, **more: Json) -> Json:
    return {"name": name, "match": match or {}, "keep": keep, "reason": "rule 7", **more}


def one_hold(match: Json = None, **more: Json) -> Json:
    return {
        "id": "case", "match": match or {}, "reason": "lawsuit", "by": "legal", "from": "2020-01-01T00:00:00Z", **more,
    }  # fmt: skip


def facts(**more: Json) -> Facts:
    found = {
        "predicate_type": "https://slsa.dev/provenance/v1",
        "images": (IMAGE,),
        "namespaces": frozenset({"shop"}),
        "outcomes": frozenset({"succeeded"}),
        "uids": frozenset({"uid-1"}),
        "digests": frozenset({IMAGE.digest}),
        "times": {Start.SIGNED: SIGNED, Start.FINISHED: FINISHED},
    }
    return Facts(**{**found, **more})


def lock(**more: Json) -> ObjectLock:
    return ObjectLock("s3://b/k", **{"state": LockState.NONE, "hold": False, **more})


def test_the_longest_term_of_all_matching_classes_counts_and_the_strictest_lock() -> None:
    made = rules(
        [
            one_class(keep="365d", lock="compliance"),
            one_class("releases", "3650d", {"images": ["registry.example/**"]}, lock="governance"),
            one_class("dev", "36500d", {"namespaces": ["dev-*"]}),
        ]
    )
    demand = made.demand(facts(), NOW)
    assert demand.decides is not None
    assert [one.name for one in demand.classes] == ["all", "releases"]
    assert (demand.decides.name, demand.lock) == ("releases", LockWanted.COMPLIANCE)
    assert (demand.start, demand.until) == (Start.SIGNED, SIGNED + timedelta(days=3650))
    assert state_of(demand, NOW) is State.KEEP


def test_a_term_begins_at_the_first_time_that_is_known() -> None:
    made = rules([one_class(**{"from": ["stored", "finished"]})])
    assert made.demand(facts(), NOW).until == FINISHED + timedelta(days=365)
    stored = facts(times={Start.STORED: SIGNED, Start.FINISHED: FINISHED})
    assert made.demand(stored, NOW).until == SIGNED + timedelta(days=365)
    # signed comes first where the file says nothing
    assert rules().demand(facts(), NOW).until == SIGNED + timedelta(days=365)


@pytest.mark.parametrize("unknown", ["images", "namespaces", "outcomes", "uids"])
def test_what_is_not_known_of_a_piece_keeps_it(unknown: str) -> None:
    match = {
        "images": ["other.example/**"],
        "namespaces": ["other"],
        "outcomes": ["failed"],
        "runs": ["uid-2"],
    }
    name = {"uids": "runs"}.get(unknown, unknown)
    made = rules([one_class()], [one_hold({name: match[name]})])
    assert made.demand(facts(), NOW).holds == ()
    assert [one.id for one in made.demand(facts(**{unknown: None}), NOW).holds] == ["case"]


def test_a_time_that_is_not_known_is_never_over() -> None:
    demand = rules([one_class(keep="1d"), one_class("b", "1d", **{"from": ["stored"]})]).demand(facts(), NOW)
    assert demand.until is None
    assert demand.unknown_starts == ("b",)
    assert state_of(demand, NOW) is State.UNDECIDED
    assert [one.code for one in problems_of(demand, [lock()], NOW)] == [Code.TIME_UNKNOWN]


def test_evidence_of_no_class_is_kept_and_told() -> None:
    demand = rules([one_class(match={"namespaces": ["dev"]})]).demand(facts(), NOW)
    assert state_of(demand, NOW) is State.UNDECIDED
    assert [one.code for one in problems_of(demand, [lock()], NOW)] == [Code.UNCLASSIFIED]


@pytest.mark.parametrize(
    ("more", "is_held"),
    [
        ({}, True),
        ({"released": "2029-12-31T23:59:59Z"}, False),
        ({"released": "2030-01-01T00:00:01Z"}, True),
        ({"from": "2030-01-02T00:00:00Z"}, False),
    ],
)
def test_a_hold_counts_from_its_beginning_until_it_is_released(more: Json, is_held: bool) -> None:
    demand = rules([one_class(keep="1d")], [one_hold(**more)]).demand(facts(), NOW)
    assert state_of(demand, NOW) is (State.HELD if is_held else State.DISPOSABLE)


@pytest.mark.parametrize(
    ("wanted", "there", "codes"),
    [
        ("compliance", {}, [Code.LOCK_MISSING]),
        ("compliance", {"state": LockState.UNKNOWN}, [Code.LOCK_UNKNOWN]),
        ("none", {"state": LockState.UNKNOWN}, []),
        ("compliance", {"mode": COMPLIANCE, "until": SIGNED + timedelta(days=36500)}, []),
        ("governance", {"mode": COMPLIANCE, "until": SIGNED + timedelta(days=36500)}, []),
        ("compliance", {"mode": GOVERNANCE, "until": SIGNED + timedelta(days=36500)}, [Code.LOCK_WEAK]),
        ("governance", {"mode": GOVERNANCE, "until": SIGNED + timedelta(days=36499)}, [Code.LOCK_SHORT]),
        ("compliance", {"mode": GOVERNANCE, "until": SIGNED}, [Code.LOCK_WEAK, Code.LOCK_SHORT]),
    ],
)
def test_a_lock_is_compared_with_what_is_demanded(wanted: str, there: Json, codes: list[Code]) -> None:
    demand = rules([one_class(keep="36500d", lock=wanted)]).demand(facts(), NOW)
    locked = {"state": LockState.LOCKED} if "mode" in there else {}
    assert [one.code for one in problems_of(demand, [lock(**{**locked, **there})], NOW)] == codes


def test_the_weakest_object_counts_and_old_versions_do_not() -> None:
    demand = rules([one_class(keep="36500d", lock="governance")]).demand(facts(), NOW)
    good = lock(state=LockState.LOCKED, mode=GOVERNANCE, until=datetime(2199, 1, 1, tzinfo=UTC))
    pointer = ObjectLock("s3://b/pointer", state=LockState.NONE, hold=False, is_evidence=False)
    (problem,) = problems_of(demand, [good, pointer], NOW)
    assert (problem.code, "s3://b/pointer" in problem.words) == (Code.LOCK_MISSING, True)
    old = ObjectLock("s3://b/k", state=LockState.NONE, hold=False, is_current=False)
    assert problems_of(demand, [good, old], NOW) == []
    # a piece whose objects the store does not list has no lock that anybody saw
    assert [one.code for one in problems_of(demand, [], NOW)] == [Code.LOCK_UNKNOWN]


def test_a_legal_hold_is_demanded_where_the_hold_says_so() -> None:
    for wants in (True, False):
        demand = rules([one_class()], [one_hold(lock=wants)]).demand(facts(), NOW)
        codes = [one.code for one in problems_of(demand, [lock()], NOW)]
        assert codes == ([Code.HOLD_MISSING] if wants else [])
        assert problems_of(demand, [lock(state=LockState.LOCKED, hold=True)], NOW) == []


@given(
    terms=st.lists(st.integers(1, 36_500), min_size=1, max_size=5),
    starts=st.lists(st.datetimes(datetime(2000, 1, 1), datetime(2029, 1, 1)), min_size=1, max_size=3),  # noqa: DTZ001
)
def test_nothing_may_go_before_every_term_is_over(terms: list[int], starts: list[datetime]) -> None:
    made = rules([one_class(f"c{at}", f"{days}d") for at, days in enumerate(terms)])
    times = dict(zip(Start, (each.replace(tzinfo=UTC) for each in starts), strict=False))
    demand = made.demand(facts(times=times), NOW)
    first = times[Start.SIGNED]
    assert (state_of(demand, NOW) is State.DISPOSABLE) == (first + timedelta(days=max(terms)) <= NOW)


WRONG = [
    ({"name": "a", "keep": "365d", "reason": "r"}, "missing_name"),
    (one_class(keep="ten years"), "wrong_type"),
    (one_class(lock="complianse"), "wrong_value"),
    (one_class(match={"image": ["**"]}), "unknown_name"),
    (one_class(match={"outcomes": ["perfect"]}), "wrong_value"),
    (one_class(match={"digests": ["sha256:ab"]}), "wrong_type"),
    (one_class(**{"from": ["born"]}), "wrong_value"),
    (one_class(match={"images": ["registry.example/app:v1"]}), "pattern"),
]


def test_every_problem_of_a_file_is_told_at_once_with_its_place() -> None:
    text = json.dumps(document([one for one, _ in WRONG[:7]]), indent=1)
    read = parse_rules(text.encode(), "rules.yaml", NOW)
    assert read.rules is None
    assert sorted(one.code for one in read.problems) == sorted(code for _, code in WRONG[:7])
    assert all(one.line > 1 and str(one).startswith("rules.yaml:") for one in read.problems)
    told = next(str(one) for one in read.problems if one.code == "unknown_name")
    assert "did you mean 'images'?" in told


@pytest.mark.parametrize(("wrong", "code"), WRONG)
def test_each_wrong_class_is_refused_by_the_reader_and_by_the_schema(wrong: Json, code: str) -> None:
    read = parse_rules(json.dumps(document([wrong])).encode(), "rules.yaml", NOW)
    assert [one.code for one in read.errors] == [code]
    if code != "pattern":
        assert list(jsonschema.Draft202012Validator(json_schema()).iter_errors(document([wrong])))


def test_names_that_come_twice_and_holds_that_end_before_they_begin_are_refused() -> None:
    made = document([one_class(), one_class()], [one_hold(), one_hold(released="2019-01-01T00:00:00Z")])
    read = parse_rules(json.dumps(made).encode(), "rules.yaml", NOW)
    assert sorted(one.code for one in read.errors) == ["name_twice", "name_twice", "window"]


def test_likely_mistakes_are_warnings() -> None:
    made = document(
        [one_class(match={"namespaces": ["prod"]}, **{"from": ["stored"]})], [one_hold(**{"from": "2031-01-01T00:00:00Z"})]
    )  # fmt: skip
    read = parse_rules(json.dumps(made).encode(), "rules.yaml", NOW)
    assert read.rules is not None
    assert sorted(one.code for one in read.problems) == ["no_default", "not_yet", "stored_first"]


def test_two_documents_are_no_rules() -> None:
    text = "---\n".join([json.dumps(document()) + "\n"] * 2)
    with pytest.raises(InputError, match="expected one document"):
        parse_rules(text.encode(), "rules.yaml", NOW)


def test_the_published_schema_is_that_of_the_reader() -> None:
    published = Path(__file__).parents[5] / "docs" / "retention.schema.json"
    assert json.loads(published.read_text()) == json_schema()
    assert not list(jsonschema.Draft202012Validator(json_schema()).iter_errors(document(holds=[one_hold()])))
