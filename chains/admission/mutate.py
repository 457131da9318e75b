"""The mutating answer: tags of new pods become digests, so that what is judged is what is pulled.

Only pods are changed, and only as they are created: a changed template would differ from what its owner
applies again and again. The validating webhook judges the result and trusts nothing of this one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import orjson

from chains.admission.judge import Tags, read_as_runtime
from chains.admission.namespaces import Namespaces
from chains.admission.policies import PoliciesInForce
from chains.admission.review import Answer, Review
from chains.admission.validate import Validated
from chains.admission.wording import within_limits
from chains.errors import UsageError
from chains.policy.document.format import Mode
from chains.policy.document.patterns import with_registry
from chains.policy.opened import OpenedPolicy
from chains.policy.verdict import Decision
from chains.tekton.workloads import NamedImage, Puller, named_images, puller_of, spec_at
from storage.errors import StoreError

_SPEC = "/spec"


class Mutator:
    """Pins tags. What it cannot do stays as it is: the validating webhook decides."""

    def __init__(self, policies: PoliciesInForce, namespaces: Namespaces, tags: Tags) -> None:
        self._policies, self._namespaces, self._tags = policies, namespaces, tags

    async def mutate(self, review: Review, deadline: float) -> Validated:
        """Return an answer with a JSON Patch for the tags of a new pod that an enforced policy may be for."""
        policies = self._policies.current
        is_new_pod = (review.group, review.kind, review.subresource) == ("", "Pod", "")
        if policies is None or not is_new_pod or review.operation != "CREATE":
            return _allowed(Answer(allowed=True))
        namespace = await self._namespaces.of_request(policies, review.namespace, deadline)
        enforcing = [one for one in policies.fitting(namespace) if one.policy.mode is Mode.ENFORCE]
        spec = spec_at(review.object, ("spec",))
        puller = puller_of(spec, review.namespace, is_pod=True)
        places = [place for place in named_images(spec) if _is_tag(place, enforcing)]
        texts = list(dict.fromkeys(place.image for place in places))
        found = await asyncio.gather(*(self._resolve(text, puller, deadline) for text in texts))
        outcomes = dict(zip(texts, found, strict=True))
        digests = {text: one for text, one in outcomes.items() if not isinstance(one, Exception)}
        failed = [
            f"{text} cannot be pinned: {one}" for text, one in outcomes.items() if isinstance(one, Exception)
        ]
        patch = [
            operation
            for place in places
            if place.image in digests
            for operation in (
                {"op": "test", "path": _SPEC + place.pointer, "value": place.image},
                {
                    "op": "replace",
                    "path": _SPEC + place.pointer,
                    "value": f"{place.image}@{digests[place.image]}",
                },
            )
        ]
        warnings = within_limits(failed)
        if not patch:
            return _allowed(Answer(allowed=True, warnings=warnings))
        annotations = {"pinned": str(len(patch) // 2)}
        return _allowed(
            Answer(allowed=True, warnings=warnings, annotations=annotations, patch=orjson.dumps(patch))
        )

    async def _resolve(self, text: str, puller: Puller | None, deadline: float) -> str | Exception:
        try:
            async with asyncio.timeout_at(deadline):
                return await self._tags.resolve(with_registry(text), puller)
        except TimeoutError:
            return TimeoutError("the registry did not answer in time")
        except (StoreError, UsageError) as error:
            return error


def _is_tag(place: NamedImage, enforcing: Sequence[OpenedPolicy]) -> bool:
    """Whether a place names a tag of an image that an enforced policy may be for."""
    if place.problem or not place.image:
        return False
    try:
        image = read_as_runtime(place.image)
    except UsageError:
        return False
    return not image.digest and any(one.policy.may_match(image) for one in enforcing)


def _allowed(answer: Answer) -> Validated:
    return Validated(answer, Decision.ALLOW)
