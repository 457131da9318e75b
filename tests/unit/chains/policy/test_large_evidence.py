"""Policies decide about large evidence beside the event loop, with the same answer, and about small evidence in it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from chains.admission.answers import Answers
from chains.admission.policies import PolicySet
from chains.policy import answer as module
from chains.policy.answer import ASIDE, answer
from chains.policy.decide import decide
from chains.policy.document.patterns import read_image
from chains.policy.verdict import PolicyVerdict
from chains.verify.search import FEW_BYTES
from storage.base import Store
from storage.record import Evidence, Findings, Record, Stored
from tests.faults.verify.forge import DIGEST, NOW, OTHER, Shelf, form_b, provenance
from tests.unit.chains.policy.made import REF, document, opened

Json = Any
RULE = {
    "name": "few",
    "cel": "size(provenance.predicate.buildDefinition.externalParameters) < 100",
    "message": "many",
}


def evidence(size: int, digest: str = DIGEST) -> Evidence:
    """Return provenance of at least so many bytes."""
    made = provenance({"name": "app", "digest": {"sha256": digest.partition(":")[2]}})
    made["predicate"]["buildDefinition"]["externalParameters"] = {"text": "x" * size}
    return form_b(made)


class Two(Store):
    """A store with large evidence for one image, and small evidence for all others."""

    url = "two:"

    def __init__(self, size: int) -> None:
        self.large, self.small = evidence(size), evidence(1, f"sha256:{OTHER}")

    async def put(self, record: Record) -> Stored:
        raise NotImplementedError

    async def find(self, digest: str, reference: str = "") -> Findings:
        return Findings((self.large if digest == DIGEST else self.small,), ())


def threads_of(size: int, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Return the verdict about evidence of a size, and the thread that decided."""
    seen: list[str] = []

    def told(*given: Any, **more: Any) -> PolicyVerdict:
        seen.append(threading.current_thread().name)
        return decide(*given, **more)

    monkeypatch.setattr(module, "decide", told)
    found = asyncio.run(
        answer(opened(document(rules=[RULE])), read_image(REF), stores=[Shelf(evidence(size))], now=NOW)
    )
    assert found is not None
    (thread,) = seen
    return found.strictest.verdict.value, thread.rpartition("_")[0] or thread


@pytest.mark.parametrize(
    ("size", "thread"),
    [(1, "MainThread"), (ASIDE, "decide"), (FEW_BYTES, "decide-large")],
    ids=["small", "medium", "large"],
)
def test_the_verdict_is_the_same_in_whichever_thread_it_is_found(
    monkeypatch: pytest.MonkeyPatch, size: int, thread: str
) -> None:
    assert threads_of(size, monkeypatch) == ("VERIFIED", thread)


def test_a_kept_answer_and_small_evidence_do_not_wait_for_large_evidence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If the event loop decided itself, nothing could let the decision go on."""
    begun, release = threading.Event(), threading.Event()

    def slow(opened: Any, image: Any, search: Any, **more: Any) -> PolicyVerdict:
        if image.digest == DIGEST:
            begun.set()
            assert release.wait(60), "the event loop stands still"
        return decide(opened, image, search, **more)

    monkeypatch.setattr(module, "decide", slow)
    policies = PolicySet.of(opened(document()))
    large, small = read_image(REF), read_image(REF.replace(DIGEST, f"sha256:{OTHER}"))

    async def run() -> None:
        answers = Answers([Two(FEW_BYTES)], now=lambda: NOW)
        ask: Callable[[Any], Any] = lambda image: answers.ask(policies, policies.policies, image)  # noqa: E731
        waiting = asyncio.create_task(ask(large))
        await asyncio.to_thread(begun.wait, 60)
        for _ in range(3):
            assert (await ask(small)).verdict == "VERIFIED"
        assert answers.hits == 2
        assert not waiting.done()
        release.set()
        assert (await waiting).verdict == "VERIFIED"

    asyncio.run(run())


def test_medium_evidence_does_not_wait_for_large_evidence_either(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def slow(opened: Any, image: Any, search: Any, **more: Any) -> PolicyVerdict:
        if len(search.evidence[0].data) > FEW_BYTES:
            assert release.wait(60), "medium evidence waits for large evidence"
        return decide(opened, image, search, **more)

    monkeypatch.setattr(module, "decide", slow)
    policies = opened(document())

    async def run() -> None:
        def ask(size: int) -> Any:
            return answer(policies, read_image(REF), stores=[Shelf(evidence(size))], now=NOW)

        large = asyncio.create_task(ask(FEW_BYTES))
        medium = await ask(ASIDE)
        release.set()
        assert (medium.verdicts[0].verdict, (await large).verdicts[0].verdict) == ("VERIFIED", "VERIFIED")

    asyncio.run(run())
