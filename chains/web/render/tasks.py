"""The picture of a pipeline's tasks: what waits for what, and what became of each."""

from __future__ import annotations

from markupsafe import Markup

from chains.text import count
from chains.web.answers.tasks import Task, TaskGraph
from chains.web.render import paths
from chains.web.render.graph import Box, Line, graph_svg, layers
from chains.web.render.text import duration

MOST = 60
"""Tasks that are drawn; the list has all."""
_IN_A_COLUMN = 5
"""Tasks in one column, where it is not known what waits for what."""
_KINDS = {
    "succeeded": "done",
    "failed": "failed",
    "cancelled": "failed",
    "skipped": "skipped",
    "not run": "skipped",
    "unknown": "unsure",
}


def tasks_svg(graph: TaskGraph, known: frozenset[str]) -> Markup:
    """Return the picture; ``known`` are the UIDs of runs that have a page."""
    shown = graph.tasks[:MOST]
    columns = _columns(graph, shown)
    boxes = [
        Box(
            one.key,
            _lines(one),
            f"{one.run}: {one.state} {one.reason}".strip(),
            f"{_KINDS.get(one.state, 'unsure')}{' finally' if one.is_finally else ''}",
            columns[one.key],
            paths.run(one.uid) if one.uid in known else "",
        )
        for one in shown
    ]
    by_name: dict[str, list[str]] = {}
    for one in shown:
        by_name.setdefault(one.name, []).append(one.key)
    lines = [
        Line(before, one.key, f"{one.name} waits for {name}")
        for one in shown
        for name in one.after
        for before in by_name.get(name, ())
    ]
    states: dict[str, int] = {}
    for one in graph.tasks:
        states[one.state] = states.get(one.state, 0) + 1
    told = ", ".join(f"{number} {state}" for state, number in states.items())
    text = f"{count(len(graph.tasks), 'task')}: {told}. The list below says the same."
    return graph_svg("tasks", "Tasks of the pipeline", text, boxes, lines)


def _columns(graph: TaskGraph, shown: tuple[Task, ...]) -> dict[str, int]:
    if not graph.has_order:
        return {one.key: place // _IN_A_COLUMN for place, one in enumerate(shown)}
    after = {one.name: one.after for one in graph.tasks if not one.is_finally}
    column = layers(after)
    last = 1 + max(column.values(), default=-1)
    return {one.key: last if one.is_finally else column[one.name] for one in shown}


def _lines(one: Task) -> tuple[str, ...]:
    told = one.state
    if one.seconds is not None:
        told += f", {duration(one.seconds)}"
    lines = [one.name, told]
    if one.attempts:
        lines.append(f"try {len(one.attempts) + 1} of {one.retries + 1}")
    if one.combination:
        lines.append(one.combination)
    if one.is_finally:
        lines.append("finally")
    if one.level:
        lines.append(f"isolation {one.level}")
    return tuple(lines)
