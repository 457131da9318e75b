"""Verdicts by policies: a signer of the policy has to have signed, and the policy has to let the images pass.

The answer about an image is that of ``chains verify --policy`` with the stores of the index.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from chains.errors import UsageError
from chains.index.codes import Verdict
from chains.index.reading import Entry, digest_of
from chains.lineage.statement_facts import Facts
from chains.policy.document.patterns import read_image
from chains.policy.loaded import Policy
from chains.policy.opened import OpenedPolicy, OpenedSigner
from chains.policy.verdict import ImageAnswer, PolicyVerdict
from chains.statements.vsa import VSA
from chains.text import excerpt
from chains.verify.criteria import Criteria
from chains.verify.verdict import Verdict as Answered
from storage.base import Store
from storage.formats.digest import is_sha256
from storage.formats.reference import Image, Repository

_AT_ONCE = 16
_TOLD = 500
MOST_ANSWERS = 20_000
"""Answers that are remembered."""
_ORDER = (Answered.VERIFIED, Answered.NOT_FOUND, Answered.INDETERMINATE, Answered.FAILED)
"""Verdicts of policies, the worst last."""


class PolicyTrust:
    """Policies, and the signers that they name for statements of a type."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._criteria: dict[tuple[int, str], list[Criteria]] = {}
        self._images: dict[str, Repository | None] = {}

    def images_of(self, facts: Facts) -> tuple[tuple[Image, ...], str]:
        """Return the images that a statement is about, and the first subject that no policy is for."""
        found: dict[Image, None] = {}
        for product in facts.products:
            digest = next((one for one in product.digests if is_sha256(one)), "")
            repository = self._repository(product.name) if digest else None
            image = Image(repository, digest) if repository else None
            if image is None or not self.policy.matching(image):
                return (), f"{product.name}@{digest}" if digest else product.name or "a subject without name"
            found[image] = None
        return tuple(found), "" if found else "a statement without subjects"

    def _repository(self, name: str) -> Repository | None:
        if name not in self._images:
            if len(self._images) > MOST_ANSWERS:
                self._images.clear()
            try:
                self._images[name] = read_image(name).repository
            except UsageError:
                self._images[name] = None
        return self._images[name]

    def matching(self, images: Iterable[Image]) -> list[OpenedPolicy]:
        """Return the documents that are for one of the images, each once."""
        return list({id(one): one for image in images for one in self.policy.matching(image)}.values())

    def answers(self, stores: Sequence[Store], now: datetime) -> Answers:
        """Return what asks the policies about images."""
        return Answers(self.policy, stores, now)

    def criteria_of(self, opened: OpenedPolicy, predicate_type: str) -> list[Criteria]:
        """Return the criteria of each signer whose statements of this type count for a policy."""
        key = (id(opened), predicate_type)
        if key not in self._criteria:
            own = opened.by_type.get(predicate_type)
            signers: list[OpenedSigner] = [own] if own is not None else list(opened.trust)
            if predicate_type == VSA:
                signers += opened.accept
            # the type is known to count: that the policy demands it is another question
            self._criteria[key] = [replace(one.criteria, predicate_types=()) for one in signers]
        return self._criteria[key]


class Answers:
    """What the policies say about images, asked once for each while an index is written."""

    def __init__(self, policy: Policy, stores: Sequence[Store], now: datetime) -> None:
        self._policy, self._stores, self._now = policy, stores, now
        self._answers: dict[Image, ImageAnswer] = {}
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def judge(self, entries: Sequence[Entry]) -> None:
        """Let the policies decide about each entry whose signature counts."""
        wanted = [one for one in entries if one.verdict is Verdict.VERIFIED and one.images]
        missing = {image for one in wanted for image in one.images} - self._answers.keys()
        if len(self._answers) + len(missing) > MOST_ANSWERS:
            self._answers.clear()
            missing = {image for one in wanted for image in one.images}
        await asyncio.gather(*map(self._ask, missing))
        for entry in wanted:
            answers = [self._answers[image].strictest for image in entry.images]
            _apply(entry, max(answers, key=lambda one: (_ORDER.index(one.verdict), one.policy)))

    async def _ask(self, image: Image) -> None:
        async with self._places:
            self._answers[image] = await self._policy.decide(image, stores=self._stores, now=self._now)


def _apply(entry: Entry, answer: PolicyVerdict) -> None:
    entry.policy, entry.policy_digest = answer.policy, digest_of(answer.policy_digest)
    if answer.verdict is Answered.VERIFIED:
        return
    is_undecided = answer.verdict is Answered.INDETERMINATE
    entry.verdict = Verdict.INDETERMINATE if is_undecided else Verdict.FAILED
    wrong = answer.first_wrong
    entry.reason = wrong.reason.value if wrong and wrong.reason else str(wrong.id if wrong else "policy")
    told = f"expected {wrong.expected}, got {wrong.actual}" if wrong else answer.summary
    entry.detail = excerpt(f"policy {answer.policy}: {told}", _TOLD)
    entry.signer, entry.times, entry.logged = "", set(), set()
