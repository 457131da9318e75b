"""Which runs wait for an image, how often they are looked at, and that they cannot fill the memory."""

from __future__ import annotations

import pytest

from chains.controller.work.awaited_images import Waiting, looked_for
from chains.tekton.runs import Job


def job(name: str, owner: str = "pr", namespace: str = "ns", kind: str = "TaskRun") -> Job:
    return Job(kind, namespace, name, f"uid-{name}", owner)


def test_the_end_of_another_run_of_its_pipeline_run_has_a_run_looked_at_and_its_own_has_not() -> None:
    hastened: list[Job] = []
    waiting = Waiting(hastened.append)
    build, other = job("build"), job("other", owner="another")
    assert waiting.begin(build, "certain")
    assert waiting.begin(other, "certain")
    waiting.wake(by=build)
    assert hastened == []
    waiting.wake(by=job("publish"))
    assert hastened == [build]
    waiting.wake(by=Job("PipelineRun", "ns", "p", "pr"))
    assert hastened == [build, build]
    waiting.forget(build)
    waiting.wake(by=job("publish"))
    assert hastened == [build, build]


def test_a_run_of_another_namespace_that_names_the_pipeline_run_wakes_nobody() -> None:
    woken: list[Job] = []
    waiting = Waiting(woken.append)
    waiting.begin(Job("TaskRun", "ns", "build", "b", "pr"), "certain")
    waiting.wake(by=Job("TaskRun", "attacker", "publish", "x", "pr"))
    assert woken == []
    waiting.wake(by=Job("TaskRun", "ns", "publish", "y", "pr"))
    assert [one.name for one in woken] == ["build"]


def test_a_registry_that_refuses_is_asked_less_often_and_only_the_pipeline_runs_end_hastens_that() -> None:
    hastened: list[Job] = []
    waiting = Waiting(hastened.append)
    certain, possible = job("certain"), job("possible")
    waiting.begin(certain, "certain")
    waiting.begin(possible, "possible")
    assert [waiting.pause(certain) for _ in range(4)] == [2, 3, 4.5, 6.75]
    assert [waiting.pause(possible) for _ in range(6)] == [30, 60, 120, 240, 480, 600]
    assert max(waiting.pause(certain) for _ in range(50)) == 60
    waiting.wake(by=job("publish"))
    assert hastened == [certain]
    waiting.wake(by=Job("PipelineRun", "ns", "p", "pr"))
    assert set(hastened) == {certain, possible}
    assert waiting.pause(certain) == 2, "what may have changed is looked at again soon"


def test_whoever_has_too_many_runs_wait_loses_his_last_ones_and_nobody_elses() -> None:
    hastened: list[Job] = []
    waiting = Waiting(hastened.append, most=10)
    for number in range(9):
        assert waiting.begin(job(f"flood-{number}", owner="", namespace="tenant"), "certain")
    assert waiting.begin(job("mine", namespace="team"), "certain")
    assert not waiting.begin(job("flood-9", owner="", namespace="tenant"), "certain")
    assert waiting.is_crowded_out(job("flood-9", owner="", namespace="tenant"))
    assert waiting.begin(job("mine-too", namespace="team"), "certain")
    assert waiting.is_crowded_out(job("flood-8", owner="", namespace="tenant"))
    assert job("flood-8", owner="", namespace="tenant") in hastened
    assert len(waiting) == 10
    for number in range(10):
        waiting.forget(job(f"flood-{number}", owner="", namespace="tenant"))
    assert len(waiting) == 2
    assert not waiting.is_crowded_out(job("flood-8", owner="", namespace="tenant"))


def test_runs_of_a_share_that_is_lost_are_let_go_of() -> None:
    waiting = Waiting(lambda _: None, most=1)
    waiting.begin(job("a"), "certain")
    waiting.begin(job("b"), "certain")
    waiting.forget_all(lambda each: each.owner == "pr")
    assert len(waiting) == 0
    assert not waiting.is_crowded_out(job("b"))
    assert waiting._families == {}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3, "0 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (3661, "1 h 1 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_how_long_was_looked_is_told_in_words(seconds: float, words: str) -> None:
    assert looked_for(seconds) == f"; it was looked for until {words} after the run's end"
