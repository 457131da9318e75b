"""The validating answer: what an object asks to run, judged by the policies in force."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from chains.admission.images import Kinds, UnknownKind, asked_images
from chains.admission.judge import Judge, Judged
from chains.admission.namespaces import Namespaces
from chains.admission.policies import PoliciesInForce
from chains.admission.review import Answer, Review
from chains.admission.ruling import unreadable
from chains.admission.wording import audit_annotations, denial, strictest, warnings
from chains.policy.verdict import Decision
from chains.text import told


@dataclass(frozen=True, slots=True)
class Validated:
    """An answer with the rulings that lead to it."""

    answer: Answer
    decision: Decision
    judged: tuple[Judged, ...] = ()


class Validator:
    """Answers reviews by the policies in force."""

    def __init__(self, policies: PoliciesInForce, namespaces: Namespaces, judge: Judge, kinds: Kinds) -> None:
        self._policies, self._namespaces, self._judge = policies, namespaces, judge
        self._kinds = kinds

    async def validate(self, review: Review, deadline: float) -> Validated:
        """Return the answer to a review before ``deadline``, a time of the event loop."""
        if review.operation == "DELETE":
            return Validated(Answer(allowed=True), Decision.ALLOW)
        policies = self._policies.current
        if policies is None:
            return _refused(f"no policies are in force: {self._policies.trouble}")
        try:
            asked = asked_images(review, self._kinds)
        except UnknownKind as error:
            return _refused(str(error))
        namespace = await self._namespaces.of_request(policies, review.namespace, deadline)
        judged = tuple(
            await asyncio.gather(
                *(
                    self._judge.rule(
                        policies,
                        image,
                        where,
                        namespace,
                        is_pod=asked.is_pod,
                        deadline=deadline,
                        puller=asked.puller,
                    )
                    for image, where in asked.images.items()
                )
            )
        )
        if asked.problems and (fitting := policies.fitting(namespace)):
            judged += tuple(Judged("", review.shown, unreadable(fitting, why)) for why in asked.problems)
        decision = strictest(one.ruling.decision for one in judged)
        written = audit_annotations(judged, decision, policies.digest)
        if decision is Decision.DENY:
            answer = Answer(allowed=False, message=denial(judged), annotations=written)
        else:
            shown = warnings(judged, is_pod=asked.is_pod)
            answer = Answer(allowed=True, warnings=shown, annotations=written)
        return Validated(answer, decision, judged)


def _refused(why: str) -> Validated:
    return Validated(Answer(allowed=False, message=told(why)), Decision.DENY)
