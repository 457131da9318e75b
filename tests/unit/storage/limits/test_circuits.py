"""One host that says nothing holds up nobody for long, and a host that answers is not taken for such a one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from storage.limits.askers import Places, asker
from storage.limits.circuits import FIRST_PAUSE, LONGEST_PAUSE, MOST_TRIES, SILENCE, Asked, Circuits

HOST = "https://registry.example.com"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Case:
    """Circuits under a clock of their own, with what was told of them."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.circuits = Circuits(self.clock)
        self.opened, self.answers, self.ended = list[str](), list[str](), list[str]()
        self.circuits.on_open = self.opened.append
        self.circuits.on_answer = self.answers.append

    def ask(self, name: str = "", *, by: str = "ns", host: str = HOST) -> Asked | None:
        token = asker.set(by)
        try:
            return self.circuits.ask(host, lambda: self.ended.append(name))
        finally:
            asker.reset(token)

    def asked(self, name: str = "", *, by: str = "ns") -> Asked:
        found = self.ask(name, by=by)
        assert found is not None
        return found

    def make_silent(self) -> None:
        """Let the host be silent until the last that waited for it is gone."""
        asked = self.asked()
        self.wait(SILENCE)
        self.circuits.failed(HOST, asked)
        assert self.circuits.is_open(HOST)

    def wait(self, seconds: float) -> None:
        self.clock.now += seconds
        self.circuits.look(HOST)


def circuit(test: Callable[[Case], None]) -> Callable[[], None]:
    async def inside() -> None:
        test(Case())

    def run() -> None:
        asyncio.run(inside())

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run


@circuit
def test_what_waits_for_a_silent_host_ends_but_the_oldest_and_others_are_refused(case: Case) -> None:
    case.asked("oldest")
    case.clock.now += 1
    case.asked("second")
    case.wait(SILENCE - 1.1)
    assert case.opened == []
    case.wait(0.1)
    assert case.opened == [HOST]
    assert case.ended == [], "nobody but the oldest waited as long"
    case.wait(1)
    assert case.ended == ["second"]
    assert case.ask() is None
    assert case.circuits.open == 1
    assert case.ask(host="https://another.example.com") is not None


@circuit
def test_a_host_that_answers_anybody_is_not_silent(case: Case) -> None:
    case.asked("slow")
    for _ in range(10):
        quick = case.asked("quick", by="other")
        case.wait(SILENCE - 0.1)
        case.circuits.answered(HOST, quick)
    assert case.opened == []
    assert case.ended == []
    case.wait(SILENCE)
    assert case.opened == [HOST]


@circuit
def test_nothing_is_silent_that_nobody_asks(case: Case) -> None:
    case.circuits.answered(HOST, case.asked())
    case.wait(3600)
    asked = case.asked()
    case.wait(SILENCE - 0.1)
    assert case.opened == []
    case.circuits.gave_up(HOST, asked)
    case.wait(3600)
    assert case.opened == []


@circuit
def test_the_answer_that_the_oldest_waited_for_closes_the_circuit(case: Case) -> None:
    oldest = case.asked()
    case.wait(SILENCE)
    assert case.ask() is None
    case.circuits.answered(HOST, oldest)
    assert case.answers == [HOST]
    assert case.ask() is not None
    assert case.circuits.open == 0


@circuit
def test_an_open_circuit_is_tried_after_a_pause_that_doubles(case: Case) -> None:
    case.make_silent()
    pauses = []
    for _ in range(8):
        assert case.ask() is None
        pauses.append(case.circuits.wait(HOST))
        case.clock.now += pauses[-1]
        tries = case.asked()
        assert case.ask() is None, "it is tried by one request of an asker at a time"
        case.circuits.failed(HOST, tries)
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60]
    assert (pauses[0], pauses[-1]) == (FIRST_PAUSE, LONGEST_PAUSE)
    case.clock.now += LONGEST_PAUSE
    case.circuits.answered(HOST, case.asked())
    assert case.answers == [HOST]
    case.make_silent()
    assert case.circuits.wait(HOST) == FIRST_PAUSE


@circuit
def test_a_silent_host_that_nobody_asks_any_more_does_not_count(case: Case) -> None:
    case.make_silent()
    case.clock.now += FIRST_PAUSE + LONGEST_PAUSE - 0.1
    assert case.circuits.open == 1
    case.clock.now += 0.1
    assert case.circuits.open == 0
    assert case.circuits.is_open(HOST)


@circuit
def test_what_one_asks_in_vain_keeps_no_other_from_trying(case: Case) -> None:
    """Somebody may ask a good host for something that it never answers."""
    case.make_silent()
    case.clock.now += FIRST_PAUSE
    vain = case.asked(by="attacker")
    assert case.ask(by="attacker") is None
    case.circuits.answered(HOST, case.asked(by="victim"))
    assert case.ask(by="victim") is not None
    case.circuits.failed(HOST, vain)
    assert case.ask(by="victim") is not None


@circuit
def test_few_try_a_host_at_a_time_and_they_double_its_pause_once(case: Case) -> None:
    case.make_silent()
    case.clock.now += FIRST_PAUSE
    trying = [case.asked(by=f"ns-{number}") for number in range(MOST_TRIES)]
    assert case.ask(by="one more") is None
    for each in trying:
        case.circuits.failed(HOST, each)
    assert case.circuits.wait(HOST) == 2 * FIRST_PAUSE


@circuit
def test_who_waits_is_told_of_the_first_answer_after_a_failure_of_any_kind(case: Case) -> None:
    case.circuits.answered(HOST, case.asked())
    assert case.answers == []
    case.circuits.failed(HOST, case.asked())
    assert case.ask() is not None, "a refused connection takes nobody's time"
    for _ in range(3):
        case.circuits.answered(HOST, case.asked())
    assert case.answers == [HOST]


@circuit
def test_the_table_of_hosts_is_bounded_and_forgets_none_that_is_asked(case: Case) -> None:
    first = case.asked()
    for number in range(10_000):
        host = f"https://{number}.example.com"
        asked = case.ask(host=host)
        assert asked is not None
        case.circuits.failed(host, asked)
    assert len(case.circuits._hosts) <= 4097
    case.wait(SILENCE)
    assert case.circuits.is_open(HOST)
    case.circuits.answered(HOST, first)
    assert not case.circuits.is_open(HOST)


def test_silence_is_noticed_while_nobody_new_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.limits.circuits.SILENCE", 0.01)
    monkeypatch.setattr("storage.limits.circuits._LOOK_SECONDS", 0.001)

    async def story() -> None:
        circuits, ended = Circuits(), asyncio.Event()
        assert circuits.ask(HOST, lambda: None) is not None
        assert circuits.ask(HOST, ended.set) is not None
        await asyncio.wait_for(ended.wait(), 5)
        assert circuits.is_open(HOST)

    asyncio.run(story())


def test_each_asker_has_places_of_his_own() -> None:
    async def story() -> None:
        places, taken, leave = Places(2), list[str](), asyncio.Event()

        async def hold(by: str) -> None:
            asker.set(by)
            async with places.place():
                taken.append(by)
                await leave.wait()

        tasks = [asyncio.create_task(hold(by)) for by in ("loud", "loud", "loud", "quiet", "", "", "")]
        for _ in range(3):
            await asyncio.sleep(0)
        assert sorted(taken) == ["", "", "", "loud", "loud", "quiet"]
        tasks[2].cancel()
        late = asyncio.create_task(hold("loud"))
        await asyncio.sleep(0)
        leave.set()
        await asyncio.wait([*tasks, late])
        assert taken.count("loud") == 3
        assert not places._used

    asyncio.run(story())
