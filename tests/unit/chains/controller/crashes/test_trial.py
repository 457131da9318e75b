"""What ends the process in which a run is tried is counted against that run, and nothing else is."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import orjson
import pytest

from chains.controller.crashes import trial as module
from chains.controller.crashes.journal import Journal, Suspect
from chains.controller.crashes.trial import Trial, TrialOptions
from chains.controller.metrics import Metrics
from chains.controller.work.worklist import WorkList
from chains.tekton.runs import Job

JOBS = [Job("TaskRun", "ci", f"run-{number}", str(number)) for number in range(3)]
FINAL = {"again": None, "broke": "", "counted": [["signed", None]]}


class Program:
    """Stands for the process: a script that says what it is told to, run by the shell."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._path = folder / "program"
        self.is_started = folder / "started"
        monkeypatch.setattr(module.sys, "executable", str(self._path))

    def says(self, text: str) -> None:
        self._path.write_text(f"#!/bin/sh\necho x >> {self.is_started}\n{text}\n")
        self._path.chmod(0o755)

    @property
    def starts(self) -> int:
        return len(self.is_started.read_text().split()) if self.is_started.exists() else 0


READY = "read options; echo '{\"alive\":true}'; echo '{\"ready\":true}'\n"


def answer(**fields: Any) -> str:
    return f"read job; echo '{orjson.dumps({**FINAL, **fields}).decode()}'\n"


class Tried:
    """A trial with suspects, until each is out of it."""

    def __init__(self, folder: Path, *suspects: Job, may: bool = True) -> None:
        self.journal, self.work, self.metrics = Journal(folder / "state", 4), WorkList(), Metrics()
        for job in suspects:
            self.journal.suspects[job.uid] = Suspect(job.name, times=1)
        options = TrialOptions("", "", "ns", "keys", "tekton", 1.0)
        self.may = may
        self.trial = Trial(
            self.journal, options, self.work, self.metrics, lambda _: (lambda: True) if self.may else None
        )
        for job in suspects:
            self.trial.line_up(job)
            self.trial.line_up(job)

    @property
    def waiting(self) -> float:
        line = next(
            one
            for one in self.metrics.text().decode().splitlines()
            if one.startswith("chains_runs_suspected ")
        )
        return float(line.split()[1])

    def run(self, *, until: int = 0) -> None:
        async def work() -> None:
            task = asyncio.create_task(self.trial.run())
            while self.waiting > until and not task.done():  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        bounded(work())

    def again(self) -> list[Job]:
        """Return which jobs are in the work list."""
        return [job for job in JOBS if self.work.drop(job.__eq__)]


def module_suspect(job: Job) -> Any:
    from chains.controller.crashes.journal import Suspect

    return Suspect(job.name, times=1)


def bounded(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 60))


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Program:
    return Program(monkeypatch, tmp_path)


def test_what_the_process_tells_is_noted_before_it_is_answered(program: Program, tmp_path: Path) -> None:
    fact = '{"at":"2026-01-01T00:00:00.000000Z","kind":"seen"}'
    program.says(
        READY
        + f'read job; echo \'{{"fact":{fact},"wait":false}}\'; echo \'{{"fact":{fact},"wait":true}}\'\n'
        + f"read told; echo \"$told\" > {tmp_path / 'told'}; echo '{orjson.dumps(FINAL).decode()}'\nread x"
    )
    noted: list[tuple[Job, bytes, bool]] = []

    async def note(job: Job, line: bytes, wait: bool) -> str:
        noted.append((job, line, wait))
        return "the disk is full" if wait else "not told"

    tried = Tried(tmp_path, JOBS[0])
    tried.trial._note = note
    tried.run()
    assert noted == [(JOBS[0], fact.encode(), False), (JOBS[0], fact.encode(), True)]
    assert (tmp_path / "told").read_text() == '["the disk is full"]\n'


def test_suspects_are_tried_one_after_the_other_by_one_process_and_counted(
    program: Program, tmp_path: Path
) -> None:
    program.says(
        READY + answer() + answer(again=5.0, counted=[]) + answer(counted=[["failed", 7.0]]) + "read x"
    )
    tried = Tried(tmp_path, *JOBS)
    tried.run()
    assert program.starts == 1
    assert [job.uid in tried.journal.suspects for job in JOBS] == [False, True, False]
    assert not tried.journal.is_apart(JOBS[1])
    assert [tried.trial.has_marked(job) for job in JOBS] == [True, False, True]
    assert not tried.trial.has_marked(JOBS[0]), "it is told once"
    text = tried.metrics.text().decode()
    for state in ("signed", "failed"):
        assert f'chains_runs_total{{kind="taskrun",namespace="ci",state="{state}"}} 1.0' in text
    assert tried.again() == JOBS, "the controller looks at each again"
    tried.journal.close()


@pytest.mark.parametrize(
    ("end", "how"),
    [
        ("kill -SEGV $$", "the process was ended by SIGSEGV"),
        ("kill -KILL $$", "the process was ended by SIGKILL"),
        ("exit 3", "the process ended with code 3"),
        ("echo nonsense; read x", "it wrote what is no answer"),
        ("exec sleep 60", "it said nothing for 0.3 s"),
    ],
)
def test_a_run_that_ends_its_process_three_times_is_put_aside(
    end: str, how: str, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "sleep" in end:
        monkeypatch.setattr(module, "SILENT", 0.3)
    program.says(f"{READY}read job\n{end}")
    tried = Tried(tmp_path, JOBS[0])
    tried.run()
    assert tried.journal.poison(JOBS[0]) == f"3 attempts: tried alone, {how}"
    assert program.starts == 3
    assert tried.again() == [JOBS[0]], "it is marked as put aside"
    tried.journal.close()


def test_after_a_crash_the_others_go_first(program: Program, tmp_path: Path) -> None:
    program.says(
        f"{READY}while read job; do case \"$job\" in *run-0*) kill -KILL $$;; *) echo '{orjson.dumps(FINAL).decode()}';; esac; done"
    )
    tried = Tried(tmp_path, *JOBS)
    tried.run()
    assert tried.journal.poison(JOBS[0]).startswith("3 attempts")
    assert list(tried.journal.suspects) == ["0"]
    assert program.starts == 3, "the others were tried between the first crash and the second"
    tried.journal.close()


def test_a_run_that_ended_the_process_before_is_not_tried_ahead_of_one_that_is_listed_later(
    program: Program, tmp_path: Path
) -> None:
    order = tmp_path / "order"
    program.says(
        f"{READY}while read job; do echo \"$job\" >> {order}; echo '{orjson.dumps(FINAL).decode()}'; done"
    )
    tried = Tried(tmp_path, JOBS[0])
    tried.journal.suspects["0"].crashes = 2
    tried.journal.suspects["1"] = Suspect("run-1", times=1)

    async def work() -> None:
        task = asyncio.create_task(tried.trial.run())
        await asyncio.sleep(0)
        tried.trial.line_up(JOBS[1])
        while tried.waiting and not task.done():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    bounded(work())
    assert [orjson.loads(line)[2] for line in order.read_text().splitlines()] == ["run-1", "run-0"]
    tried.journal.close()


def test_one_that_never_comes_is_not_waited_for_for_ever(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LAST", 0.3)
    program.says(READY + answer() + "read x")
    tried = Tried(tmp_path, JOBS[0])
    tried.journal.suspects["0"].crashes = 2
    tried.journal.suspects["1"] = Suspect("run-1", times=1)
    tried.run()
    assert tried.trial.has_marked(JOBS[0])
    tried.journal.close()


def test_code_that_breaks_counts_too(program: Program, tmp_path: Path) -> None:
    program.says(READY + answer(again=0.5, broke="unexpected ValueError: x") + "read x")
    tried = Tried(tmp_path, JOBS[0])
    tried.run()
    assert tried.journal.suspects["0"].crashes == 1
    assert tried.journal.is_apart(JOBS[0])
    tried.journal.close()


def test_a_process_that_does_not_start_is_held_against_nobody(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAUSE", 0.0)
    program.says("exit 1")

    async def work(tried: Tried) -> None:
        task = asyncio.create_task(tried.trial.run())
        while program.starts < 5:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    tried = Tried(tmp_path, JOBS[0])
    bounded(work(tried))
    assert tried.journal.suspects["0"].crashes == 0
    assert tried.waiting == 1.0
    tried.journal.close()


@pytest.mark.parametrize(
    "script",
    [
        "read options; while true; do echo '{\"alive\":true}'; sleep 0.02; done",
        "exec sleep 600",
        "sleep 600 & echo $! > sleeps; exit 1",  # the pipe stays open
    ],
)
def test_a_process_that_is_never_ready_is_ended_and_held_against_nobody(
    script: str,
    program: Program,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sleeps = tmp_path / "sleeps"
    monkeypatch.setattr(module, "STARTS_WITHIN", 0.3)
    program.says(script.replace("> sleeps", f">> {sleeps}"))
    tried = Tried(tmp_path, JOBS[0])

    async def work() -> None:
        task = asyncio.create_task(tried.trial.run())
        while not caplog.records:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    try:
        bounded(work())
    finally:
        if sleeps.exists():
            for pid in sleeps.read_text().split():
                os.kill(int(pid), signal.SIGKILL)
    assert [record.__dict__["reason"] for record in caplog.records] == ["it was not ready after 0.3 s"]
    assert tried.journal.suspects["0"].crashes == 0
    assert tried.waiting == 1.0
    tried.journal.close()


@pytest.mark.parametrize("steps", range(6))
def test_a_trial_that_is_cancelled_while_an_answer_arrives_ends(steps: int, tmp_path: Path) -> None:
    class Process:
        stdout = asyncio.StreamReader

    tried = Tried(tmp_path)
    process: Any = Process()

    async def listen() -> None:
        while True:
            await tried.trial._answer(process)

    async def work() -> None:
        process.stdout = asyncio.StreamReader()
        task = asyncio.create_task(listen())
        for _ in range(5):
            await asyncio.sleep(0)
        process.stdout.feed_data(b'{"alive":true}\n')
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        assert task.cancelled()

    bounded(work())
    tried.journal.close()


@pytest.mark.parametrize("line", ["[]", "5", '"ready"', "x" * 70_000], ids=["list", "number", "text", "long"])
def test_what_is_no_answer_is_held_against_the_process(line: str, tmp_path: Path) -> None:
    class Process:
        stdout = asyncio.StreamReader

    tried = Tried(tmp_path)
    process: Any = Process()

    async def work() -> None:
        process.stdout = asyncio.StreamReader()
        process.stdout.feed_data(line.encode() + b"\n")
        with pytest.raises(module.EndedError, match="it wrote what is no answer"):
            await tried.trial._answer(process)

    bounded(work())
    tried.journal.close()


def test_a_run_that_takes_long_has_survived(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST", 0.2)
    program.says(f"{READY}read job\nwhile true; do echo '{{\"alive\":true}}'; sleep 0.05; done")
    tried = Tried(tmp_path, JOBS[0])
    tried.run()
    assert not tried.journal.is_apart(JOBS[0])
    assert tried.journal.suspects["0"].crashes == 0
    assert tried.again() == [JOBS[0]]
    tried.journal.close()


def test_runs_of_a_share_that_is_lost_are_let_go_of_and_stay_suspects(
    program: Program, tmp_path: Path
) -> None:
    program.says("exit 1")
    tried = Tried(tmp_path, JOBS[0], may=False)
    tried.run()
    assert program.starts == 0
    assert tried.journal.is_apart(JOBS[0])
    assert tried.again() == []
    tried.journal.close()


def test_a_share_that_is_lost_meanwhile_ends_the_trial(program: Program, tmp_path: Path) -> None:
    program.says(f"{READY}read job\nwhile true; do echo '{{\"alive\":true}}'; sleep 0.05; done")
    tried = Tried(tmp_path, JOBS[0])
    tried.trial._admit = lambda _: lambda: False
    tried.run()
    assert tried.journal.is_apart(JOBS[0])
    assert tried.journal.suspects["0"].crashes == 0
    tried.journal.close()


def test_namespaces_take_turns(program: Program, tmp_path: Path) -> None:
    order = tmp_path / "order"
    program.says(
        f"{READY}while read job; do echo \"$job\" >> {order}; echo '{orjson.dumps(FINAL).decode()}'; done"
    )
    many = [Job("TaskRun", "many", f"run-{number}", f"m{number}") for number in range(3)]
    tried = Tried(tmp_path, *many, JOBS[0])
    tried.run()
    namespaces = [orjson.loads(line)[1] for line in order.read_text().splitlines()]
    assert namespaces == ["many", "ci", "many", "many"]
    tried.journal.close()
