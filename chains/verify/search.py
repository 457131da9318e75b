"""Searches stores for evidence. Every store is asked everything; an error of one hides no other answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from chains.verify.readings import Readings
from chains.verify.reasons import Reason, Result
from chains.verify.verdict import Check, Left
from storage.base import Store
from storage.errors import StoreError, StoreRejected, StoreUnavailable
from storage.limits.allowance import Allowance, within
from storage.record import Evidence, Findings, SkipKind, Skipped

AT_ONCE = 16
"""Requests to one store at the same time."""
FEW_BYTES = 2 * 1024 * 1024
"""Bytes of evidence that one target may have while other targets are in work."""
MOST_BYTES = 64 * 1024 * 1024
"""Bytes of evidence of one target while the others wait: the largest that is signed, in both forms."""
LARGEST = 40 * 1024 * 1024
"""Bytes of one piece of evidence. A larger one would not be read when it is judged."""


@dataclass(frozen=True, slots=True)
class Query:
    """A subject to search for; ``is_optional`` if a store may not serve such subjects."""

    digest: str
    reference: str = ""
    is_optional: bool = False


@dataclass(frozen=True, slots=True)
class Search:
    """The evidence of all stores, each piece once, and an ``error`` check for each that did not answer."""

    evidence: tuple[Evidence, ...] = ()
    skipped: tuple[Left, ...] = ()
    errors: tuple[Check, ...] = ()
    held: tuple[frozenset[str], ...] = ()
    """The digests of the evidence that each store gave, in the order of the stores; two may have one URL."""
    away: frozenset[int] = frozenset()
    """The places of the stores that did not answer everything."""
    is_refused: bool = False
    """Whether a store refused a question, or answered what cannot be used: to ask again will not help."""
    readings: Readings = field(default_factory=Readings, compare=False, repr=False)
    """What the evidence says, as far as it was read."""


@asynccontextmanager
async def searched(stores: Sequence[Store], queries: Sequence[Query], uid: str = "") -> AsyncIterator[Search]:
    """Give the result of :func:`search` while it is in use, within a limit on the bytes that are held.

    One target at a time may have much evidence: the first one, and later each that has more than
    :data:`FEW_BYTES`, which is searched again when its turn has come.
    """
    if not _turn().locked():
        async with _turn():
            with within(Allowance(MOST_BYTES, LARGEST)):
                found = await search(stores, queries, uid)
            yield found
        return
    allowed = Allowance(FEW_BYTES)
    with within(allowed):
        found = await search(stores, queries, uid)
    if not allowed.is_exceeded:
        yield found
        return
    del found, allowed
    async with _turn():
        with within(Allowance(MOST_BYTES, LARGEST)):
            found = await search(stores, queries, uid)
        yield found


_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


def _turn() -> asyncio.Lock:
    return _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())


async def search(stores: Sequence[Store], queries: Sequence[Query], uid: str = "") -> Search:
    """Ask every store for every subject and, with ``uid``, for the evidence of that run. Never raises."""
    # a task for each takes longer than what one store has in memory
    if len(stores) == 1:
        answers = [await _ask(stores[0], queries, uid)]
    else:
        answers = await asyncio.gather(*(_ask(store, queries, uid) for store in stores))
    evidence = {
        (one.location, one.digest, one.format, one.signature): one
        for each in answers
        for one in each.evidence
    }
    skipped = {item: None for each in answers for item in each.skipped}
    errors = tuple(error for each in answers for error in each.errors)
    return Search(
        tuple(evidence.values()),
        tuple(skipped),
        errors,
        tuple(frozenset(one.digest for one in answer.evidence) for answer in answers),
        frozenset(place for place, answer in enumerate(answers) if answer.errors),
        any(answer.is_refused for answer in answers),
    )


async def _ask(store: Store, queries: Sequence[Query], uid: str) -> Search:
    places = asyncio.Semaphore(AT_ONCE)

    async def guarded(question: Awaitable[Findings]) -> Findings | Exception:
        async with places:
            try:
                return await question
            except Exception as error:  # noqa: BLE001 - one store, however broken, must not end a verification
                return error

    questions: list[Awaitable[Findings]] = [store.find(query.digest, query.reference) for query in queries]
    if uid:
        questions.append(store.find_run(uid))
    if len(questions) == 1:
        found = [await guarded(questions[0])]
    else:
        found = await asyncio.gather(*(guarded(question) for question in questions))
    # a store that answers for other subjects may refuse one that it never holds
    answered = any(isinstance(answer, Findings) for answer in found[: len(queries)])
    evidence: list[Evidence] = []
    skipped: list[Left] = []
    problems: list[str] = []
    is_refused = False
    for number, answer in enumerate(found):
        if isinstance(answer, Findings):
            evidence += answer.evidence
            skipped += map(_left, answer.skipped)
            continue
        is_optional = number < len(queries) and queries[number].is_optional
        if is_optional and answered and isinstance(answer, StoreRejected):
            detail = f"not asked about {queries[number].digest}: {answer}"
            skipped.append(Left(store.url, "", Reason.NOT_CHECKED, detail))
        elif isinstance(answer, StoreError):
            problems.append(str(answer))
            is_refused |= not isinstance(answer, StoreUnavailable)
        else:
            problems.append(f"unexpected {type(answer).__name__}: {answer}; please report it")
            is_refused = True
    errors = _errors(store, list(dict.fromkeys(problems)))
    return Search(tuple(evidence), tuple(skipped), errors, is_refused=is_refused)


def _left(item: Skipped) -> Left:
    reason = Reason.NOT_AN_ATTESTATION if item.kind is SkipKind.FOREIGN else Reason.UNREADABLE
    return Left(item.location, item.digest, reason, item.reason)


def _errors(store: Store, problems: list[str]) -> tuple[Check, ...]:
    if not problems:
        return ()
    more = f" (and {len(problems) - 1} more)" if problems[1:] else ""
    actual = f"{store.url}: {problems[0]}{more}"
    return (Check("store", Result.ERROR, "every store answers", actual, Reason.STORE_UNAVAILABLE),)
