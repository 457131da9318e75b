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
from chains.admission.mutate import Mutator
from chains.admission.policies import PoliciesInForce
from chains.admission.provider import provide
from chains.admission.reporting.events import Events
from chains.admission.reporting.metrics import Metrics
from chains.admission.review import LARGEST, Answer, MalformedReview, Review, read_review, seconds_of
from chains.admission.validate import Validated, Validator
from chains.policy.verdict import Decision
from chains.text import told
from storage import lean_json

VALIDATE, MUTATE, VERIFY = "/validate", "/mutate", "/verify"
SMALL = 256 * 1024
"""Bytes of a body that is read and judged whatever else is. Ordinary objects have some kilobytes."""
MOST_LARGE = 3
"""Larger requests in work at the same time: a body of 8 MiB may take a hundred once it is parsed."""
_LONGEST_NAME = 300
_log = logging.getLogger("chains.admission")
Work = Callable[[Review, float], Awaitable[Validated]]
Handler = Callable[[web.Request], Awaitable[web.Response]]
Timed = Callable[[web.Request, float, float], Awaitable[web.Response]]
"""A handler that also gets when a request arrived and when it is to be answered, by the event loop's time."""


def application(
    validator: Validator,
    mutator: Mutator,
    policies: PoliciesInForce,
    answers: Answers,
    metrics: Metrics,
    events: Events,
) -> web.Application:
    """Return the application that answers the API server, and Gatekeeper."""
    found = web.Application(client_max_size=LARGEST)
    large = asyncio.Semaphore(MOST_LARGE)
    found.add_routes(
        [
            web.post(
                VALIDATE, _bounded(handler("validate", validator.validate, metrics, events=events), large)
            ),
            web.post(MUTATE, _bounded(handler("mutate", mutator.mutate, metrics, _UNCHANGED), large)),
            web.post(VERIFY, _bounded(provider(policies, answers, metrics), large)),
        ]
    )
    return found


def _bounded(handle: Timed, large: asyncio.Semaphore) -> Handler:
    """Return a handler that lets few large requests in at once; the others wait until their deadline.

    A request that is compressed, or whose length is not known, counts as large. What waits is not read, so it
    takes no memory.
    """

    async def answer(request: web.Request) -> web.Response:
        began = asyncio.get_running_loop().time()
        deadline = began + seconds_of(request.query.get("timeout", ""))
        length = None if "Content-Encoding" in request.headers else request.content_length
        if length is not None and length <= SMALL:
            return await handle(request, began, deadline)
        try:
            async with asyncio.timeout_at(deadline):
                await large.acquire()
        except TimeoutError:
            return web.Response(status=503, text="too many large requests\n")
        try:
            return await handle(request, began, deadline)
        finally:
            large.release()

    return answer


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
    name: str, work: Work, metrics: Metrics, fault: Validated = _DENIED, *, events: Events | None = None
) -> Timed:
    """Return the handler of a webhook that answers AdmissionReviews by ``work``.

    ``fault`` is the answer if ``work`` raises, which it does only by a fault of its own. ``events`` is told
    of denials.
    """

    async def answer(request: web.Request, began: float, deadline: float) -> web.Response:
        data = await _body(request, deadline)
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
        metrics.count(name, found, asyncio.get_running_loop().time() - began, is_dry_run=review.is_dry_run)
        _write_log(name, review, found)
        if events is not None:
            events.denied(review, found)
        return web.Response(body=found.answer.to_bytes(review.uid), content_type="application/json")

    return answer


def provider(policies: PoliciesInForce, answers: Answers, metrics: Metrics) -> Timed:
    """Return the handler that is Gatekeeper's provider of external data.

    The query names the ``policy`` that decides, and the ``timeout`` after which Gatekeeper does not wait.
    """

    async def answer(request: web.Request, began: float, deadline: float) -> web.Response:
        name = request.query.get("policy", "")
        data = await _body(request, deadline)
        found = await provide(data, policies.current, answers.ask, name=name, deadline=deadline)
        metrics.provided(asyncio.get_running_loop().time() - began)
        return web.Response(body=found, content_type="application/json")

    return answer


async def _body(request: web.Request, deadline: float) -> bytes:
    """Return the body of a request. Raises an answer of HTTP for one that is too long or too slow."""
    try:
        async with asyncio.timeout_at(deadline):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(text="the request did not arrive in time\n") from None


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
