"""What is too much goes from the namespace that has most."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chains.controller.memory.fair_memory import FairMemory

Key = tuple[str, int]


def memory(weight: float = 100, entries: float = 100, *, keeps_first: bool = False) -> FairMemory[Key, str]:
    return FairMemory(lambda key: key[0], most_weight=weight, most_entries=entries, keeps_first=keeps_first)


def test_a_flood_drives_out_nobody_but_the_one_who_sends_it() -> None:
    kept = memory(weight=10)
    kept.put(("victim", 1), "kept")
    kept.put(("victim", 2), "kept")
    for number in range(1000):
        kept.put(("attacker", number), "flood")
    assert [kept.get(("victim", number)) for number in (1, 2)] == ["kept", "kept"]
    assert (len(kept), kept.weight) == (10, 10)
    assert [key[1] for key in kept if key[0] == "attacker"] == list(range(992, 1000))


def test_many_small_ones_do_not_outweigh_a_large_one() -> None:
    kept = memory(weight=10)
    for number in range(4):
        kept.put(("small", number), "s")
    assert kept.put(("large", 1), "l", 6) == []
    assert kept.put(("small", 4), "s") == [(("large", 1), "l")]


def test_the_number_is_bounded_too_and_what_has_no_weight_goes_from_where_most_are() -> None:
    kept = memory(entries=3)
    kept.put(("one", 1), "a", 0)
    for number in range(5):
        kept.put(("many", number), "b", 0)
    assert list(kept) == [("one", 1), ("many", 3), ("many", 4)]


def test_what_is_too_heavy_alone_costs_nobody_a_place() -> None:
    kept = memory(weight=10)
    kept.put(("ns", 1), "kept")
    kept.put(("ns", 2), "old")
    assert kept.put(("ns", 2), "too large", 11) == [(("ns", 2), "too large")]
    assert (list(kept), kept.weight) == ([("ns", 1)], 1)


def test_the_first_stay_where_work_goes_from_the_first_to_the_last() -> None:
    kept = memory(weight=3, keeps_first=True)
    gone = [kept.put(("ns", number), str(number)) for number in range(5)]
    assert list(kept) == [("ns", 0), ("ns", 1), ("ns", 2)]
    assert gone[4] == [(("ns", 4), "4")]
    kept.put(("other", 0), "x")
    assert list(kept) == [("ns", 0), ("ns", 1), ("other", 0)]


def test_a_value_that_is_put_again_is_the_latest_and_counts_once() -> None:
    kept = memory(weight=3)
    for number in range(3):
        kept.put(("ns", number), "a")
    kept.put(("ns", 0), "b")
    kept.put(("ns", 3), "a")
    assert {key: kept.get(key) for key in kept} == {("ns", 2): "a", ("ns", 0): "b", ("ns", 3): "a"}


class Model:
    """The same in the plainest words: looks at every namespace each time."""

    def __init__(self, *, keeps_first: bool) -> None:
        self.values, self.keeps_first = list[tuple[Key, int]](), keeps_first

    def put(self, key: Key, weight: int) -> list[Key]:
        self.pop(key)
        if weight > 20:
            return [key]
        self.values.append((key, weight))
        gone = []
        while sum(weight for _, weight in self.values) > 20 or len(self.values) > 6:
            of = {space: [each for each in self.values if each[0][0] == space] for space in "abc"}
            ranks = {
                space: (-sum(weight for _, weight in each), -len(each), space) for space, each in of.items()
            }
            fullest = of[min(ranks, key=lambda space: ranks[space])]
            gone.append(fullest[-1 if self.keeps_first else 0][0])
            self.pop(gone[-1])
        return gone

    def pop(self, key: Key) -> None:
        self.values = [each for each in self.values if each[0] != key]


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.integers(0, 22), st.booleans()), max_size=60
    ),
    st.booleans(),
)
def test_who_has_to_go_is_who_the_plainest_words_say(
    steps: list[tuple[str, int, int, bool]], keeps_first: bool
) -> None:
    kept, model = memory(weight=20, entries=6, keeps_first=keeps_first), Model(keeps_first=keeps_first)
    for space, number, weight, put in steps:
        if put:
            gone = [key for key, _ in kept.put((space, number), "v", weight)]
            assert gone == model.put((space, number), weight)
        else:
            kept.pop((space, number))
            model.pop((space, number))
        assert set(kept) == {key for key, _ in model.values}


def test_what_is_remembered_of_weights_does_not_grow_with_what_went_through() -> None:
    kept = memory(weight=10)
    for number in range(20_000):
        kept.put(("ns", number), "v")
    assert len(kept._heaviest) < 2000


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"), st.integers(0, 5), st.integers(0, 12), st.sampled_from(["put", "pop"])
        )
    ),
    st.booleans(),
)
def test_weight_and_number_are_those_of_what_is_there(
    steps: list[tuple[str, int, int, str]], keeps_first: bool
) -> None:
    kept, weights = memory(weight=20, entries=6, keeps_first=keeps_first), dict[Key, int]()
    for space, number, weight, what in steps:
        key = space, number
        if what == "pop":
            assert (kept.pop(key) is None) == (weights.pop(key, None) is None)
        else:
            weights[key] = weight
            for gone, _ in kept.put(key, "v", weight):
                del weights[gone]
        assert set(kept) == set(weights)
        assert all(key in kept for key in weights)
        assert (len(kept), kept.weight) == (len(weights), sum(weights.values()))
        assert kept.weight <= 20
        assert len(kept) <= 6
