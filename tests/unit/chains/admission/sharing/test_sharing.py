"""Processes share answers: one finds each, whoever asks, and one that ends or hangs holds nobody up."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from chains.admission.answers import NEGATIVE_SECONDS, Answers
from chains.admission.policies import PolicySet
from chains.admission.ruling import Ruling
from chains.admission.sharing import shared as module
from chains.admission.sharing.keeper import Keeper
from chains.admission.sharing.shared import SharedAnswers
from chains.policy.verdict import Decision
from storage.base import Store
from tests.faults.verify.forge import NOW, form_b
from tests.unit.chains.admission.test_answers import READ, Clock, Counting, document
from tests.unit.chains.policy.made import opened, tekton

RULING = Ruling(
    Decision.WARN, "FAILED", ("p", "q"), "trust", "key_unknown", "a \ud800 key", "none\n", "ask \u2028"
)
KEY = ("digest", "registry.example.com/app", "sha256:00", ("p",), "")


@dataclass
class Process:
    """One of several processes: what it shares, and its end of the sockets."""

    shared: SharedAnswers
    socket: socket.socket

    async def end(self) -> None:
        """End as a killed process does: its sockets are closed, and nothing is said."""
        assert self.shared._writer is not None
        self.shared._writer.transport.abort()


class Together:
    def __init__(self, keeper: Keeper, processes: list[Process], serving: list[asyncio.Task[None]]) -> None:
        self.keeper, self.processes, self.serving = keeper, processes, serving


@asynccontextmanager
async def together(count: int, clock: Clock, most: int = 100) -> AsyncIterator[Together]:
    """Run the first process' side and those of others, over sockets as they have them."""
    keeper, processes, serving = Keeper(most, most, clock), [], []
    for number in range(count):
        ours, theirs = socket.socketpair()
        serving.append(asyncio.create_task(keeper.serve(number, ours)))
        shared = SharedAnswers(theirs)
        await shared.open()
        processes.append(Process(shared, theirs))
    try:
        yield Together(keeper, processes, serving)
    finally:
        for one in processes:
            await one.shared.close()
        await asyncio.gather(*serving)


async def until(condition: object) -> None:
    """Let the event loop work until a condition is true."""
    assert callable(condition)
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - the other side has no event for the test
            await asyncio.sleep(0)


def test_what_one_process_finds_another_one_gets_as_it_was_until_it_ends() -> None:
    async def run() -> None:
        clock = Clock()
        async with together(3, clock) as found:
            one, two, three = (process.shared for process in found.processes)
            assert await one.ask(KEY, is_pulled=False) is None
            one.put(KEY, 10.0, RULING, is_pulled=False)
            await until(lambda: len(found.keeper._kept) == 1)
            clock.seconds = 9.9
            assert await two.ask(KEY, is_pulled=False) == (10.0, RULING)
            # an answer by credentials of a pod is another one
            assert await two.ask((*KEY[:-1], "identity"), is_pulled=True) is None
            clock.seconds = 10
            assert await three.ask(KEY, is_pulled=False) is None
            assert (one.found, two.found, three.found) == (0, 1, 0)

    asyncio.run(run())


def test_others_wait_for_the_process_that_looks_and_get_also_what_is_not_kept() -> None:
    async def run() -> None:
        async with together(3, Clock()) as found:
            one, *others = (process.shared for process in found.processes)
            assert await one.ask(KEY, is_pulled=False) is None
            waiting = [asyncio.create_task(other.ask(KEY, is_pulled=False)) for other in others]
            await until(lambda: len(found.keeper._claims) == 1 and len(*_waiting(found)) == 2)
            one.put(KEY, -1.0, RULING, is_pulled=False)
            assert await asyncio.gather(*waiting) == [(-1.0, RULING)] * 2
            assert len(found.keeper._kept) == 0
            assert await others[0].ask(KEY, is_pulled=False) is None

    asyncio.run(run())


def _waiting(found: Together) -> list[list[tuple[int, int]]]:
    return [claim.waiting for claim in found.keeper._claims.values()]


@pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "failed"])
def test_a_process_that_ends_or_fails_leaves_the_question_to_the_next_one(is_killed: bool) -> None:
    async def run() -> None:
        async with together(3, Clock()) as found:
            one, two, three = found.processes
            assert await one.shared.ask(KEY, is_pulled=False) is None
            waiting = []
            for at, process in enumerate((two, three), 1):
                waiting.append(asyncio.create_task(process.shared.ask(KEY, is_pulled=False)))
                await until(lambda at=at: [len(each) for each in _waiting(found)] == [at])
            if is_killed:
                await one.end()
            else:
                one.shared.release(KEY)
            assert await waiting[0] is None, "it has to look itself"
            assert not waiting[1].done()
            two.shared.put(KEY, 5.0, RULING, is_pulled=False)
            assert await waiting[1] == (5.0, RULING)

    asyncio.run(run())


def test_a_process_that_waited_and_was_killed_is_passed_over() -> None:
    async def run() -> None:
        async with together(3, Clock()) as found:
            one, two, three = found.processes
            assert await one.shared.ask(KEY, is_pulled=False) is None
            for at, process in enumerate((two, three), 1):
                last = asyncio.create_task(process.shared.ask(KEY, is_pulled=False))
                await until(lambda at=at: [len(each) for each in _waiting(found)] == [at])
            await two.end()
            await until(lambda: [len(each) for each in _waiting(found)] == [1])
            await one.end()
            assert await last is None

    asyncio.run(run())


def test_one_that_hangs_is_not_waited_for_longer_than_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.01)

    async def run() -> None:
        async with together(2, Clock()) as found:
            one, two = (process.shared for process in found.processes)
            assert await one.ask(KEY, is_pulled=False) is None
            assert await two.ask(KEY, is_pulled=False) is None
            two.put(KEY, 5.0, RULING, is_pulled=False)
            await until(lambda: len(found.keeper._kept) == 1)
            assert await one.ask(KEY, is_pulled=False) == (5.0, RULING)

    asyncio.run(run())


def test_without_the_first_process_each_goes_on_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SOON", 0.01)

    async def run() -> None:
        ours, theirs = socket.socketpair()
        silent = SharedAnswers(theirs)
        await silent.open()
        assert await silent.ask(KEY, is_pulled=False) is None
        monkeypatch.setattr(module, "SOON", 600)
        asking = asyncio.create_task(silent.ask(KEY, is_pulled=False))
        await asyncio.sleep(0)
        ours.close()
        assert await asking is None
        assert await silent.ask(KEY, is_pulled=False) is None
        silent.put(KEY, 5.0, RULING, is_pulled=False)
        silent.release(KEY)
        await silent.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "line", [b"{}\n", b"no json\n", b'["ask",1]\n', b'["put","k",false,"x",[]]\n', b"[" * 99 + b"\n"]
)
def test_a_process_that_says_what_is_not_known_is_heard_no_more_and_the_others_are(
    line: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with together(2, Clock()) as found:
            one, two = (process.shared for process in found.processes)
            assert one._writer is not None
            one._writer.write(line)
            await until(lambda: one._writer is None)
            assert await one.ask(KEY, is_pulled=False) is None
            two.put(KEY, 5.0, RULING, is_pulled=False)
            assert await two.ask(KEY, is_pulled=False) == (5.0, RULING)
        assert "cannot share its answers" in caplog.text

    asyncio.run(run())


def test_what_is_kept_for_all_is_bounded() -> None:
    async def run() -> None:
        async with together(1, Clock(), most=10) as found:
            (one,) = (process.shared for process in found.processes)
            for number in range(50):
                for is_pulled in (False, True):
                    one.put((number, is_pulled), 5.0, RULING, is_pulled=is_pulled)
            assert await one.ask((49, True), is_pulled=True) == (5.0, RULING)
            assert (len(found.keeper._kept), len(found.keeper._pulled)) == (10, 10)

    asyncio.run(run())


def test_four_processes_that_are_asked_about_an_image_at_once_look_once() -> None:
    store, clock = Counting(form_b(tekton())), Clock()
    policies = PolicySet.of(opened(document(cacheSeconds=100)))
    stores: list[Store] = [store]

    async def run() -> None:
        async with together(4, clock) as found:
            asked = [
                Answers(stores, shared=process.shared, clock=clock, now=clock.now)
                for process in found.processes
            ]
            rulings = await asyncio.gather(
                *(answers.ask(policies, policies.policies, READ) for answers in asked for _ in range(5))
            )
            assert {one.decision for one in rulings} == {Decision.ALLOW}
            assert store.asked == 1
            assert sum(one.found_by_others for one in asked) == 3
            # each keeps it from then on
            await asyncio.gather(*(one.ask(policies, policies.policies, READ) for one in asked))
            assert sum(one.hits for one in asked) == 4
            clock.seconds = 100
            await asked[3].ask(policies, policies.policies, READ)
            assert store.asked == 2
            # and after a change of a policy, nobody gets what was found before
            changed = PolicySet.of(opened(document(cacheSeconds=100, mode="warn")))
            await asked[0].ask(changed, changed.policies, READ)
            assert store.asked == 3

    asyncio.run(run())


def test_an_answer_that_fails_is_shared_for_as_long_as_it_is_kept() -> None:
    store, clock = Counting(), Clock()
    policies = PolicySet.of(opened(document()))
    stores: list[Store] = [store]

    async def run() -> None:
        async with together(2, clock) as found:
            one, two = (
                Answers(stores, shared=process.shared, clock=clock, now=lambda: NOW)
                for process in found.processes
            )
            first = await one.ask(policies, policies.policies, READ)
            await until(lambda: len(found.keeper._kept) == 1)
            clock.seconds = NEGATIVE_SECONDS - 0.1
            assert await two.ask(policies, policies.policies, READ) == first
            assert (first.verdict, store.asked) == ("NOT_FOUND", 1)
            # it is no older for having been asked for late
            clock.seconds = NEGATIVE_SECONDS
            await two.ask(policies, policies.policies, READ)
            assert store.asked == 2
            other = replace(READ, digest="sha256:" + "1" * 64)
            await one.ask(policies, policies.policies, other)
            assert store.asked == 3

    asyncio.run(run())
