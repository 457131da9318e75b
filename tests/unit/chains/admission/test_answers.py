"""Answers are kept for a bounded time, in bounded memory, and one image is verified once at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chains.admission import answers as module
from chains.admission.answers import NEGATIVE_SECONDS, UNDECIDED_SECONDS, Answers
from chains.admission.policies import PolicySet
from chains.admission.ruling import Ruling
from chains.policy.document.patterns import read_image
from chains.policy.verdict import Decision
from storage.base import Store
from storage.formats.reference import Image
from storage.record import Evidence, Findings, Record, Stored
from tests.faults.verify.forge import IMAGE, NOW, Broken, Shelf, form_b
from tests.unit.chains.admission.made import REF, document
from tests.unit.chains.policy.made import opened, tekton

Json = Any
READ = read_image(REF)


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)


class Counting(Store):
    """A store that counts questions, and answers each after ``wait``."""

    url = "counting:"

    def __init__(self, *held: Evidence, wait: Callable[[], Awaitable[object]] | None = None) -> None:
        self.asked = 0
        self._held, self._wait = held, wait

    async def put(self, record: Record) -> Stored:
        raise NotImplementedError

    async def find(self, digest: str, reference: str = "") -> Findings:
        self.asked += 1
        if self._wait is not None:
            await self._wait()
        return Findings(self._held, ())


def asking(
    store: Store,
    times: Sequence[float],
    *policies: Json,
    image: Image = READ,
) -> list[Ruling]:
    """Ask about one image at several times of one clock."""
    clock = Clock()
    chosen = PolicySet.of(opened(*(policies or [document()])))

    async def run() -> list[Ruling]:
        answers = Answers([store], clock=clock, now=clock.now)
        found = []
        for seconds in times:
            clock.seconds = seconds
            found.append(await answers.ask(chosen, chosen.policies, image))
        return found

    return asyncio.run(run())


def test_a_verified_image_is_asked_again_after_cache_seconds() -> None:
    store = Counting(form_b(tekton()))
    asking(store, [0, 99.9])
    assert store.asked == 1
    store = Counting(form_b(tekton()))
    found = asking(store, [0, 99.9, 100, 150], document(cacheSeconds=100))
    assert store.asked == 2
    assert [one.decision for one in found] == [Decision.ALLOW] * 4
    store = Counting(form_b(tekton()))
    asking(store, [0, 0], document(cacheSeconds=0))
    assert store.asked == 2


def test_the_shortest_cache_seconds_of_all_policies_count() -> None:
    store = Counting(form_b(tekton()))
    asking(store, [0, 11], document(cacheSeconds=100), document("short", cacheSeconds=10))
    assert store.asked == 2


def test_an_image_that_fails_is_asked_again_after_seconds_and_one_undecided_sooner() -> None:
    store = Counting()
    asking(store, [0, NEGATIVE_SECONDS - 0.1, NEGATIVE_SECONDS])
    assert store.asked == 2
    away = Counting(wait=_fail)
    found = asking(away, [0, UNDECIDED_SECONDS - 0.1, UNDECIDED_SECONDS])
    assert away.asked == 2
    assert [one.verdict for one in found] == ["INDETERMINATE"] * 3
    # audit allows it, and still it is asked again soon
    store = Counting()
    asking(store, [0, NEGATIVE_SECONDS], document(mode="audit"))
    assert store.asked == 2


async def _fail() -> None:
    raise OSError("no route to host")


def test_no_answer_outlives_the_exemption_that_it_depends_on() -> None:
    ends = NOW + timedelta(seconds=30)
    exemption = {
        "image": IMAGE,
        "rules": ["level"],
        "until": ends.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "reason": "r",
        "reference": "R",
    }
    strict = document(require={"level": 3}, exemptions=[exemption])
    found = asking(Counting(form_b(tekton())), [0, 29, 30, 31], strict)
    assert [one.decision for one in found] == [Decision.ALLOW, Decision.ALLOW, Decision.DENY, Decision.DENY]


def test_another_repository_policy_or_key_is_another_question() -> None:
    store = Shelf(form_b(tekton()))
    one = PolicySet.of(opened(document()))
    changed = PolicySet.of(opened(document(mode="warn")))
    elsewhere = replace(READ, repository=replace(READ.repository, name="team/other"))

    async def run() -> None:
        answers = Answers([store], clock=Clock(), now=lambda: NOW)
        wide = PolicySet.of(opened(document(images=["registry.example.com/**"])))
        await answers.ask(one, one.policies, READ)
        await answers.ask(one, one.policies, READ)
        assert len(store.asked) == 1
        await answers.ask(changed, changed.policies, READ)
        assert len(store.asked) == 2
        await answers.ask(wide, wide.policies, READ)
        await answers.ask(wide, wide.policies, elsewhere)
        assert len(store.asked) == 4
        assert (answers.hits, answers.misses) == (1, 4)

    asyncio.run(run())


def test_a_request_that_ends_at_its_deadline_neither_ends_the_work_nor_the_others() -> None:
    async def run() -> None:
        release = asyncio.Event()
        store = Counting(form_b(tekton()), wait=release.wait)
        chosen = PolicySet.of(opened(document()))
        answers = Answers([store], clock=Clock(), now=lambda: NOW)

        async def within(seconds: float) -> Ruling | None:
            try:
                async with asyncio.timeout(seconds):
                    return await answers.ask(chosen, chosen.policies, READ)
            except TimeoutError:
                return None

        patient = asyncio.create_task(within(600))
        assert await within(0) is None
        assert await within(0.01) is None
        cancelled = asyncio.create_task(within(600))
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        release.set()
        found = await patient
        assert found is not None
        assert found.decision is Decision.ALLOW
        assert await within(0) == found, "the answer is kept"
        assert store.asked == 1

    asyncio.run(run())


def test_a_hundred_thousand_images_take_the_memory_of_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_KEPT", 100)

    async def run() -> None:
        store = Counting()
        chosen = PolicySet.of(opened(document()))
        answers = Answers([store], clock=Clock(), now=lambda: NOW)
        for number in range(1000):
            await answers.ask(chosen, chosen.policies, replace(READ, digest=f"sha256:{number:064x}"))
        assert store.asked == 1000
        assert answers.kept == 100
        assert answers.waiting == 0

    asyncio.run(run())


def test_images_beyond_those_that_can_wait_are_undecided_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 3)

    async def run() -> None:
        release = asyncio.Event()
        store = Counting(form_b(tekton()), wait=release.wait)
        chosen = PolicySet.of(opened(document()))
        answers = Answers([store], clock=Clock(), now=lambda: NOW)
        images = [replace(READ, digest=f"sha256:{number:064x}") for number in range(3)]
        waiting = [asyncio.create_task(answers.ask(chosen, chosen.policies, image)) for image in images]
        await asyncio.sleep(0)
        assert answers.waiting == 3
        found = await answers.ask(chosen, chosen.policies, READ)
        assert (found.decision, found.verdict) == (Decision.DENY, "INDETERMINATE")
        assert found.actual.endswith("3 other images are being verified")
        release.set()
        await asyncio.gather(*waiting)
        assert (await answers.ask(chosen, chosen.policies, READ)).decision is Decision.ALLOW

    asyncio.run(run())


def test_evidence_is_not_waited_for_longer_than_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST", 0.01)

    async def run() -> None:
        store = Counting(wait=asyncio.Event().wait)
        chosen = PolicySet.of(opened(document()))
        answers = Answers([store], clock=Clock(), now=lambda: NOW)
        found = await answers.ask(chosen, chosen.policies, READ)
        assert found.actual.endswith("the stores did not answer within 0.01 s")
        assert (answers.waiting, found.decision) == (0, Decision.DENY)

    asyncio.run(run())


def test_a_fault_of_ours_is_undecided_and_written_to_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a secret of ours")

    monkeypatch.setattr(module, "answer", broken)
    (found,) = asking(Broken(), [0])
    assert (found.decision, found.verdict) == (Decision.DENY, "INDETERMINATE")
    assert found.actual.endswith("unexpected RuntimeError; please report it")
    assert "an image cannot be verified" in caplog.text
