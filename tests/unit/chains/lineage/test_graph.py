"""Artifacts and links: what is reached, how far away, and that circles end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chains.lineage.graph import Edge, Graph


def graph_of(*links: tuple[str, str]) -> Graph:
    """Return a graph; a link is its inputs and its products, a letter each."""
    graph = Graph()
    for number, (inputs, products) in enumerate(links):
        graph.add(inputs, products, f"uid-{number}", f"evidence-{number}")
    return graph


def reached(graph: Graph, *starts: int, without: int = -1) -> dict[str, int]:
    reach = graph.follow(starts, lambda link: link != without)
    return {graph.digest(number): far for number, far in reach.artifacts.items()}


def test_the_nearest_way_counts() -> None:
    graph = graph_of(("", "a"), ("a", "b"), ("b", "c"), ("a", "c"), ("c", "d"))
    assert reached(graph, 0) == {"a": 0, "b": 1, "c": 1, "d": 2}
    assert reached(graph, 0, without=3) == {"a": 0, "b": 1, "c": 2, "d": 3}
    assert reached(graph, 2) == {"c": 0, "d": 1}


def test_a_circle_and_an_artifact_of_itself_end() -> None:
    graph = graph_of(("b", "a"), ("a", "b"), ("c", "c"), ("b", "c"))
    assert reached(graph, 0) == {"a": 0, "b": 1, "c": 2}
    assert reached(graph, 2) == {"c": 0}


def test_a_link_that_does_not_pass_is_no_way_but_may_be_a_start() -> None:
    graph = graph_of(("", "a"), ("a", "b"))
    assert reached(graph, 0, without=1) == {"a": 0}
    assert reached(graph, 1, without=1) == {"b": 0}


def test_edges_name_run_and_evidence_and_stay_among_the_artifacts_asked_for() -> None:
    graph = graph_of(("ax", "bc"))
    shown = {graph.number(letter) for letter in "abc"}
    assert list(graph.edges([0], shown.__contains__)) == [
        Edge("a", "b", "uid-0", "evidence-0"),
        Edge("a", "c", "uid-0", "evidence-0"),
    ]


def test_an_artifact_named_twice_by_a_link_is_one() -> None:
    graph = graph_of(("aa", "bb"))
    assert (list(graph.inputs(0)), list(graph.products(0)), graph.artifact_count) == ([0], [1], 2)
    assert list(graph.used_by(0)) == [0]


@given(
    links=st.lists(st.tuples(st.text("abcdefgh", max_size=3), st.text("abcdefgh", max_size=3)), max_size=12),
    start=st.integers(0, 11),
)
def test_what_is_reached_is_what_a_plain_search_finds(links: list[tuple[str, str]], start: int) -> None:
    graph = graph_of(*links)
    starts = [start] if start < len(links) else []
    expected: set[str] = set()
    taken = set(starts)
    for _ in range(len(links) + 1):
        expected |= {product for link in taken for product in links[link][1]}
        taken |= {number for number, (inputs, _) in enumerate(links) if expected & set(inputs)}
    assert reached(graph, *starts).keys() == expected
