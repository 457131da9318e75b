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

from chains import family as families
from chains import paging
from chains.access import Access
from chains.bodies import Begun, Bodies
from chains.cluster import Cluster, ClusterUnavailable, ObjectLarge, expect_small
from chains.config import parse_config
from chains.controller import Controller
from chains.family import Family, TooLarge
from chains.large_runs import LargeRuns
from chains.metrics import Metrics
from chains.paging import PAGE, PAGE_BYTES, PAGE_VALUES, Pages
from chains.payload import build_payloads, warnings
from chains.snapshot import take_snapshot
from chains.worklist import Job, WorkList
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
    bodies, small, large = Bodies(), Job("TaskRun", "ns", "s", "1"), Job("TaskRun", "ns", "l", "2")
    bodies.keep(small, {"metadata": {}, "spec": {}})
    bodies.keep(large, {"metadata": {}, "spec": {"params": [[]] * 10_000}})
    assert bodies.take(small) == {"metadata": {}, "spec": {}}
    assert bodies.take(large) is None


@pytest.mark.parametrize(("count", "large"), [(1, False), (10_000, True)])
def test_a_run_that_is_tried_again_is_known_to_be_large(count: int, *, large: bool) -> None:
    begun, job = Begun(), Job("PipelineRun", "ns", "p", "1")
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
    family = Family(api)  # type: ignore[arg-type]
    with pytest.raises(ObjectLarge):
        asyncio.run(family.children(api.parent, small=True))
    assert len(asyncio.run(family.children(api.parent)).records) == 3
    monkeypatch.setattr(families, "MOST_BYTES", 1024 * 1024)
    with pytest.raises(TooLarge, match="its TaskRuns have more than 1 MiB or 1000000 values together"):
        asyncio.run(family.children(api.parent))


def test_large_runs_are_in_work_up_to_a_weight_and_of_a_namespace_up_to_a_half() -> None:
    runs = LargeRuns()
    jobs = [
        Job("TaskRun", space, f"r{number}", f"{space}{number}") for space in "abc" for number in range(20)
    ]
    for job in jobs:
        assert not runs.knows(job)
        runs.note(job, 200 * 1024)
        assert runs.knows(job)
    begun = [job for job in jobs if runs.begin(job)]
    assert [sum(job.namespace == space for job in begun) for space in "abc"] == [10, 10, 0]
    runs.end(begun[0])
    assert [runs.begin(job) for job in (jobs[-1], jobs[-2])] == [True, False]


def test_the_heaviest_run_goes_alone_in_its_namespace() -> None:
    runs = LargeRuns()
    heavy, beside, other = (
        Job("TaskRun", space, name, name) for space, name in (("a", "h"), ("a", "b"), ("z", "o"))
    )
    runs.note(heavy, 100 * 1024 * 1024)
    runs.note(beside, 1)
    runs.note(other, 100 * 1024 * 1024)
    assert [runs.begin(job) for job in (heavy, beside, other)] == [True, False, True]
    runs.end(heavy)
    assert runs.begin(beside)
    assert not runs.begin(heavy)
    runs.forget(heavy)
    assert not runs.knows(heavy)


def test_a_large_run_that_waits_is_not_read_and_holds_no_worker() -> None:
    async def scenario() -> None:
        work, looked, most, now = WorkList(), list[tuple[str, bool]](), 0, 0

        class OfLarge(Controller):
            async def _handle(self, job: Job, *, small: bool) -> bool:
                nonlocal most, now
                looked.append((job.name, small))
                if small:
                    raise ObjectLarge("large")
                now += 1
                most = max(most, now)
                await asyncio.sleep(0)
                now -= 1
                return True

        cluster: Any = Children([], 0)
        controller = OfLarge(cluster, work, lambda: None, Metrics())  # type: ignore[arg-type,return-value]
        jobs = [
            Job("TaskRun", space, f"{space}{number}", f"{space}{number}")
            for space in "abc"
            for number in (1, 2)
        ]
        first = await asyncio.gather(*(controller.handle(job) for job in jobs))
        assert first.count(True) == most == 2
        assert [await controller.handle(job) for job in jobs] == [True] * len(jobs)
        assert sorted(name for name, small in looked if small) == sorted(job.name for job in jobs), (
            "read once"
        )

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
