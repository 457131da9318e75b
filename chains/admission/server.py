"""The server's endpoints: from the bytes of a request to the bytes of an answer. Never open by accident.

Whatever goes wrong here is a denial or an error of HTTP, which the API server takes as a denial unless the
webhook's ``failurePolicy`` is ``Ignore``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from chains.admission.answers import Answers
from chains.admission.metrics import Metrics
from chains.admission.mutate import Mutator
from chains.admission.policies import PoliciesInForce
from chains.admission.provider import provide
from chains.admission.review import LARGEST, Answer, MalformedReview, Review, read_review, seconds_of
from chains.admission.validate import Validated, Validator
from chains.policy.verdict import Decision
from chains.text import told
from storage import lean_json

VALIDATE, MUTATE, VERIFY = "/validate", "/mutate", "/verify"
_LONGEST_NAME = 300
_log = logging.getLogger("chains.admission")
Work = Callable[[Review, float], Awaitable[Validated]]


def application(
    validator: Validator, mutator: Mutator, policies: PoliciesInForce, answers: Answers, metrics: Metrics
) -> web.Application:
    """Return the application that answers the API server, and Gatekeeper."""
    found = web.Application(client_max_size=LARGEST)
    found.add_routes(
        [
            web.post(VALIDATE, handler("validate", validator.validate, metrics)),
            web.post(MUTATE, handler("mutate", mutator.mutate, metrics, _UNCHANGED)),
            web.post(VERIFY, provider(policies, answers, metrics)),
        ]
    )
    return found


_DENIED = Validated(
    Answer(
        allowed=False,
        message="the images could not be judged by a fault of chains admission; its log says more",
        code=500,
        reason="InternalError",
    ),
    Decision.DENY,
)
_UNCHANGED = Validated(Answer(allowed=True), Decision.ALLOW)
"""Only for the mutating webhook: what it leaves as it is, is judged by the validating one."""


def handler(
    name: str, work: Work, metrics: Metrics, fault: Validated = _DENIED
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Return the handler of a webhook that answers AdmissionReviews by ``work``.

    ``fault`` is the answer if ``work`` raises, which it does only by a fault of its own.
    """

    async def answer(request: web.Request) -> web.Response:
        loop = asyncio.get_running_loop()
        began = loop.time()
        deadline = began + seconds_of(request.query.get("timeout", ""))
        data = await request.read()
        try:
            review = await lean_json.aside(data, lambda: read_review(data))
        except MalformedReview as error:
            metrics.malformed.inc()
            return web.Response(status=400, text=f"{told(str(error))}\n")
        try:
            found = await work(review, deadline)
        except Exception:  # noqa: BLE001 - whatever fails here is a denial
            metrics.failures.inc()
            _log.exception("a request could not be judged", extra={"object": _name(review)})
            found = fault
        metrics.count(name, found, loop.time() - began, is_dry_run=review.is_dry_run)
        _write_log(name, review, found)
        return web.Response(body=found.answer.to_bytes(review.uid), content_type="application/json")

    return answer


def provider(
    policies: PoliciesInForce, answers: Answers, metrics: Metrics
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Return the handler that is Gatekeeper's provider of external data.

    The query names the ``policy`` that decides, and the ``timeout`` after which Gatekeeper does not wait.
    """

    async def answer(request: web.Request) -> web.Response:
        began = asyncio.get_running_loop().time()
        deadline = began + seconds_of(request.query.get("timeout", ""))
        name = request.query.get("policy", "")
        found = await provide(
            await request.read(), policies.current, answers.ask, name=name, deadline=deadline
        )
        metrics.provided(asyncio.get_running_loop().time() - began)
        return web.Response(body=found, content_type="application/json")

    return answer


def _name(review: Review) -> str:
    return told(review.shown[:_LONGEST_NAME])


def _write_log(name: str, review: Review, found: Validated) -> None:
    """Write a line for each image that is not as its policies demand, whatever the mode is."""
    for one in found.judged:
        ruling = one.ruling
        if ruling.is_met:
            continue
        _log.warning(
            "an image is not as demanded",
            extra={
                "webhook": name,
                "object": _name(review),
                "image": told(one.image[:_LONGEST_NAME]),
                "place": told(one.where[:_LONGEST_NAME]),
                "decision": ruling.decision.value,
                "verdict": ruling.verdict,
                "reason": ruling.reason,
                "policy": ruling.policies[0] if ruling.policies else "",
                "actual": told(ruling.actual),
                "dryRun": review.is_dry_run,
            },
        )
