"""Verifies one artifact now: its evidence is read from the stores of the index, and judged anew.

Whoever sees some namespaces gets the answer for the evidence of these alone, as the index knows it. Without
any in the index no store is asked, so the answer is the same, and as fast, for what is not there and for what
they may not see.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from aiohttp import web
from cachetools import LRUCache

from chains.index.codes import Verdict
from chains.index.query.answer import answered
from chains.index.query.detail.evidence import details_of
from chains.index.query.scope import View
from chains.index.query.terms import Digest, Key, Query, Term
from chains.revocation.revocations import Revocations
from chains.text import excerpt, rfc3339
from chains.verify import search as searching
from chains.verify.criteria import Criteria
from chains.verify.examining.case import Case
from chains.verify.search import Search, searched
from chains.verify.subject import DigestWanted
from chains.verify.verdict import Target, Verification
from chains.verify.verifier import Verifier
from chains.web.api import shapes
from chains.web.api.handlers import digest_in
from chains.web.keys import SOURCE
from chains.web.shares import Shares, TooBusy
from chains.web.source import Source
from chains.web.viewer import VIEWER, Viewer
from storage.base import Store, StoreOptions
from storage.limits.single_flight import InFlight
from storage.open import STORES, open_store
from storage.redacted_url import shown

AT_ONCE, MOST_WAITING, OF_VIEWER = 4, 64, 16
"""Artifacts that are verified at the same time, that are or wait for it, and those of one viewer."""
LONGEST: Final = 30.0
"""Seconds for which one may be verified."""
VERIFIED_SECONDS, NEGATIVE_SECONDS, UNDECIDED_SECONDS = 60.0, 5.0, 1.0
"""For how long an answer is kept: VERIFIED, FAILED and NOT_FOUND, and INDETERMINATE."""
_KEPT: Final = 2_000
_MOST: Final = 500
"""Attestations of one artifact whose copies are looked up."""
_NAMES: Final = 4
"""Repositories that are asked for one artifact."""
_Key = tuple[str, tuple[str, ...] | None]
"""The digest, and the namespaces that the viewer sees."""


@dataclass(frozen=True, slots=True)
class Trusting:
    """Whom the server trusts when it verifies. ``trouble`` says why it cannot, if ``criteria`` is None."""

    criteria: Criteria | None = None
    revocations: Revocations | None = None
    options: StoreOptions | None = None
    trouble: str = "nobody is named to trust: start chains web with --key PUB"


@dataclass(frozen=True, slots=True)
class _Known:
    """What an index has about an artifact for a viewer: repositories, stores, and digests of copies."""

    names: tuple[str, ...]
    stores: tuple[str, ...]
    copies: frozenset[str]


class VerifyNow:
    """Verifies artifacts, with bounded work and bounded memory. Use from one event loop, and close it."""

    def __init__(self, trusting: Trusting, clock: Callable[[], float] = time.monotonic) -> None:
        self._trusting, self._clock = trusting, clock
        self._kept: LRUCache[_Key, tuple[float, shapes.Verification]] = LRUCache(_KEPT)
        # by viewer, too: nobody waits behind what others have waiting
        self._running: InFlight[tuple[_Key, str], shapes.Verification] = InFlight()
        self._shares = Shares(AT_ONCE, MOST_WAITING, OF_VIEWER)
        self._stores: dict[str, Store] = {}

    async def close(self) -> None:
        """Close the stores."""
        for store in self._stores.values():
            await store.close()
        self._stores.clear()

    async def handler(self, request: web.Request) -> shapes.Verification:
        """Answer a request for a verification."""
        digest = digest_in(request)
        if self._trusting.criteria is None:
            raise web.HTTPServiceUnavailable(text=self._trusting.trouble)
        return await self.ask(request.app[SOURCE], request[VIEWER], digest, self._trusting.criteria)

    async def ask(
        self, source: Source, viewer: Viewer, digest: str, criteria: Criteria
    ) -> shapes.Verification:
        """Return the verification of an artifact for a viewer.

        Raises :class:`TooBusy` if too many wait, and what reading the index raises.
        """
        key = (digest, viewer.namespaces)
        if (kept := self._fresh(key)) is not None:
            return kept

        async def find() -> shapes.Verification:
            async with self._shares.turn(viewer, "wait for a verification"):
                return self._fresh(key) or await self._found(key, source, viewer, criteria)

        return await self._running.run((key, viewer.name), find)

    def _fresh(self, key: _Key) -> shapes.Verification | None:
        kept = self._kept.get(key)
        return kept[1] if kept is not None and self._clock() < kept[0] else None

    async def _found(
        self, key: _Key, source: Source, viewer: Viewer, criteria: Criteria
    ) -> shapes.Verification:
        digest = key[0]
        known = await source.read(viewer, lambda view: _known(view, source, digest, viewer))
        found = await self._verified(digest, known, criteria, is_scoped=not viewer.sees_all)
        written = _written(digest, found)
        seconds = {
            shapes.Outcome.VERIFIED: VERIFIED_SECONDS,
            shapes.Outcome.INDETERMINATE: UNDECIDED_SECONDS,
        }.get(written.verdict, NEGATIVE_SECONDS)
        self._kept[key] = (self._clock() + seconds, written)
        return written

    async def _verified(
        self, digest: str, known: _Known, criteria: Criteria, *, is_scoped: bool
    ) -> Verification:
        algorithm, _, value = digest.partition(":")
        wanted = DigestWanted({algorithm: value})
        verifier = Verifier(criteria, revocations=self._trusting.revocations)

        def judged(found: Search) -> Verification:
            now, target = datetime.now(UTC), Target(digest, wanted.digest)
            case = Case(target, wanted, criteria, known.stores, now, found, False, self._trusting.revocations)
            return verifier.judge(case)

        if is_scoped and not known.copies:
            return judged(Search())
        stores = [self._opened(url) for url in known.stores]
        queries = [searching.Query(digest, name) for name in known.names or ("",)]
        try:
            async with asyncio.timeout(LONGEST), searched(stores, queries) as found:
                # much evidence takes seconds, and must not hold up other answers
                return await asyncio.to_thread(judged, _own(found, known.copies) if is_scoped else found)
        except TimeoutError:
            raise TooBusy(f"the stores did not answer within {LONGEST:g} seconds") from None

    def _opened(self, url: str) -> Store:
        if url not in self._stores:
            self._stores[url] = open_store(url, self._trusting.options)
        return self._stores[url]


def _known(view: View, source: Source, digest: str, viewer: Viewer) -> _Known:
    algorithm, _, value = digest.partition(":")
    query = Query((Term(Key.IMAGE, Digest(value, algorithm)),))
    answer = answered(source.place, view, query, source.clock(), limit=_MOST, namespaces=viewer.namespaces)
    details = details_of(view, [hit.position.id for hit in answer.hits])
    # names in evidence that nobody trusted signed lead to no registry
    names = dict.fromkeys(
        one.name
        for hit in answer.hits
        if hit.verdict is Verdict.VERIFIED
        for one in hit.subjects
        if one.digest == digest and one.name
    )
    copies = frozenset(copy.digest for one in details.values() for copy in one.copies)
    stores = tuple(one.url for one in answer.state.stores if one.url.partition(":")[0] in STORES)
    return _Known(tuple(names)[:_NAMES], stores, copies)


def _own(found: Search, copies: frozenset[str]) -> Search:
    """Return of what was found what the viewer's own evidence is. What could not be read may be others'."""
    evidence = tuple(one for one in found.evidence if one.digest in copies)
    held = tuple(digests & copies for digests in found.held)
    return replace(found, evidence=evidence, skipped=(), held=held)


def _written(digest: str, found: Verification) -> shapes.Verification:
    signers = [key.keyid for key in found.criteria.keys]
    if found.criteria.certificate:
        signers.append(str(found.criteria.certificate))
    return shapes.Verification(
        digest=digest,
        verdict=shapes.Outcome(found.verdict.value),
        summary=excerpt(found.summary),
        verified_at=rfc3339(found.verified_at),
        signed_by=tuple(signers),
        stores=tuple(map(shown, found.stores)),
        checks=tuple(_check(one.to_json()) for one in found.checks),
        attestations=tuple(
            shapes.Judged(
                digest=one.digest,
                store=shown(one.source),
                predicate_type=one.statement.predicate_type if one.statement else None,
                used=one.used,
                signer=one.signed_by.name if one.signed_by else None,
                reason=one.reason.value if one.reason else None,
                detail=excerpt(one.detail),
            )
            for one in found.attestations
        ),
    )


def _check(told: dict[str, str]) -> shapes.Check:
    return shapes.Check(*(told[name] for name in ("id", "result", "expected", "actual", "reason")))
