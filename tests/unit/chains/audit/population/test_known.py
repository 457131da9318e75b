"""Runs of several sources, merged by UID: what contradicts, what a gap hides, and which record is kept."""

from __future__ import annotations

import asyncio
import re
import tracemalloc
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from chains.audit.compare import Period, open_gaps
from chains.audit.ledger import state as ledger
from chains.audit.ledger.entries import Run, moment
from chains.audit.population.counters import Counters, fetch_counters, parse_counters
from chains.audit.population.known import Gap, Population, Source
from chains.audit.population.ledger import add_ledger
from chains.audit.population.sighting import Sighting, sighting_of
from chains.audit.population.tekton_results import PAGE, read_results_api
from chains.cluster.access import Access
from chains.cluster.client import Cluster
from chains.errors import InputError
from tests.audit_truth import task_run, uid_of, with_metadata, without
from tests.owners import owned

Json = Any
LATER = datetime(2026, 1, 3, tzinfo=UTC)


def a_source(population: Population, name: str, **more: Json) -> Source:
    return population.source(Source(name, "export", "", "", **more))


def seen(**more: Json) -> Sighting:
    return Sighting(**{"kind": "TaskRun", "namespace": "ns", "name": "r", "uid": "u", **more})


def test_a_run_of_two_sources_takes_little_memory_whatever_its_size() -> None:
    count = 2_000
    with Population() as population:
        sources = [a_source(population, name) for name in ("export", "log")]
        tracemalloc.start()
        try:
            for source in sources:
                for number in range(count):
                    raw = orjson.loads(orjson.dumps(task_run(number)))
                    raw["spec"]["params"][0]["value"] = "x" * 10_000
                    found = sighting_of(raw)
                    assert found is not None
                    population.add(source, found)
            taken = tracemalloc.get_traced_memory()[0] / count
        finally:
            tracemalloc.stop()
        assert len(population) == count
        assert taken < 1_200


def test_two_sources_that_differ_are_a_finding_with_both_sides() -> None:
    with Population() as population:
        one, two = a_source(population, "one"), a_source(population, "two")
        population.add(one, seen(finished="2026-01-01T00:00:00Z", outcome="True"))
        population.add(two, seen(finished="2026-01-01T00:00:30Z", outcome="False", namespace="other"))
        found = {
            (one.what, one.first, one.said, one.second, one.contradicted) for one in population.differences
        }
        assert found == {
            ("outcome", "one", "True", "two", "False"),
            ("namespace", "one", "ns", "two", "other"),
        }
        (run,) = population
        assert (run.namespace, run.outcome, population.names_of(run)) == ("ns", "True", ("one", "two"))
        # a run of another name with its UID is not audited, so the answer is not whole
        assert (len(one.problems), len(two.problems)) == (0, 1)


def test_one_source_may_see_a_run_change() -> None:
    with Population() as population:
        source = a_source(population, "one")
        population.add(source, seen(created="2026-01-01T00:00:00Z"))
        population.add(source, seen(finished="2026-01-01T00:10:00Z", outcome="True"))
        population.add(source, seen(deleted="2026-01-01T00:20:00Z", deleted_by="jane"))
        (run,) = population
        assert (run.created, run.finished, run.deleted_by) == (
            "2026-01-01T00:00:00Z",
            "2026-01-01T00:10:00Z",
            "jane",
        )
        assert (population.differences, source.runs) == ([], 1)


def test_the_record_of_the_ended_run_is_kept() -> None:
    with Population() as population:
        source = a_source(population, "one")
        for raw in (without(task_run(1), "status"), task_run(1), without(task_run(1), "status")):
            found = sighting_of(raw)
            assert found is not None
            population.add(source, found)
        run = population.get(uid_of(1))
        assert run is not None
        assert run.is_whole
        assert population.whole(run) == task_run(1)


def test_a_sighting_says_what_the_run_says_about_itself() -> None:
    raw = with_metadata(
        task_run(1),
        ownerReferences=owned("parent"),
        annotations={
            "chains.tekton.dev/signed": "failed",
            "chains.tekton.dev/outcome": f'{{"uid":"{uid_of(1)}","reason":"no key"}}',
        },
    )
    found = sighting_of(raw)
    assert found is not None
    assert (found.parent, found.mark, found.mark_reason) == ("parent", "failed", "no key")
    copied = sighting_of(with_metadata(raw, uid="another"))
    assert copied is not None
    assert (copied.mark, copied.mark_reason) == ("failed", "")


@pytest.mark.parametrize(
    "raw", [None, [], {"kind": "Pod"}, {"kind": "TaskRun", "metadata": {"name": ""}}, {"kind": "TaskRun"}]
)
def test_what_is_no_run_gives_no_sighting(raw: Json) -> None:
    assert sighting_of(raw) is None


@pytest.mark.parametrize(
    "annotation", ["{", "[]", '{"reason": 5}', "\ud800", '{"reason": ' + "[" * 500 + "]" * 500 + "}"]
)
def test_a_mark_of_any_form_is_read(annotation: str) -> None:
    marks = {"chains.tekton.dev/signed": "true", "chains.tekton.dev/outcome": annotation}
    found = sighting_of(with_metadata(task_run(1), annotations=marks))
    assert found is not None
    assert found.mark == "true"


def test_a_gap_is_closed_only_by_a_source_that_watched_for_all_of_it() -> None:
    gap = Gap("2026-01-01T10:00:00Z", "2026-01-01T11:00:00Z", "down")
    day = {"since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"}
    whole = Source("log", "audit-log", "", "", shows_deleted=True, closes_gaps=True, **day)
    assert whole.covers_all(gap)
    holed = Source(
        "log",
        "audit-log",
        "",
        "",
        shows_deleted=True,
        gaps=[Gap("2026-01-01T10:30:00Z", "2026-01-01T10:31:00Z", "")],
        **day,
    )
    assert not holed.covers_all(gap)
    short = Source(
        "log", "audit-log", "", "", shows_deleted=True, since="2026-01-01T10:30:00Z", until=day["until"]
    )
    assert not short.covers_all(gap)
    assert not Source("export", "export", "", "", **day).covers_all(gap)


def ledger_run(uid: str, state: ledger.RunState, **more: Json) -> ledger.LedgerRun:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return ledger.LedgerRun(Run("TaskRun", "ns", uid, uid), "log", state, at, created=at, **more)


def test_a_ledger_gives_its_runs_its_gaps_and_what_is_wrong_with_it() -> None:
    at, later = datetime(2026, 1, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 2, tzinfo=UTC)
    runs = [
        ledger_run("open", ledger.RunState.OPEN),
        ledger_run(
            "done", ledger.RunState.EVIDENCED, finished=later, completed=at, succeeded=False, decided=later
        ),
        ledger_run("gone", ledger.RunState.REMOVED, decided=later, reason="deleted unfinished"),
    ]
    state = ledger.LedgerState(
        {one.uid: one for one in runs}, (ledger.Gap("log", at, later, "down"),), (),
        (ledger.Finding("day_missing", "log", None, "a day is missing"),), since=at, until=later,
    )  # fmt: skip
    with Population() as population:
        source = add_ledger(state, "folder", population, LATER)
        found = {
            run.name: (run.finished, run.outcome, run.deleted, run.vanished, run.mark) for run in population
        }
    one, two = "2026-01-01T01:00:00.000000Z", "2026-01-01T02:00:00.000000Z"
    assert found == {
        "open": ("", "", "", "", ""),
        "done": (one, "False", "", "", ""),
        "gone": ("", "", two, "deleted unfinished", ""),
    }
    assert source.gaps == [Gap(one, two, "down")]
    assert source.problems == ["log: a day is missing"]
    assert (source.since, source.until, source.runs, source.finished) == (one, two, 3, 1)


@pytest.mark.parametrize("is_signed", [True, False])
def test_only_the_signed_days_of_a_sound_ledger_say_what_became_of_a_run(is_signed: bool) -> None:
    at = datetime(2026, 1, 1, 1, tzinfo=UTC)
    run = ledger_run("skipped", ledger.RunState.SKIPPED, decided=at, reason="left out: old")
    until = datetime(2026, 1, 1, 2 if is_signed else 0, tzinfo=UTC)
    state = ledger.LedgerState({run.uid: run}, (), (), (), since=at, until=until)
    with Population() as population:
        add_ledger(state, "folder", population, LATER)
        (known,) = population
    assert known.is_finished
    expected = ("skipped", "left out: old") if is_signed else ("", "")
    assert (known.recorded, known.recorded_reason) == expected


def test_what_a_ledger_read_from_a_mark_is_not_believed() -> None:
    """Whoever may annotate a run can mark it as skipped before the controller looks at it."""
    at, until = datetime(2026, 1, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 2, tzinfo=UTC)
    run = ledger_run("skipped", ledger.RunState.SKIPPED, decided=at, reason="I say so", is_from_mark=True)
    state = ledger.LedgerState({run.uid: run}, (), (), (), since=at, until=until)
    with Population() as population:
        add_ledger(state, "folder", population, LATER)
        (known,) = population
    assert known.is_finished
    assert (known.recorded, known.recorded_reason) == ("", "")


ONE, TWO, THREE = (datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in (1, 2, 3))


@pytest.mark.parametrize(
    ("spans", "silent"),
    [
        ({"a": (ONE, LATER - timedelta(minutes=20))}, {}),
        ({"a": (ONE, LATER - timedelta(minutes=21))}, {LATER - timedelta(minutes=21): LATER}),
        ({"a/share-0-of-2": (ONE, LATER), "a/share-1-of-2": (ONE, TWO)}, {TWO: LATER}),
        ({"a/share-0-of-1": (ONE, TWO), "a/share-0-of-2": (TWO, LATER), "a/share-1-of-2": (TWO, LATER)}, {}),
        ({"a/share-0-of-1": (ONE, TWO), "a/share-0-of-2": (TWO, LATER), "a/share-1-of-2": (THREE, LATER)},
         {TWO: THREE}),
        ({"a/share-0-of-1": (ONE, TWO), "a/share-0-of-2": (TWO, LATER)}, {TWO: LATER}),
    ],
    ids=["alive", "dead", "one-dead", "more-shares", "late-shares", "share-without-log"],
)  # fmt: skip
def test_a_log_that_nobody_writes_has_a_gap_up_to_now(
    spans: dict[str, tuple[datetime, datetime]], silent: dict[datetime, datetime]
) -> None:
    state = ledger.LedgerState({}, (), (), (), since=ONE, until=TWO, spans=spans)
    with Population() as population:
        source = add_ledger(state, "folder", population, LATER)
    assert {one.since: one.until for one in source.gaps} == {
        moment(since): moment(until) for since, until in silent.items()
    }


def test_a_gap_up_to_now_is_closed_by_who_watched_for_its_part_of_the_period() -> None:
    dead = Source(
        "ledger", "ledger", "", "", gaps=[Gap("2026-01-01T02:00:00Z", "2026-01-03T00:00:00Z", "dead")]
    )
    log = Source(
        "log", "audit-log", "", "", shows_deleted=True, closes_gaps=True,
        since="2026-01-01T00:00:00Z", until="2026-01-02T00:00:00Z",
    )  # fmt: skip
    for hours, is_open in ((1, False), (20, False), (30, True)):
        period = Period(None, ONE.replace(hour=0) + timedelta(hours=hours))
        assert bool(list(open_gaps([dead, log], period))) is is_open
        assert bool(list(open_gaps([dead], period))) is (hours > 1)
    assert list(open_gaps([dead, log], Period()))


def test_the_end_that_a_source_saw_first_stays_and_another_one_is_a_difference() -> None:
    with Population() as population:
        source = a_source(population, "log")
        population.add(source, seen(finished="2026-01-01T00:10:00Z", outcome="False"))
        for _ in range(2):
            population.add(source, seen(finished="2027-01-01T00:10:00Z", outcome="True"))
        (run,) = population
        assert (run.finished, run.outcome) == ("2026-01-01T00:10:00Z", "False")
        assert [
            (one.what, one.first, one.said, one.second, one.contradicted) for one in population.differences
        ] == [
            ("finished", "log", "2026-01-01T00:10:00Z", "log", "2027-01-01T00:10:00Z"),
            ("outcome", "log", "False", "log", "True"),
        ]


def test_counters_are_compared_and_decide_nothing() -> None:
    page = """
# TYPE tekton_pipelines_controller_taskrun_total counter
tekton_pipelines_controller_taskrun_total{status="success"} 1.2e+01
tekton_pipelines_controller_taskrun_total{status="failed"} 3
tekton_pipelines_controller_pipelinerun_total{status="success"} 4 1395066363000
tekton_pipelines_controller_running_taskruns 7
"""
    found = parse_counters(page, "metrics.txt")
    assert found.finished == {"TaskRun": 15, "PipelineRun": 4}
    (told,) = found.compare({"TaskRun": 14, "PipelineRun": 4})
    assert "counted 15 finished TaskRuns since its start, the sources know 14" in told
    with pytest.raises(InputError, match="port 9090"):
        parse_counters("up 1", "other.txt")


@pytest.mark.parametrize(
    ("status", "text", "told"),
    [
        (200, "tekton_pipelines_controller_taskrun_total 5", ""),
        (404, "", "got status 404"),
        (200, "up 1", "port 9090"),
    ],
    ids=["counters", "not-there", "another-page"],
)
def test_counters_are_read_from_a_metrics_page(status: int, text: str, told: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text=text)

    async def work() -> Counters:
        app = web.Application()
        app.router.add_get("/metrics", answer)
        async with TestServer(app) as server:
            return await fetch_counters(str(server.make_url("/metrics")))

    if told:
        with pytest.raises(InputError, match=told):
            asyncio.run(work())
    else:
        assert asyncio.run(work()).finished == {"TaskRun": 5}


def test_a_metrics_page_that_does_not_answer_is_told() -> None:
    with pytest.raises(InputError, match="cannot be read"):
        asyncio.run(fetch_counters("http://127.0.0.1:1/metrics"))


class Records:
    """The list of records of Tekton Results' API: pages with a token, for who has the right token."""

    def __init__(self, runs: list[Json], *, stuck: bool = False, ends: int = 10**6) -> None:
        self.runs, self.stuck, self.ends = runs, stuck, ends
        self.asked: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.raw_path)
        if request.headers.get("Authorization") != "Bearer token":
            return web.json_response({"message": "who are you?"}, status=401)
        query = parse_qs(request.query_string)
        start, size = int(query.get("page_token", ["0"])[0]), int(query["page_size"][0])
        if start >= self.ends:
            return web.json_response({"message": "the database is away"}, status=500)
        part = self.runs[start : start + size]
        records = [
            {
                "name": "n",
                "data": {"type": "tekton.dev/v1.TaskRun", "value": b64encode(orjson.dumps(run)).decode()},
            }
            for run in part
        ]
        following = start + size if start + size < len(self.runs) else 0
        token = "0" if self.stuck else str(following or "")
        return web.json_response({"records": records, "nextPageToken": token})


def ask_api(records: Records, namespaces: list[str], token: str = "token") -> tuple[set[str], Source]:
    async def work() -> tuple[set[str], Source]:
        app = web.Application()
        app.router.add_get(
            "/apis/results.tekton.dev/v1alpha2/parents/{parent}/results/-/records", records.answer
        )
        async with TestServer(app) as server:
            url = str(server.make_url("")).rstrip("/")
            with Population() as population:
                async with Cluster(Access(url, token=token)) as api:
                    source = await read_results_api(api, namespaces, population)
                return {run.uid for run in population}, source

    return asyncio.run(work())


def test_the_api_of_tekton_results_is_read_page_by_page() -> None:
    records = Records([task_run(number) for number in range(2 * PAGE + 5)])
    found, source = ask_api(records, [])
    assert found == {uid_of(number) for number in range(2 * PAGE + 5)}
    assert (source.problems, source.finished) == ([], 2 * PAGE + 5)
    assert len(records.asked) == 3
    assert all("/parents/-/results/-/records?filter=data_type%3D%3D" in path for path in records.asked)


def test_the_api_is_asked_for_each_namespace() -> None:
    records = Records([task_run(1)])
    ask_api(records, ["a", "b/c"])
    assert [path.split("/parents/")[1].split("/results")[0] for path in records.asked] == ["a", "b%2Fc"]


@pytest.mark.parametrize(
    ("records", "token", "told"),
    [
        (Records([task_run(n) for n in range(150)], ends=PAGE), "token", "cannot be read whole: .*the database is away"),
        (Records([task_run(1)], stuck=True), "token", "gives the same page again"),
        (Records([]), "wrong", "cannot be read whole: .*who are you"),
    ],
    ids=["breaks-off", "stuck", "refused"],
)  # fmt: skip
def test_an_api_that_does_not_give_everything_is_told(records: Records, token: str, told: str) -> None:
    _, source = ask_api(records, [], token)
    assert len(source.problems) == 1
    assert re.search(told, source.problems[0])
