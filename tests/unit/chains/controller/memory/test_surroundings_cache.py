"""What is read once is not read again, and never told of a time at which it was not yet so."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson
import pytest

from chains.cluster.errors import ClusterUnavailable
from chains.controller.memory.surroundings_cache import CLOCKS_DIFFER, SECONDS, ReadCache, SurroundingsCache
from chains.tekton.network_policy import NetworkPolicy, parse_network_policy
from chains.tekton.pod import parse_pod
from chains.tekton.surroundings import Surroundings

Json = Any


class Source:
    """Counts its reads and answers when it is let."""

    def __init__(self) -> None:
        self.count, self.error = 0, False
        self.gate, self.started = asyncio.Event(), asyncio.Event()
        self.gate.set()

    async def read(self, path: str) -> tuple[str, ...]:
        self.count += 1
        self.started.set()
        await self.gate.wait()
        if self.error:
            raise ClusterUnavailable(f"GET {path}: 503")
        return (path,)


def test_a_run_that_had_ended_before_takes_the_answer_and_one_that_ended_since_does_not() -> None:
    async def check() -> None:
        source = Source()
        recent = ReadCache(source.read)
        now = time.time()
        long_ago = now - CLOCKS_DIFFER - 1
        first = await recent.get("/a", long_ago)
        assert await recent.get("/a", long_ago) is first
        assert source.count == 1
        for ended in (now, now - CLOCKS_DIFFER + 1, None):
            before = source.count
            assert await recent.get("/a", ended) is first  # read again, and equal answers are one
            assert source.count == before + 1
        await recent.get("/b", long_ago)
        assert source.count == 5

    asyncio.run(check())


def test_an_answer_gets_old(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check() -> None:
        source = Source()
        recent = ReadCache(source.read)
        await recent.get("/a", 0.0)
        later = time.monotonic() + SECONDS + 1
        monkeypatch.setattr(time, "monotonic", lambda: later)
        await recent.get("/a", 0.0)
        assert source.count == 2

    asyncio.run(check())


def test_many_who_ask_during_a_read_share_the_next_one() -> None:
    async def check() -> None:
        source = Source()
        recent = ReadCache(source.read)
        source.gate.clear()
        first = asyncio.create_task(recent.get("/a", None))
        await source.started.wait()
        others = [asyncio.create_task(recent.get("/a", None)) for _ in range(20)]
        await asyncio.sleep(0)
        source.gate.set()
        await asyncio.gather(first, *others)
        assert source.count == 2

    asyncio.run(check())


def test_a_failure_is_for_those_who_wait_and_is_not_remembered() -> None:
    async def check() -> None:
        source = Source()
        recent = ReadCache(source.read)
        source.error = True
        source.gate.clear()
        waiting = [asyncio.create_task(recent.get("/a", 0.0)) for _ in range(9)]
        await asyncio.sleep(0)
        source.gate.set()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(each) for each in found} == {ClusterUnavailable}
        assert source.count <= 2
        source.error = False
        assert await recent.get("/a", 0.0) == ("/a",)

    asyncio.run(check())


def test_a_read_that_is_cancelled_leaves_the_way_free() -> None:
    async def check() -> None:
        source = Source()
        recent = ReadCache(source.read)
        source.gate.clear()
        task = asyncio.create_task(recent.get("/a", 0.0))
        await source.started.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        source.gate.set()
        assert await recent.get("/a", 0.0) == ("/a",)

    asyncio.run(check())


def around(name: str = "", policies: tuple[NetworkPolicy, ...] = (), **more: Json) -> Surroundings:
    pod = parse_pod({"metadata": {"name": name}}) if name else None
    return Surroundings(pod=pod, policies=policies, **more)


def put(kept: SurroundingsCache, run: tuple[str, str], parent: str, surroundings: Surroundings) -> None:
    pod = surroundings.pod
    data = orjson.dumps({"metadata": {"name": pod.name}}) if pod is not None else b""
    kept.put(run, parent, surroundings, data)


def policies_of(size: int) -> tuple[NetworkPolicy, ...]:
    return (parse_network_policy({"metadata": {"name": "p" * size}}),)


def test_what_is_kept_comes_back_until_its_end_is_told() -> None:
    kept = SurroundingsCache()
    put(kept, ("ns", "alone"), "", around("a", unread={"RuntimeClass": "x"}))
    put(kept, ("ns", "one"), "parent", around("b"))
    put(kept, ("ns", "two"), "parent", around(missing="pod gone"))
    put(kept, ("ns", ""), "parent", around("c"))
    assert kept.get(("ns", "alone")) == around("a", unread={"RuntimeClass": "x"})
    assert kept.get(("ns", "")) is None
    kept.forget(("ns", "one"))
    kept.forget(("ns", "nobody"))
    assert kept.get(("ns", "one")) == around("b")  # its parent is still to come
    kept.forget(("ns", "alone"))
    assert kept.get(("ns", "alone")) is None
    kept.forget(("ns", "parent"))
    assert (len(kept), kept.size) == (0, 0)


def test_what_is_kept_is_bounded_by_number_and_by_size_with_the_policies() -> None:
    kept = SurroundingsCache(most_pods=3)
    for number in range(10):
        put(kept, ("ns", str(number)), "parent", around(str(number)))
    assert (len(kept), kept.get(("ns", "6")), kept.get(("ns", "9"))) == (
        3,
        None,
        around("9"),
    )
    kept = SurroundingsCache(most_bytes=1000)
    shared = policies_of(200)
    for number in range(10):
        put(kept, ("ns", str(number)), "", around(str(number), policies=shared))
    assert len(kept) == 10  # the policies are one object
    for number in range(10):
        put(kept, ("ns", str(number)), "", around(str(number), policies=policies_of(200)))
    assert len(kept) == 2
    assert kept.size <= 1000
    put(kept, ("ns", "9"), "", around("9"))
    assert kept.get(("ns", "9")) == around("9")
    put(kept, ("ns", "large"), "", around("x" * len(orjson.dumps(shared)) * 3))
    assert kept.get(("ns", "large")) is None
    assert kept.get(("ns", "9")) == around("9"), "what is too large alone costs nobody a place"


def test_another_namespace_that_names_the_same_parent_loses_and_drives_out_nothing() -> None:
    kept = SurroundingsCache(most_pods=4)
    put(kept, ("ns", "child"), "parent", around("a"))
    for number in range(10):
        put(kept, ("attacker", str(number)), "parent", around("evil"))
    assert kept.get(("ns", "child")) == around("a")
    assert len(kept) == 4
    kept.forget(("attacker", "parent"))
    assert (len(kept), kept.get(("ns", "child"))) == (1, around("a"))
    kept.forget(("ns", "parent"))
    assert (len(kept), kept.size) == (0, 0)
