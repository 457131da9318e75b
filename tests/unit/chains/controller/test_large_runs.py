"""Large objects: lists are read in smaller pages, few runs are in work, and families are bounded."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from aiohttp import web

from chains.attest.payloads import build_payloads, warnings
from chains.cluster import paging
from chains.cluster.access import Access
from chains.cluster.client import Cluster, expect_small
from chains.cluster.errors import ClusterUnavailable, ObjectLarge
from chains.cluster.paging import MOST_IN_WORK, PAGE, PAGE_BYTES, PAGE_VALUES, Pages
from chains.config.parse import parse_config
from chains.controller.memory import child_runs as families
from chains.controller.memory.child_runs import ChildRuns, TooLarge
from chains.controller.memory.run_cache import RunCache, StartedRuns
from chains.controller.metrics import Metrics
from chains.controller.reconcile import Controller
from chains.controller.work.large_runs import WAIT, LargeRuns
from chains.controller.work.worklist import WorkList
from chains.tekton.runs import Job
from chains.tekton.snapshot import take_snapshot
from tests.interop.attested import run_of

Json = Any


class Api:
    """An API server with objects of one kind, in pages."""

    def __init__(self, objects: list[Json]) -> None:
        self.objects, self.limits = objects, list[int]()

    async def answer(self, request: web.Request) -> web.Response:
        limit, start = int(request.query["limit"]), int(request.query.get("continue") or 0)
        self.limits.append(limit)
        items = self.objects[start : start + limit]
        more = str(start + limit) if start + limit < len(self.objects) else ""
        return web.Response(body=orjson.dumps({"items": items, "metadata": {"continue": more}}))


async def listed(api: Api) -> list[str]:
    app = web.Application()
    app.router.add_get("/runs", api.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with Cluster(Access(f"http://127.0.0.1:{runner.addresses[0][1]}")) as cluster:
            return [one["metadata"]["name"] async for one in cluster.list("/runs")]
    finally:
        await runner.cleanup()


def objects(count: int, size: int) -> list[Json]:
    return [{"metadata": {"name": f"r{number}"}, "text": "x" * size} for number in range(count)]


def test_ordinary_objects_come_in_pages_of_five_hundred() -> None:
    api = Api(objects(600, 10))
    assert asyncio.run(listed(api)) == [f"r{number}" for number in range(600)]
    assert api.limits == [500, 500]


def test_large_objects_come_in_smaller_pages_and_all_of_them_come() -> None:
    api = Api(objects(20, PAGE_BYTES // 8))
    assert asyncio.run(listed(api)) == [f"r{number}" for number in range(20)]
    assert api.limits[:3] == [500, 62, 7]
    assert max(api.limits[2:]) == 7


def test_an_object_larger_than_is_read_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "LARGEST_ANSWER", 1000)
    monkeypatch.setattr(paging, "PAGE_BYTES", 1000)
    with pytest.raises(ClusterUnavailable, match="the answer has more than 1000 bytes"):
        asyncio.run(listed(Api(objects(3, 2000))))


def test_a_page_of_many_values_is_asked_for_in_parts_but_one_object_is_taken() -> None:
    pages = Pages()
    assert not pages.takes(b"[" * PAGE_VALUES)
    assert pages.objects == PAGE // 8
    while pages.objects > 1:
        assert not pages.takes(b"[" * PAGE_VALUES)
    assert pages.takes(b"[" * PAGE_VALUES)


def test_pages_grow_again_when_objects_are_small() -> None:
    pages = Pages()
    assert not pages.takes(None)
    assert pages.takes(b"{}")
    assert pages.objects == 124
    for _ in range(5):
        assert pages.takes(b"{}")
    assert pages.objects == PAGE


@pytest.mark.parametrize("data", [b"x" * (128 * 1024 + 1), b"[" * 10_000])
def test_few_objects_of_much_text_or_many_values_are_held(data: bytes) -> None:
    with pytest.raises(ObjectLarge):
        expect_small(data)
    expect_small(data[:-2])


def test_what_the_watch_brought_is_kept_of_small_runs_alone() -> None:
    run_cache, small, large = RunCache(), Job("TaskRun", "ns", "s", "1"), Job("TaskRun", "ns", "l", "2")
    run_cache.keep(small, {"metadata": {}, "spec": {}})
    run_cache.keep(large, {"metadata": {}, "spec": {"params": [[]] * 10_000}})
    assert run_cache.take(small) == {"metadata": {}, "spec": {}}
    assert run_cache.take(large) is None


@pytest.mark.parametrize(("count", "large"), [(1, False), (10_000, True)])
def test_a_run_that_is_tried_again_is_known_to_be_large(count: int, *, large: bool) -> None:
    begun, job = StartedRuns(), Job("PipelineRun", "ns", "p", "1")
    assert begun.large_weight(job) == 0
    begun.keep(job, {"metadata": {}}, {("TaskRun", "ns", "c"): {"spec": [[]] * count}}, {}, {}, 1)
    begun.keep(job, {"metadata": {}}, {}, {}, {}, 1)
    assert (begun.large_weight(job) > 128 * 1024) is large


class Children:
    """An API server with the children of one PipelineRun, who looks at their text as the client does."""

    def __init__(self, names: list[str], size: int) -> None:
        self.size = size
        self.parent = {
            "metadata": {"name": "p", "namespace": "ns", "uid": "p-1"},
            "status": {
                "childReferences": [
                    {"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "name": name} for name in names
                ]
            },
        }

    async def get(self, path: str, *, check: Callable[[bytes], None], **_: Any) -> Json:
        found = {"metadata": {"name": path.rpartition("/")[2], "uid": path}, "text": "x" * self.size}
        check(orjson.dumps(found))
        return found


def test_children_that_take_more_than_is_held_of_any_run_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    api = Children(["a", "b", "c"], 600_000)
    child_runs = ChildRuns(api)  # type: ignore[arg-type]
    with pytest.raises(ObjectLarge) as found:
        asyncio.run(child_runs.children(api.parent))
    weight = found.value.weight
    assert 3 * 600_000 < weight < 5 * 600_000, "as if the child that is not read yet were like the others"
    assert len(asyncio.run(child_runs.children(api.parent, weight)).records) == 3
    assert len(asyncio.run(child_runs.children(api.parent, MOST_IN_WORK)).records) == 3
    with pytest.raises(ObjectLarge):
        asyncio.run(child_runs.children(api.parent, 1_500_000))
    monkeypatch.setattr(families, "MOST_BYTES", 1024 * 1024)
    with pytest.raises(TooLarge, match="its TaskRuns have more than 1 MiB or 1000000 values together"):
        asyncio.run(child_runs.children(api.parent, MOST_IN_WORK))


MIB = 1024 * 1024
HALF, ALL = 2 * MIB, 100 * MIB


class Line:
    """Large runs, who was told that it is their turn, and a clock."""

    def __init__(self) -> None:
        self.now, self.told = 0.0, list[str]()
        self.runs = LargeRuns(lambda job: self.told.append(job.name), lambda: self.now)

    def job(self, name: str, weight: int) -> Job:
        """A large run; the first letter of its name is its namespace."""
        job = Job("TaskRun", name[0], name, name)
        self.runs.note(job, weight)
        return job

    def begin(self, *jobs: Job) -> list[str]:
        return [job.name for job in jobs if self.runs.begin(job)]


def test_large_runs_are_in_work_up_to_a_weight_and_of_a_namespace_up_to_a_half() -> None:
    line = Line()
    jobs = [line.job(f"{space}{number}", 200 * 1024) for space in "abc" for number in range(20)]
    begun = line.begin(*jobs)
    assert [sum(name[0] == space for name in begun) for space in "abc"] == [10, 10, 0]
    line.runs.end(jobs[0])
    assert line.told[-1] == "c0", "it is the turn of the namespace that had none"
    assert line.begin(jobs[10], jobs[-1], jobs[40]) == ["c0"]


def test_a_run_that_is_heavier_than_a_half_goes_alone() -> None:
    line = Line()
    heavy, light = line.job("a", ALL), line.job("b", 1)
    assert line.begin(light, heavy) == ["b"]
    line.runs.end(light)
    assert line.begin(heavy, light) == ["a"]
    line.runs.end(heavy)
    assert line.begin(light) == ["b"]
    line.runs.forget(heavy)
    assert line.runs.weight(heavy) == 0


def test_a_heavy_run_comes_to_its_turn_beside_a_steady_flow_of_light_ones() -> None:
    line = Line()
    lights = [line.job(f"{space}{number}", MIB) for number in range(6) for space in "bc"]
    heavy = line.job("a", ALL)
    assert line.begin(*lights[:4]) == ["b0", "c0", "b1", "c1"]
    assert line.begin(heavy, *lights[4:]) == [], "what came later does not overtake it"
    for light in lights[:4]:
        assert line.told.count("a") == 0
        line.runs.end(light)
    assert line.told == ["a"]
    assert line.begin(*lights[4:], heavy) == ["a"]
    line.runs.end(heavy)
    assert line.told[-1] == "b2"
    assert line.begin(*lights[4:]) == ["b2", "c2", "b3", "c3"]


def test_of_one_namespace_the_run_that_has_waited_longest_goes_first() -> None:
    line = Line()
    first, heavy, light = line.job("a1", HALF), line.job("a2", HALF), line.job("a3", 1)
    assert line.begin(first, heavy, light) == ["a1"]
    line.runs.end(first)
    assert line.told == ["a2"]
    assert line.begin(light, heavy) == ["a2"]
    assert line.begin(light) == []
    line.runs.end(heavy)
    assert line.begin(light) == ["a3"]


def test_a_third_namespace_has_its_turn_when_two_hold_everything() -> None:
    line = Line()
    runs = {name: line.job(name, HALF) for name in ("a1", "b1", "a2", "b2", "c1", "c2")}
    order = line.begin(*runs.values())
    assert order == ["a1", "b1"]
    for _ in range(4):
        ended = order[-2]
        line.runs.end(runs[ended])
        line.runs.forget(runs[ended])
        order += line.begin(*(job for name, job in runs.items() if name not in order))
    assert order == ["a1", "b1", "c1", "a2", "b2", "c2"]


def test_a_namespace_whose_runs_wait_for_its_own_keeps_no_other_waiting() -> None:
    line = Line()
    jobs = [line.job(name, HALF) for name in ("a1", "a2", "b1")]
    assert line.begin(*jobs) == ["a1", "b1"]


def test_a_run_that_does_not_come_when_it_is_its_turn_keeps_nobody_waiting_for_long() -> None:
    line = Line()
    first, lost, last = line.job("a", ALL), line.job("b", ALL), line.job("c", ALL)
    assert line.begin(first, lost, last) == ["a"]
    line.runs.end(first)
    assert line.begin(last) == []
    line.now = 4 * WAIT
    assert line.begin(last) == []
    line.now += 1
    assert line.begin(last) == ["c"]


@pytest.mark.parametrize("all_of_them", [False, True])
def test_a_run_that_is_forgotten_keeps_nobody_waiting(*, all_of_them: bool) -> None:
    line = Line()
    first, gone, last = line.job("a", ALL), line.job("b", ALL), line.job("c", ALL)
    assert line.begin(first, gone, last) == ["a"]
    line.runs.end(first)
    if all_of_them:
        line.runs.forget_all(lambda job: job == gone)
    else:
        line.runs.forget(gone)
    assert line.told == ["b", "c"]
    assert line.begin(last) == ["c"]


def test_a_run_that_turns_out_to_be_heavier_counts_for_more_each_time() -> None:
    line = Line()
    job = line.job("a", MIB)
    line.runs.note(job, 1)
    assert line.runs.weight(job) == 2 * MIB
    line.runs.note(job, 3 * MIB)
    assert line.runs.weight(job) == MOST_IN_WORK
    line.runs.note(job, 100 * MIB)
    assert line.runs.weight(job) == MOST_IN_WORK


def test_a_large_run_that_waits_is_not_read_and_is_looked_at_when_it_is_its_turn() -> None:
    async def scenario() -> None:
        work, looked, most, now = WorkList(), list[tuple[str, int]](), 0, 0

        class OfLarge(Controller):
            async def _handle(self, job: Job, weight: int = 0) -> bool:
                nonlocal most, now
                looked.append((job.name, weight))
                if not weight:
                    raise ObjectLarge("large", ALL)
                now += 1
                most = max(most, now)
                await asyncio.sleep(0)
                now -= 1
                return True

        cluster: Any = Children([], 0)
        controller = OfLarge(cluster, work, lambda: None, Metrics())  # type: ignore[arg-type,return-value]
        jobs = [
            Job("TaskRun", space, f"{space}{number}", f"{space}{number}")
            for number in (1, 2)
            for space in "abc"
        ]
        for job in jobs:
            work.offer(job)
        done: list[str] = []

        async def worker() -> None:
            while len(done) < len(jobs):
                job = await work.take()
                if await controller.handle(job):
                    done.append(job.name)
                work.done(job)

        workers = [asyncio.create_task(worker()) for _ in range(3)]
        await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED)
        for each in workers:
            each.cancel()
        assert done == [job.name for job in jobs]
        assert most == 1
        assert sorted(name for name, weight in looked if not weight) == sorted(done), "asked for once"
        assert [name for name, weight in looked if weight] == done

    asyncio.run(scenario())


def test_nothing_is_kept_of_a_run_whose_payloads_were_built() -> None:
    run = run_of("registry.example.com/app", "sha256:" + "ab" * 32, "build")
    snapshot = take_snapshot(run)
    assert len(build_payloads(snapshot, parse_config({}))) > 1, (
        "provenance and report, which looks at what is left out"
    )
    warnings(snapshot)
    gone = weakref.ref(snapshot)
    del snapshot
    gc.collect()
    assert gone() is None
