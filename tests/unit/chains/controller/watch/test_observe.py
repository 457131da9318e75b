"""How kopf's tasks are ended, kopf's own faults included, and what a watch brings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from chains.controller.watch.observe import run_to_the_end
from chains.controller.watch.stream import Heard, Lines


class BrokenError(Exception):
    """What the first task ends with."""


async def breaks() -> None:
    raise BrokenError


async def takes_cancellations(count: int, ended: list[str]) -> None:
    """Go on after as many cancellations, as a watch of kopf does that was just opening its request."""
    for _ in range(count):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue
    try:
        await asyncio.Event().wait()
    finally:
        ended.append("ended")


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_task_that_takes_a_cancellation_for_its_own_is_cancelled_again(count: int) -> None:
    ended: list[str] = []

    async def run() -> None:
        tasks = [asyncio.create_task(takes_cancellations(count, ended)), asyncio.create_task(breaks())]
        await run_to_the_end(tasks, patience=0.01)

    with pytest.raises(BrokenError):
        asyncio.run(run())
    assert ended == ["ended"]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_so_it_is_when_the_whole_process_ends(count: int) -> None:
    ended: list[str] = []

    async def run() -> None:
        tasks = [asyncio.create_task(takes_cancellations(count, ended))]
        whole = asyncio.create_task(run_to_the_end(tasks, patience=0.01))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        whole.cancel()
        await whole

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run())
    assert ended == ["ended"]


class Content:
    """The body of a watch, in chunks as the network gives them."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = chunks

    async def iter_chunked(self, _: int) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk


def event(kind: str, name: str, version: str, **more: Any) -> bytes:
    """One event of a watch, on a line of its own."""
    metadata = {"namespace": "team", "name": name, "uid": f"uid-{name}", "resourceVersion": version}
    return orjson.dumps({"type": kind, "object": {"metadata": metadata, **more}}) + b"\n"


def streamed(*chunks: bytes, breaks: str = "") -> tuple[list[tuple[str | None, str]], list[tuple[str, str]]]:
    """Return what was handed over, and type and version of what kopf gets, for the chunks of a watch."""
    seen: list[tuple[str | None, str]] = []

    def see(kind: str | None, raw: dict[str, Any]) -> None:
        seen.append((kind, raw["metadata"]["name"]))
        if raw["metadata"]["name"] == breaks:
            raise BrokenError

    async def work() -> list[bytes]:
        return [line async for line in Lines(Content(*chunks), see).iter_chunked(1)]  # type: ignore[arg-type]

    given = [orjson.loads(line) for line in asyncio.run(work())]
    return seen, [
        (one["type"], one["object"].get("metadata", {}).get("resourceVersion", "")) for one in given
    ]


def test_a_list_that_takes_the_place_of_a_watch_is_a_gap_since_something_was_heard() -> None:
    gaps: list[tuple[datetime, str]] = []
    heard, path = Heard(lambda since, what: gaps.append((since, what))), "/apis/tekton.dev/v1/taskruns"
    begun = datetime.now(UTC)
    heard.listed(path)
    assert gaps == [], "before the first list nothing was heard"
    heard.watched(path)
    heard.watched("/other")
    between = datetime.now(UTC)
    heard.listed(path)
    ((since, what),) = gaps
    assert begun <= since <= between
    assert what == f"the watch of {path} began again with a list"
    heard.listed(path)
    assert gaps[1][0] >= between, "what the list told was heard, too"


def test_each_part_of_a_watch_is_heard() -> None:
    parts: list[int] = []

    async def work() -> None:
        content = Content(event("ADDED", "a", "1"), b"", event("ADDED", "b", "2"))
        lines = Lines(content, lambda _kind, _raw: None, lambda: parts.append(1))  # type: ignore[arg-type]
        assert len([line async for line in lines.iter_chunked(1)]) == 2

    asyncio.run(work())
    assert len(parts) == 3


def test_events_are_handed_over_in_order_and_kopf_gets_how_far_they_came() -> None:
    first, second, third = event("ADDED", "a", "1"), event("MODIFIED", "b", "2"), event("DELETED", "a", "3")
    assert streamed(first + second[:9], second[9:] + third) == (
        [("ADDED", "a"), ("MODIFIED", "b"), ("DELETED", "a")],
        [("BOOKMARK", "1"), ("BOOKMARK", "3")],
    )


def test_what_ends_a_watch_gets_to_kopf_after_what_came_before() -> None:
    error = orjson.dumps({"type": "ERROR", "object": {"kind": "Status", "code": 410}}) + b"\n"
    bookmark = orjson.dumps({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "8"}}}) + b"\n"
    assert streamed(event("ADDED", "a", "7") + bookmark + event("ADDED", "b", "9") + error) == (
        [("ADDED", "a"), ("ADDED", "b")],
        [("BOOKMARK", "7"), ("BOOKMARK", "8"), ("BOOKMARK", "9"), ("ERROR", "")],
    )


def test_an_object_that_breaks_us_or_has_no_name_keeps_no_other_from_being_seen(
    caplog: pytest.LogCaptureFixture,
) -> None:
    nameless = b'{"type":"ADDED","object":{"metadata":{"uid":"x"}}}\nnot json\n'
    seen, given = streamed(event("ADDED", "a", "1") + nameless + event("ADDED", "b", "2"), breaks="a")
    assert seen == [("ADDED", "a"), ("ADDED", "b")]
    assert given == [("BOOKMARK", "2")]
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "an event of the watch was lost",
        "an event of the watch can neither be read nor named",
        "an event of the watch can neither be read nor named",
    ]
