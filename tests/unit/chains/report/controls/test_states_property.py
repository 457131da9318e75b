"""Properties of states, for facts of any value: nothing is claimed without what is demanded of every control."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from chains.report.controls.evaluate import EVIDENCED_FLOOR, PARTLY_FLOOR, State, judge
from chains.report.controls.fact import Kind, Value
from chains.report.controls.facts import FACTS
from chains.report.controls.format import Highest, Ids
from chains.report.controls.load import Control, ControlMap, own_maps
from chains.report.controls.requirement import Requirement

ORDER = (State.NOT_HERE, State.NOT_EVIDENCED, State.PARTLY, State.EVIDENCED)
_VALUES: dict[Kind, st.SearchStrategy[Value]] = {
    Kind.FLAG: st.sampled_from([True, True, True, False, None]),
    Kind.COUNT: st.sampled_from([0, 0, 1, 2, 1000, None]),
    Kind.PERCENT: st.one_of(st.just(Fraction(100)), st.just(Fraction(100)), st.fractions(0, 100), st.none()),
}
VALUES = st.fixed_dictionaries({name: _VALUES[fact.kind] for name, fact in FACTS.items()})
REQUIREMENTS = st.lists(
    st.sampled_from(sorted(FACTS)).flatmap(
        lambda name: (
            st.just(Requirement(name))
            if FACTS[name].kind is Kind.FLAG
            else st.builds(
                Requirement, st.just(name), st.sampled_from(["=", ">=", "<="]), st.integers(0, 100)
            )
        )
    ),
    max_size=4,
).map(tuple)
MAPS = st.builds(
    lambda highest, partly, evidenced: ControlMap(
        "any", "any", "1", "any", Ids.PLAIN, (Control("x", "x", highest, partly, evidenced),)
    ),
    st.sampled_from(Highest),
    REQUIREMENTS,
    REQUIREMENTS,
)


@settings(deadline=None)
@given(VALUES, MAPS)
def test_no_map_claims_anything_without_what_is_demanded_of_all(
    values: dict[str, Value], one: ControlMap
) -> None:
    (found,) = judge(one, values)
    if found.state in {State.PARTLY, State.EVIDENCED}:
        assert all(demand.holds(values[demand.fact]) for demand in PARTLY_FLOOR)
        assert all(demand.holds(values[demand.fact]) for demand in one.controls[0].partly)
    if found.state is State.EVIDENCED:
        assert all(demand.holds(values[demand.fact]) for demand in EVIDENCED_FLOOR)
        assert all(demand.holds(values[demand.fact]) for demand in one.controls[0].evidenced)
    assert ORDER.index(found.state) <= ORDER.index(State(found.control.highest.value))


@settings(deadline=None)
@given(VALUES, MAPS, st.sampled_from(sorted(FACTS)))
def test_a_fact_that_is_no_longer_known_never_raises_a_state(
    values: dict[str, Value], one: ControlMap, name: str
) -> None:
    (before,), (after,) = judge(one, values), judge(one, values | {name: None})
    assert ORDER.index(after.state) <= ORDER.index(before.state)


@settings(deadline=None, max_examples=25)
@given(VALUES)
def test_the_reason_of_what_is_not_at_its_highest_state_names_what_does_not_hold(
    values: dict[str, Value],
) -> None:
    for one in own_maps():
        for found in judge(one, values):
            if found.state.value == found.control.highest.value:
                continue
            assert found.failed
            for demand, value in found.failed:
                assert not demand.holds(value)
                assert f"{demand} does not hold: " in found.reason
