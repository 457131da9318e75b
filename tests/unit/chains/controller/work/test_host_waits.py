"""Runs that wait for a host: few ask it, and all are woken when it answers."""

from __future__ import annotations

import asyncio
from typing import Any

from chains.controller.work.host_waits import HostWaits
from chains.tekton.runs import Job
from storage.limits.circuits import FIRST_PAUSE, LONGEST_PAUSE, MOST_TRIES, SILENCE, Circuits

HOST, OTHER = "https://registry.example.com", "https://other.example.com"


def of(namespace: str, number: int) -> Job:
    return Job("TaskRun", namespace, str(number), f"{namespace}-{number}")


class Case:
    def __init__(self) -> None:
        self.now = 1000.0
        self.circuits = Circuits(lambda: self.now)
        self.woken: list[Job] = []
        self.waits = HostWaits(self.circuits, self.woken.append)

    def fail(self, host: str = HOST, seconds: float = 0.0) -> None:
        asked = self.circuits.ask(host, lambda: None)
        assert asked is not None
        self.now += seconds
        self.circuits.look(host)
        self.circuits.failed(host, asked)

    def answer(self, host: str = HOST) -> None:
        asked = self.circuits.ask(host, lambda: None)
        assert asked is not None
        self.circuits.answered(host, asked)


def inside(story: Any) -> None:
    async def run() -> None:
        story(Case())

    asyncio.run(run())


def test_one_of_a_namespace_tries_a_silent_host_and_the_others_wait_to_be_woken() -> None:
    def story(case: Case) -> None:
        case.fail(seconds=SILENCE)
        assert case.waits.is_silent([HOST])
        pauses = [case.waits.wait(of("a", number), [HOST], 600.0) for number in range(3)]
        assert pauses == [FIRST_PAUSE, 600, 600]
        assert case.waits.wait(of("b", 0), [HOST], 1.0) == FIRST_PAUSE
        assert case.waits.wait(of("b", 1), [HOST], 1.0) == LONGEST_PAUSE, "it would be refused"
        case.now += FIRST_PAUSE
        case.waits.leave(of("a", 0))
        case.answer()
        assert case.woken == [of("a", 1), of("a", 2), of("b", 0), of("b", 1)]
        case.answer()
        assert len(case.woken) == 4
        assert (case.waits._waiting, case.waits._hosts, case.waits._scouts) == ({}, {}, {})

    inside(story)


def test_whoever_tried_in_vain_tries_again_and_no_more_than_a_few_at_a_time() -> None:
    def story(case: Case) -> None:
        case.fail(seconds=SILENCE)
        pauses = [case.waits.wait(of(f"ns-{number}", 0), [HOST], 600.0) for number in range(MOST_TRIES + 1)]
        assert pauses == [FIRST_PAUSE] * MOST_TRIES + [600]
        case.waits.leave(of("ns-0", 0))
        assert case.waits.wait(of(f"ns-{MOST_TRIES}", 0), [HOST], 600.0) == FIRST_PAUSE
        assert case.waits.wait(of("ns-0", 0), [HOST], 600.0) == 600

    inside(story)


def test_a_host_that_refuses_connections_is_tried_once_a_minute_however_long_it_does() -> None:
    def story(case: Case) -> None:
        case.fail()
        assert not case.waits.is_silent([HOST])
        assert case.waits.wait(of("a", 0), [HOST], 1.0) == 1
        assert case.waits.wait(of("a", 0), [HOST], 600.0) == LONGEST_PAUSE
        assert case.waits.wait(of("a", 1), [HOST], 600.0) == 600
        case.answer()
        assert case.woken == [of("a", 0), of("a", 1)]

    inside(story)


def test_a_run_that_waits_for_two_hosts_is_woken_by_either_and_once() -> None:
    def story(case: Case) -> None:
        case.fail(HOST)
        case.fail(OTHER)
        case.waits.wait(of("a", 0), [HOST, OTHER], 1.0)
        case.answer(OTHER)
        case.answer(HOST)
        assert case.woken == [of("a", 0)]

    inside(story)


def test_runs_of_a_lost_share_are_not_woken() -> None:
    def story(case: Case) -> None:
        case.fail()
        for number in range(2):
            case.waits.wait(of("a", number), [HOST], 1.0)
        case.waits.forget_all(lambda job: job.name == "0")
        case.answer()
        assert case.woken == [of("a", 1)]

    inside(story)
