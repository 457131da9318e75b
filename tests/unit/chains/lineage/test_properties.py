"""What holds for every graph: strangers add and never remove, and a way that is surer counts."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from chains.lineage.blast_radius import State, Window, blast_radius
from chains.lineage.collect import Claim, Collected, Place
from chains.lineage.signing import Match
from chains.lineage.wanted import Kind, Wanted

WANTED = Wanted(builders=["b"])
SINCE = datetime(2026, 1, 1, tzinfo=UTC)
OLDER = datetime(2025, 1, 1, tzinfo=UTC)
Link = tuple[str, str, bool, bool, bool]
"""Inputs and products, a letter each; whether it matches, is verified, and has a verified time before SINCE."""


def links(*, strangers: bool) -> st.SearchStrategy[list[Link]]:
    letters = st.text("abcdefg", max_size=3)
    flag = st.just(False) if strangers else st.booleans()
    return st.lists(st.tuples(letters, letters, st.booleans(), flag, flag), max_size=10)


def answer(made: list[Link]) -> dict[str, State]:
    collected = Collected(pieces=len(made))
    for inputs, products, is_match, is_verified, is_older in made:
        graph = collected.graph
        graph.add(inputs, products, "uid", "evidence")
        collected.claims.append(
            Claim(
                predicate_type="p",
                run="",
                run_uid="uid",
                products=tuple((letter, graph.number(letter)) for letter in products),
                signer="k" if is_verified else "",
                moment=OLDER if is_verified and is_older else None,
                stated=None,
                found={Kind.BUILDER: Match("b")} if is_match else {},
                places=[Place("s", "l", "d")],
            )
        )
    found = blast_radius(collected, WANTED, Window(since=SINCE))
    assert [one.digest for one in found.artifacts] == list(
        dict.fromkeys(one.digest for one in found.artifacts)
    )
    assert found.touched + found.count(State.BEFORE) == len(found.artifacts)
    return {one.digest: one.state for one in found.artifacts}


def reached(made: list[Link], *, verified: bool, before: bool) -> set[str]:
    """Return what a plain search finds through the links that count."""
    counting = [one for one in made if (one[3] or not verified) and (before or not (one[3] and one[4]))]
    taken: set[str] = set()
    found = {letter for one in counting if one[2] for letter in one[1]}
    while found != taken:
        taken = set(found)
        found |= {letter for one in counting if set(one[0]) & taken for letter in one[1]}
    return found


@given(links(strangers=False))
def test_each_artifact_has_the_surest_state_that_a_way_gives_it(made: list[Link]) -> None:
    verified = reached(made, verified=True, before=False)
    touched = reached(made, verified=False, before=False)
    every = reached(made, verified=False, before=True)
    expected = dict.fromkeys(every, State.BEFORE)
    expected |= dict.fromkeys(touched, State.CLAIMED) | dict.fromkeys(verified, State.VERIFIED)
    assert answer(made) == expected


@given(links(strangers=False), links(strangers=True))
def test_what_strangers_write_adds_artifacts_and_takes_none_away(made: list[Link], more: list[Link]) -> None:
    without, beside = answer(made), answer([*made, *more])
    assert without.keys() <= beside.keys()
    order = list(State)
    for letter, state in without.items():
        assert order.index(beside[letter]) <= order.index(state)
    sure = {letter for letter, state in without.items() if state is State.VERIFIED}
    assert {letter for letter, state in beside.items() if state is State.VERIFIED} == sure
